"""The summary of each LoRa device, with free space in its pages: a batch's new version of a row stays in its page."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('lora', '0003_simulated_network'),
    ]

    operations = [
        migrations.CreateModel(
            name='Radio',
            fields=[
                ('device_id', models.BigIntegerField(primary_key=True, serialize=False, verbose_name='device')),
                ('state', models.TextField(verbose_name='state')),
                ('health', models.PositiveSmallIntegerField(choices=[(0, 'Not known yet'), (1, 'Good'), (2, 'Needs attention'), (3, 'Problem')], default=0, verbose_name='health')),
                ('finding', models.CharField(default='', max_length=20, verbose_name='finding')),
                ('quiet_at', models.DateTimeField(null=True, verbose_name='look again')),
            ],
            options={
                'verbose_name': 'radio summary',
                'verbose_name_plural': 'radio summaries',
                'indexes': [models.Index(condition=models.Q(('quiet_at__isnull', False)), fields=['quiet_at'], name='radio_quiet')],
            },
        ),
        migrations.RunSQL("ALTER TABLE lora_radio SET (fillfactor = 60)", migrations.RunSQL.noop),
    ]
