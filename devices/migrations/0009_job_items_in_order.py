"""Items of a job are found in their order only: the index without the order goes. DROP INDEX takes ACCESS EXCLUSIVE on
devices_jobitem for a moment."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("devices", "0008_health")]

    operations = [
        migrations.AlterField(
            model_name="jobitem",
            name="job",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="items",
                to="devices.job",
            ),
        ),
    ]
