# Facts of the way of an instruction: nullable or with a constant default, no table rewrite; ACCESS EXCLUSIVE for a moment.

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('downlinks', '0002_label'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='downlink',
            name='again',
            field=models.IntegerField(null=True, verbose_name='repeats'),
        ),
        migrations.AddField(
            model_name='downlink',
            name='cancelled_by',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='cancelled by'),
        ),
        migrations.AddField(
            model_name='downlink',
            name='fcnt_down',
            field=models.BigIntegerField(null=True, verbose_name='FCntDown'),
        ),
        migrations.AddField(
            model_name='downlink',
            name='gateway',
            field=models.CharField(blank=True, db_default='', default='', max_length=32, verbose_name='gateway'),
        ),
        migrations.AddField(
            model_name='downlink',
            name='valid_until',
            field=models.DateTimeField(null=True, verbose_name='valid until'),
        ),
        migrations.AddField(
            model_name='downlink',
            name='window',
            field=models.CharField(blank=True, db_default='', default='', max_length=8, verbose_name='window'),
        ),
    ]
