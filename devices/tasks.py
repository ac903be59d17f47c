"""The doorbells of registration, jobs, columns of values and files of devices: ids in, one service call."""

from celery import shared_task
from django.utils import timezone

from . import flow_checks, flow_deletion, import_runner, imports, jobs, network, values

# A task ends after so many sets: others get their turn, and a killed one loses little.
FILL_SETS = 10


@shared_task
def run_network_task(device_id: int) -> None:
    network.run(device_id)


@shared_task
def sweep_network_tasks() -> None:
    """Ring again for work whose worker died or whose doorbell was lost."""
    for device_id in network.due(timezone.now()):
        run_network_task.apply_async(args=(device_id,))


@shared_task
def run_job(job_id: int) -> None:
    jobs.run(job_id)


@shared_task
def sweep_jobs() -> None:
    """Ring again for jobs whose worker died or whose doorbell was lost."""
    for job_id in jobs.due(timezone.now()):
        run_job.apply_async(args=(job_id,))


@shared_task
def fill_value_column(column_id: int) -> None:
    """Some sets of a column of values, and the next ones in a task of their own."""
    if not values.fill(column_id, sets=FILL_SETS):
        fill_value_column.apply_async(args=(column_id,))


@shared_task
def sweep_value_columns() -> None:
    """Go on with columns whose worker died, and give up those that nobody asks for."""
    for column_id in values.unfilled():
        fill_value_column.apply_async(args=(column_id,))
    values.give_up_unused(timezone.now())


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


@shared_task
def delete_flow(flow_id: int) -> None:
    """Some sets of its devices, and the next ones in a task of their own."""
    if not flow_deletion.go_on(flow_id):
        delete_flow.apply_async(args=(flow_id,))


@shared_task
def sweep_flow_deletions() -> None:
    """Ring again for Flows whose worker died or whose doorbell was lost."""
    for flow_id in flow_deletion.due():
        delete_flow.apply_async(args=(flow_id,))


@shared_task
def check_flows() -> None:
    """Count what the decoding does not fit in the Flows that have changed."""
    flow_checks.check()


@shared_task
def count_trouble_of_flows() -> None:
    flow_checks.count_trouble()


@shared_task
def check_all_flows() -> None:
    """Have all Flows looked at again, for changes that nobody told of."""
    flow_checks.check_all()
