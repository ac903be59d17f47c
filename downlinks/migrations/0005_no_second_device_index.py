# The primary key begins with the device: an index of the device alone was written for every row and read for none.
# DROP INDEX: ACCESS EXCLUSIVE for a moment, no rewrite. By its name, not by AlterField in the database: Django would take
# the unique indexes of one head and one Executing, which are of the same column, with it.

import django.db.models.deletion
from django.db import migrations, models

DROP = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN
        SELECT i.indexrelid::regclass::text FROM pg_index AS i JOIN pg_attribute AS a
            ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = 'downlinks_downlink'::regclass AND i.indnatts = 1 AND NOT i.indisunique
            AND i.indpred IS NULL AND a.attname = 'device_id'
    LOOP
        EXECUTE 'DROP INDEX ' || name;
    END LOOP;
END $$
"""


class Migration(migrations.Migration):

    dependencies = [("downlinks", "0004_expiring")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(DROP, "CREATE INDEX downlinks_downlink_device_id ON downlinks_downlink (device_id)"),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="downlink",
                    name="device",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="downlinks",
                        to="devices.device",
                    ),
                ),
            ],
        ),
    ]
