"""The doorbells of registration: ids in, one service call."""

from celery import shared_task
from django.utils import timezone

from . import network


@shared_task
def run_network_task(device_id: int) -> None:
    network.run(device_id)


@shared_task
def sweep_network_tasks() -> None:
    """Ring again for work whose worker died or whose doorbell was lost."""
    for device_id in network.due(timezone.now()):
        run_network_task.apply_async(args=(device_id,))
