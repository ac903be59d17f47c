"""Free space in the pages of the rows that change with every message, so that they are updated in place (HOT)."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("twin", "0001_initial"), ("devices", "0001_initial")]

    operations = [
        migrations.RunSQL("ALTER TABLE twin_twin SET (fillfactor = 70)", migrations.RunSQL.noop),
        migrations.RunSQL("ALTER TABLE devices_devicestate SET (fillfactor = 70)", migrations.RunSQL.noop),
    ]
