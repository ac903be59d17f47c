"""Destinations of Flows, and the day-partitioned table of what is delivered to them. Locks nothing that exists."""

import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import uuid
from django.db import migrations, models

from common.day_tables import partitioned_table


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('flows', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('pk', models.CompositePrimaryKey('device_id', 'created_at', 'destination_id', 'seq', blank=True, editable=False, primary_key=True, serialize=False)),
                ('device_id', models.BigIntegerField(verbose_name='device')),
                ('created_at', models.DateTimeField(verbose_name='accepted')),
                ('destination_id', models.BigIntegerField(verbose_name='destination')),
                ('seq', models.IntegerField(verbose_name='sequence')),
                ('state', models.SmallIntegerField(choices=[(0, 'Waiting'), (1, 'Delivered'), (2, 'Given up')], default=0, verbose_name='state')),
                ('attempts', models.SmallIntegerField(default=0, verbose_name='tries')),
                ('due_at', models.DateTimeField(null=True, verbose_name='next try')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished')),
                ('status', models.SmallIntegerField(null=True, verbose_name='answer')),
                ('milliseconds', models.IntegerField(null=True, verbose_name='milliseconds')),
                ('identifier', models.CharField(default='', max_length=64, verbose_name='identifier')),
                ('error', models.CharField(default='', max_length=300, verbose_name='error')),
                ('body', models.BinaryField(verbose_name='message')),
            ],
            options={
                'verbose_name': 'delivery',
                'verbose_name_plural': 'deliveries',
                'db_table': 'flows_delivery',
                'managed': False,
            },
        ),
        migrations.CreateModel(
            name='Destination',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uuid', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='UUID')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('description', models.TextField(blank=True, default='', max_length=1000, verbose_name='description')),
                ('kind', models.CharField(choices=[('https', 'HTTPS'), ('mqtt', 'MQTT'), ('test', 'Test endpoint in the portal')], max_length=5, verbose_name='kind')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('layout', models.CharField(choices=[('merged', 'Base values in the first measurement'), ('legacy', 'Base values in a record of their own')], default='merged', max_length=6, verbose_name='layout')),
                ('url', models.CharField(blank=True, default='', max_length=2000, verbose_name='address')),
                ('authentication', models.CharField(choices=[('none', 'None'), ('basic', 'User name and password'), ('bearer', 'Bearer token'), ('api-key', 'API key')], default='none', max_length=7, verbose_name='authentication')),
                ('username', models.CharField(blank=True, default='', max_length=200, verbose_name='user name')),
                ('expected_status', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='expected answer')),
                ('host', models.CharField(blank=True, default='', max_length=253, verbose_name='host')),
                ('port', models.PositiveIntegerField(blank=True, null=True, verbose_name='port')),
                ('topic', models.CharField(blank=True, default='', max_length=500, verbose_name='topic')),
                ('secrets', models.BinaryField(default=b'', verbose_name='secrets')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('failures', models.PositiveIntegerField(default=0, verbose_name='failures in a row')),
                ('open_until', models.DateTimeField(blank=True, null=True, verbose_name='nothing is tried before')),
                ('leased_until', models.DateTimeField(blank=True, null=True, verbose_name='delivered to by a process until')),
                ('succeeded_at', models.DateTimeField(blank=True, null=True, verbose_name='last success')),
                ('failed_at', models.DateTimeField(blank=True, null=True, verbose_name='last failure')),
                ('error', models.CharField(blank=True, default='', max_length=300, verbose_name='last error')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.project', verbose_name='Project')),
            ],
            options={
                'verbose_name': 'destination',
                'verbose_name_plural': 'destinations',
                'ordering': ['name', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='FlowDestination',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('destination', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='flow_links', to='flows.destination')),
                ('flow', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='destination_links', to='flows.flow')),
            ],
            options={
                'verbose_name': 'destination of a Flow',
                'verbose_name_plural': 'destinations of Flows',
            },
        ),
        migrations.AddField(
            model_name='destination',
            name='flows',
            field=models.ManyToManyField(related_name='destinations', through='flows.FlowDestination', to='flows.flow'),
        ),
        migrations.AddConstraint(
            model_name='flowdestination',
            constraint=models.UniqueConstraint(fields=('flow', 'destination'), name='flow_destination_once'),
        ),
        migrations.AddConstraint(
            model_name='destination',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['https', 'mqtt', 'test'])), name='destination_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='destination',
            constraint=models.UniqueConstraint(models.F('project'), django.db.models.functions.text.Lower('name'), name='destination_name_once_per_project', violation_error_message='This Project has a destination of this name already.'),
        ),
        *partitioned_table(
            "flows_delivery",
            """
            device_id bigint NOT NULL,
            created_at timestamptz NOT NULL,
            destination_id bigint NOT NULL,
            seq integer NOT NULL,
            state smallint NOT NULL DEFAULT 0,
            attempts smallint NOT NULL DEFAULT 0,
            status smallint,
            due_at timestamptz,
            finished_at timestamptz,
            milliseconds integer,
            identifier varchar(64) NOT NULL DEFAULT '',
            error varchar(300) NOT NULL DEFAULT '',
            body bytea NOT NULL
            """,
            key="device_id, created_at, destination_id, seq",
            by="created_at",
            keep_days=31,
        ),
        # Waiting rows are few; the newest of a destination are looked at, and those given up.
        migrations.RunSQL(
            """
            CREATE INDEX flows_delivery_waiting ON flows_delivery (destination_id, device_id, created_at, seq)
                WHERE state = 0;
            CREATE INDEX flows_delivery_due ON flows_delivery (destination_id, due_at) WHERE state = 0;
            CREATE INDEX flows_delivery_dead ON flows_delivery (destination_id, created_at) WHERE state = 2;
            CREATE INDEX flows_delivery_newest ON flows_delivery (destination_id, created_at);
            """,
            migrations.RunSQL.noop,
        ),
    ]
