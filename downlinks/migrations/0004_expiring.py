# Finds pending instructions whose validity is over. Built beside everything else: the table may be large.

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('downlinks', '0003_facts_of_the_way'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='downlink',
            index=models.Index(
                condition=models.Q(('state', 'pending'), ('valid_until__isnull', False)),
                fields=['valid_until'],
                name='downlink_expiring',
            ),
        ),
    ]
