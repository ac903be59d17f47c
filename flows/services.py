"""The only writer of Flows."""

from __future__ import annotations

from django.db import transaction

from accounts import audit
from accounts.models import Project, User

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
def edit_flow(*, flow: Flow, actor: User, name: str, description: str, decoder: str, enabled: bool) -> Flow:
    """Change what is given. Raises ValidationError where the Project has another Flow of this name."""
    wanted = {"name": name.strip(), "description": description.strip(), "decoder": decoder, "enabled": enabled}
    # The row as it is now, not as the page was: the record says what really changed.
    held = Flow.objects.select_for_update().get(pk=flow.pk)
    before = {key: getattr(held, key) for key in wanted}
    changed = {key: value for key, value in wanted.items() if value != before[key]}
    if not changed:
        return held
    for key, value in changed.items():
        setattr(held, key, value)
    held.full_clean()
    Flow.objects.filter(pk=held.pk).update(**changed)
    audit.record(
        project_id=held.project_id,
        actor=actor,
        action="flow.edited",
        target=held.name,
        before={key: before[key] for key in changed},
        after=changed,
    )
    return held
