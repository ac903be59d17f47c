"""Warnings that are kept as data, and the mark "being deleted". Flows are few: their table is locked for a moment."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('flows', '0002_destinations'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='flow',
            name='deletion_asked_at',
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name='being deleted since'),
        ),
        migrations.AddField(
            model_name='flow',
            name='deletion_asked_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='deleted by'),
        ),
        migrations.AddField(
            model_name='flow',
            name='deletion_devices',
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name='devices when deletion began'),
        ),
        migrations.AddField(
            model_name='flow',
            name='recheck',
            field=models.BooleanField(db_default=True, default=True, verbose_name='to be counted again'),
        ),
        migrations.AddField(
            model_name='flow',
            name='troubled',
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name='devices whose codec has trouble'),
        ),
        migrations.AddField(
            model_name='flow',
            name='unfit',
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name='devices that the decoding does not fit'),
        ),
        migrations.AddIndex(
            model_name='flow',
            index=models.Index(condition=models.Q(('recheck', True)), fields=['id'], name='flow_to_check'),
        ),
        migrations.AddIndex(
            model_name='flow',
            index=models.Index(condition=models.Q(('deletion_asked_at__isnull', False)), fields=['deletion_asked_at'], name='flow_to_delete'),
        ),
    ]
