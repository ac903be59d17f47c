"""The code of what makes a device unwell, beside its health. A constant default: no row is written."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0013_type_versions'),
    ]

    operations = [
        migrations.AddField(
            model_name='devicestate',
            name='finding',
            field=models.CharField(blank=True, db_default='', default='', max_length=20, verbose_name='finding'),
        ),
    ]
