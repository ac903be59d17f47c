"""Test endpoints. The column takes a short ACCESS EXCLUSIVE lock on flows_destination, which is small."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('flows', '0003_warnings_and_deletion'),
    ]

    operations = [
        migrations.AddField(
            model_name='destination',
            name='inbox_hash',
            field=models.BinaryField(max_length=32, null=True, unique=True),
        ),
        migrations.CreateModel(
            name='Received',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(verbose_name='arrived')),
                ('sender', models.CharField(blank=True, default='', max_length=64, verbose_name='device')),
                ('headers', models.JSONField(default=list, verbose_name='headers')),
                ('body', models.BinaryField(verbose_name='message')),
                ('proved', models.BooleanField(null=True, verbose_name='token fits')),
                ('destination', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='flows.destination')),
            ],
            options={
                'verbose_name': 'message at a test endpoint',
                'verbose_name_plural': 'messages at test endpoints',
                'indexes': [models.Index(fields=['destination', '-id'], name='received_newest'), models.Index(fields=['at'], name='received_old')],
            },
        ),
    ]
