"""The day-partitioned table of reported values as they came. Locks nothing that exists."""

from django.db import migrations

from common.day_tables import partitioned_table


class Migration(migrations.Migration):
    dependencies = [("twin", "0004_desired_values")]

    operations = partitioned_table(
        "twin_sample",
        """
        device_id bigint NOT NULL,
        name_id integer NOT NULL,
        at timestamptz NOT NULL,
        kind smallint NOT NULL,
        number double precision,
        text varchar(200)
        """,
        key="device_id, name_id, at",
        by="at",
        keep_days=93,
    )
