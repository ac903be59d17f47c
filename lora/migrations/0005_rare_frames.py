"""Joins, and frames with errors, have an index each: they are few, and a search for them looked at thousands of others.

Built day by day while messages come. Writes nothing to the frames.
"""

from django.db import migrations

from common.day_tables import index_of_days

PLACE = "device_id, received_at, seq"


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("lora", "0004_radio")]

    operations = [
        index_of_days("lora_frame", "lora_frame_join", PLACE, condition="kind IN (0, 1)"),
        index_of_days(
            "lora_frame", "lora_frame_error", PLACE, condition="NOT delivered OR detail ? 'unreadable'"
        ),
    ]
