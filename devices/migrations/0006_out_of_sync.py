"""How many desired values a device has not reported, and an index of those with any.

The column has a constant default: no row is written. Making the index reads the table once, and messages wait for
it (about a second for a million devices).
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("devices", "0005_delete_operation")]

    operations = [
        migrations.AddField(
            model_name="devicestate",
            name="out_of_sync",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, verbose_name="out of sync"),
        ),
        migrations.AddIndex(
            model_name="devicestate",
            index=models.Index(
                condition=models.Q(("out_of_sync__gt", 0)),
                fields=["project_id", "device_id"],
                name="state_out_of_sync",
            ),
        ),
    ]
