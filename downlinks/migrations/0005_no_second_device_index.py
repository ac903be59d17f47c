# The primary key begins with the device: an index of the device alone was written for every row and read for none.
# DROP INDEX: ACCESS EXCLUSIVE for a moment, no rewrite.

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("downlinks", "0004_expiring")]

    operations = [
        migrations.AlterField(
            model_name="downlink",
            name="device",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="downlinks",
                to="devices.device",
            ),
        ),
    ]
