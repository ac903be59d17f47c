# A column without a default and an index on it: the table is locked for a moment, and holds a row per M2M device.
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("m2m", "0003_carriers")]

    operations = [
        migrations.AddField(
            model_name="m2midentity",
            name="own_name",
            field=models.CharField(
                blank=True, max_length=80, null=True, unique=True, verbose_name="base name of the firmware"
            ),
        ),
    ]
