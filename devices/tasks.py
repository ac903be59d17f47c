"""The doorbells of registration and of files of devices: ids in, one service call."""

from celery import shared_task
from django.utils import timezone

from . import import_runner, imports, network


@shared_task
def run_network_task(device_id: int) -> None:
    network.run(device_id)


@shared_task
def sweep_network_tasks() -> None:
    """Ring again for work whose worker died or whose doorbell was lost."""
    for device_id in network.due(timezone.now()):
        run_network_task.apply_async(args=(device_id,))


@shared_task
def run_import(file_id: int) -> None:
    import_runner.run(file_id)


@shared_task
def sweep_imports() -> None:
    """Ring again for files whose worker died or whose doorbell was lost."""
    for file_id in import_runner.due(timezone.now()):
        run_import.apply_async(args=(file_id,))


@shared_task
def drop_expired_imports() -> None:
    """Drop files that were kept long enough, and the secrets in them."""
    imports.drop_expired(timezone.now())
