"""A pack that came before is found by its digest: a device that sends every minute has thousands to look through."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("devices", "0014_finding")]
    operations = [
        migrations.RunSQL(
            "CREATE INDEX devices_senmlmessage_same ON devices_senmlmessage (device_id, digest, received_at)",
            "DROP INDEX devices_senmlmessage_same",
        ),
    ]
