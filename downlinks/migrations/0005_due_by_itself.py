# What is due is found by an index that nothing else can be read by. With the heads' own condition, the planner took it
# for looking up the head of one device wherever its statistics were of a time without heads, and read them all.

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('downlinks', '0004_expiring'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='downlink',
            index=models.Index(
                condition=models.Q(('due_at__isnull', False)),
                fields=['due_at'],
                name='downlink_due_at',
            ),
        ),
        RemoveIndexConcurrently(
            model_name='downlink',
            name='downlink_due',
        ),
    ]
