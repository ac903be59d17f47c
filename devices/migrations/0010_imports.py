"""Files of devices, their rows, remembered columns (D12). New tables only: no lock that anybody waits for."""

import devices.models.imports
import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('devices', '0009_job_items_in_order'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ImportFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='sent')),
                ('expires_at', models.DateTimeField(default=devices.models.imports.after_keeping, verbose_name='kept until')),
                ('token', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='token')),
                ('name', models.CharField(max_length=200, verbose_name='file')),
                ('delimiter', models.CharField(max_length=1, verbose_name='delimiter')),
                ('header', models.JSONField(verbose_name='header')),
                ('mapping', models.JSONField(default=dict, verbose_name='columns')),
                ('state', models.CharField(choices=[('uploaded', 'Columns to be chosen'), ('checking', 'Being checked'), ('checked', 'Checked'), ('adding', 'Being added'), ('done', 'Done')], default='uploaded', max_length=8, verbose_name='status')),
                ('rows', models.PositiveIntegerField(verbose_name='rows')),
                ('checked', models.PositiveIntegerField(default=0, verbose_name='checked')),
                ('faulty', models.PositiveIntegerField(default=0, verbose_name='with errors')),
                ('done', models.PositiveIntegerField(default=0, verbose_name='added')),
                ('failed', models.PositiveIntegerField(default=0, verbose_name='not added')),
                ('has_keys', models.BooleanField(default=False, verbose_name='the portal made secrets')),
                ('keys_taken_at', models.DateTimeField(null=True, verbose_name='secrets taken')),
                ('not_before', models.DateTimeField(default=django.utils.timezone.now, verbose_name='not before')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='by')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project', verbose_name='Project')),
                ('type', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='devices.devicetype', verbose_name='device type')),
            ],
            options={
                'verbose_name': 'file of devices',
                'verbose_name_plural': 'files of devices',
            },
        ),
        migrations.CreateModel(
            name='ImportMapping',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('header', models.CharField(max_length=64, verbose_name='header')),
                ('mapping', models.JSONField(verbose_name='columns')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project', verbose_name='Project')),
                ('type', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='devices.devicetype', verbose_name='device type')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='person')),
            ],
            options={
                'verbose_name': 'remembered columns',
                'verbose_name_plural': 'remembered columns',
            },
        ),
        migrations.CreateModel(
            name='ImportRow',
            fields=[
                ('pk', models.CompositePrimaryKey('file_id', 'number', blank=True, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField(verbose_name='row')),
                ('cells', models.BinaryField(verbose_name='cells')),
                ('label', models.CharField(blank=True, default='', max_length=100, verbose_name='name')),
                ('claims', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), default=list, size=None, verbose_name='identifiers')),
                ('errors', models.JSONField(default=dict, verbose_name='errors')),
                ('faulty', models.BooleanField(default=False, verbose_name='with errors')),
                ('checked', models.BooleanField(default=False, verbose_name='checked')),
                ('outcome', models.CharField(choices=[('pending', 'Not begun'), ('waiting', 'Under way'), ('done', 'Done'), ('skipped', 'Skipped'), ('failed', 'Failed')], default='pending', max_length=7, verbose_name='outcome')),
                ('device_id', models.BigIntegerField(null=True, verbose_name='device')),
                ('secrets', models.BinaryField(null=True, verbose_name='secrets')),
                ('file', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='all_rows', to='devices.importfile')),
            ],
            options={
                'verbose_name': 'row of a file',
                'verbose_name_plural': 'rows of files',
            },
        ),
        migrations.AddIndex(
            model_name='importfile',
            index=models.Index(fields=['project', '-id'], name='import_by_project'),
        ),
        migrations.AddIndex(
            model_name='importfile',
            index=models.Index(fields=['expires_at'], name='import_expires'),
        ),
        migrations.AddIndex(
            model_name='importfile',
            index=models.Index(condition=models.Q(('state__in', ['checking', 'adding'])), fields=['not_before'], name='import_due'),
        ),
        migrations.AddConstraint(
            model_name='importfile',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['uploaded', 'checking', 'checked', 'adding', 'done'])), name='import_state_known'),
        ),
        migrations.AddConstraint(
            model_name='importmapping',
            constraint=models.UniqueConstraint(fields=('project', 'type', 'user', 'header'), name='import_mapping_once'),
        ),
        migrations.AddIndex(
            model_name='importrow',
            index=models.Index(fields=['file', '-faulty', 'number'], name='import_row_faulty_first'),
        ),
        migrations.AddIndex(
            model_name='importrow',
            index=models.Index(condition=models.Q(('checked', False)), fields=['file', 'number'], name='import_row_unchecked'),
        ),
        migrations.AddIndex(
            model_name='importrow',
            index=models.Index(condition=models.Q(('faulty', False), ('outcome', 'pending')), fields=['file', 'number'], name='import_row_to_add'),
        ),
        migrations.AddConstraint(
            model_name='importrow',
            constraint=models.CheckConstraint(condition=models.Q(('outcome__in', ['pending', 'waiting', 'done', 'skipped', 'failed'])), name='import_outcome_known'),
        ),
    ]
