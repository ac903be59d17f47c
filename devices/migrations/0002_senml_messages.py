"""The day-partitioned table of SenML messages. Locks nothing that exists."""

from django.db import migrations

from common.day_tables import partitioned_table


class Migration(migrations.Migration):
    dependencies = [("devices", "0001_initial")]

    operations = partitioned_table(
        "devices_senmlmessage",
        """
        device_id bigint NOT NULL,
        received_at timestamptz NOT NULL,
        seq integer NOT NULL,
        records integer NOT NULL DEFAULT 0,
        digest bytea NOT NULL,
        body bytea NOT NULL
        """,
    )
