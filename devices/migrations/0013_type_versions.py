"""A version on device types, by which the second of two editors is told (T5), and each name once in a Project. Locks the
table of device types, which is small, for a moment."""

import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("devices", "0012_managed_types")]

    operations = [
        migrations.AddField(
            model_name="devicetype",
            name="version",
            field=models.PositiveIntegerField(db_default=1, default=1, editable=False, verbose_name="version"),
        ),
        migrations.AddConstraint(
            model_name="devicetype",
            constraint=models.UniqueConstraint(
                models.F("project"),
                django.db.models.functions.text.Lower("name"),
                name="device_type_name_once_per_project",
                violation_error_message="This Project has a device type of this name already.",
            ),
        ),
    ]
