"""A version of each part beside the whole's. A constant default writes no row: the table is locked for a moment only."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("twin", "0005_samples")]

    operations = [
        migrations.AddField(
            model_name="twin",
            name="reported_version",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="version of the reported state"),
        ),
        migrations.AddField(
            model_name="twin",
            name="desired_version",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="version of the desired state"),
        ),
        migrations.AddField(
            model_name="twin",
            name="metadata_version",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="version of the metadata"),
        ),
    ]
