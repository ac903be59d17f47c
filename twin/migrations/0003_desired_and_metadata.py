"""Desired values and metadata. A constant default writes no row: the table is locked for a moment only."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("twin", "0002_free_space")]

    operations = [
        migrations.AddField(
            model_name="twin",
            name="desired",
            field=models.JSONField(db_default={}, default=dict, verbose_name="desired"),
        ),
        migrations.AddField(
            model_name="twin",
            name="metadata",
            field=models.JSONField(db_default={}, default=dict, verbose_name="metadata"),
        ),
    ]
