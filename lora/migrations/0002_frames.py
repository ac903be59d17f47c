"""The day-partitioned table of LoRa frames. Locks nothing that exists.

Columns stand widest first, so that no space is lost to alignment.
"""

from django.db import migrations

from common.day_tables import partitioned_table


class Migration(migrations.Migration):
    dependencies = [("lora", "0001_initial")]

    operations = partitioned_table(
        "lora_frame",
        """
        device_id bigint NOT NULL,
        received_at timestamptz NOT NULL,
        fcnt bigint,
        rssi double precision,
        snr double precision,
        esp double precision,
        latitude double precision,
        longitude double precision,
        radius double precision,
        seq integer NOT NULL,
        frequency_hz integer,
        fport smallint,
        direction smallint NOT NULL,
        kind smallint NOT NULL,
        spreading_factor smallint,
        gateway_count smallint NOT NULL DEFAULT 0,
        confirmed boolean NOT NULL DEFAULT false,
        ack boolean NOT NULL DEFAULT false,
        adr boolean NOT NULL DEFAULT false,
        adr_ack_req boolean NOT NULL DEFAULT false,
        fpending boolean NOT NULL DEFAULT false,
        delivered boolean NOT NULL DEFAULT true,
        correlation_id uuid,
        channel varchar(16) NOT NULL DEFAULT '',
        cause varchar(20) NOT NULL DEFAULT '',
        payload bytea NOT NULL DEFAULT '',
        mac bytea NOT NULL DEFAULT '',
        detail jsonb NOT NULL DEFAULT '{}'
        """,
    )
