"""The only writer of Flows, but for their end, which their devices have a part in (``devices.flow_deletion``)."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction

from accounts import audit
from accounts.models import Project, User

from .errors import FlowGone
from .models import Flow


@transaction.atomic
def create_flow(
    *,
    project: Project,
    name: str,
    actor: User | None,
    description: str = "",
    decoder: str = "",
    enabled: bool = True,
) -> Flow:
    """A new Flow. Raises ValidationError where the Project has one of this name."""
    flow = Flow(project=project, name=name.strip(), description=description.strip(), decoder=decoder, enabled=enabled)
    flow.full_clean()
    flow.save(force_insert=True)
    audit.record(
        project_id=project.pk,
        actor=actor,
        action="flow.created",
        target=flow.name,
        after={"decoder": decoder},
    )
    return flow


@transaction.atomic
def edit_flow(*, flow: Flow, actor: User, name: str, description: str, decoder: str) -> Flow:
    """Change what is given. Raises FlowGone, and ValidationError where the Project has another Flow of this name."""
    wanted = {"name": name.strip(), "description": description.strip(), "decoder": decoder}
    # The row as it is now, not as the page was: the record says what really changed.
    held = Flow.objects.select_for_update(no_key=True).filter(pk=flow.pk, deletion_asked_at=None).first()
    if held is None:
        raise FlowGone
    before = {key: getattr(held, key) for key in wanted}
    changed = {key: value for key, value in wanted.items() if value != before[key]}
    if not changed:
        return held
    for key, value in changed.items():
        setattr(held, key, value)
    held.full_clean()
    Flow.objects.filter(pk=held.pk).update(**changed | ({"recheck": True} if "decoder" in changed else {}))
    audit.record(
        project_id=held.project_id,
        actor=actor,
        action="flow.edited",
        target=held.name,
        before={key: before[key] for key in changed},
        after=changed,
    )
    return held


@transaction.atomic
def set_enabled(*, flow: Flow, enabled: bool, actor: User) -> bool:
    """Whether it processes data from now on; True where that is new. Raises FlowGone."""
    rows = Flow.objects.filter(pk=flow.pk, deletion_asked_at=None)
    if not rows.filter(enabled=not enabled).update(enabled=enabled):
        if not rows.exists():
            raise FlowGone
        return False
    action = "flow.enabled" if enabled else "flow.disabled"
    audit.record(project_id=flow.project_id, actor=actor, action=action, target=flow.name)
    return True


HOLD = "SELECT FROM flows_flow WHERE id = %s AND deletion_asked_at IS NULL FOR KEY SHARE"


def hold(flow_id: int) -> None:
    """Keep the Flow from going before the caller's transaction ends; others may do the same at once. Raises FlowGone
    where it is gone, or going. Whoever also locks devices locks them first."""
    with connection.cursor() as cursor:
        cursor.execute(HOLD, [flow_id])
        if cursor.fetchone() is None:
            raise FlowGone


def recheck(flow_ids: Iterable[int]) -> None:
    """Have it counted again how many devices the decoding does not fit: other devices are in these Flows now, or other
    decoders in their types. Without a decoding of its own a Flow fits all, and nothing is written."""
    Flow.objects.filter(pk__in=list(flow_ids), recheck=False).exclude(decoder="").update(recheck=True)
