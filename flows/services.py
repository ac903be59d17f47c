"""The only writer of Flows."""

from __future__ import annotations

from django.db import transaction

from accounts import audit
from accounts.models import Project, User

from .models import Flow


@transaction.atomic
def create_flow(
    *, project: Project, name: str, actor: User | None, description: str = "", decoder: str = ""
) -> Flow:
    """A new Flow. Raises ValidationError where the Project has one of this name."""
    flow = Flow(project=project, name=name.strip(), description=description, decoder=decoder)
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
