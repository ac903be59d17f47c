# The primary key begins with the device. By hand: left to itself, the framework makes the foreign key again, which reads
# the whole table with everybody locked out, and drops the partial unique indexes of the device with the plain one.

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('downlinks', '0005_due_by_itself'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='downlink',
                    name='device',
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name='downlinks',
                        to='devices.device',
                    ),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    'DROP INDEX CONCURRENTLY IF EXISTS downlinks_downlink_device_id_fac9d74c',
                    'CREATE INDEX CONCURRENTLY downlinks_downlink_device_id_fac9d74c ON downlinks_downlink (device_id)',
                ),
            ],
        ),
    ]
