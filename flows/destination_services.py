"""The only writer of destinations and of their links to Flows (F5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import Project, User

from . import destination_inbox as inbox
from .models import Delivery, DeliveryState, Destination, Flow, FlowDestination, Kind
from .services import hold


@transaction.atomic
def create(
    *,
    project: Project,
    kind: Kind,
    facts: Mapping[str, Any],
    secrets: dict[str, Any],
    actor: User | None,
    key: str = "",
) -> Destination:
    """A new destination, in no Flow yet; ``key``: in the address of a test endpoint. Raises ValidationError where the
    Project has one of this name."""
    made = Destination(project=project, kind=kind, inbox_hash=inbox.hashed(key) if key else None, **facts)
    made.set_secrets(secrets)
    made.full_clean(exclude=["secrets"])
    made.save(force_insert=True)
    _record(made, actor, "destination.created", after={"kind": str(kind), **facts})
    return made


@transaction.atomic
def edit(*, destination: Destination, facts: Mapping[str, Any], secrets: dict[str, Any], actor: User) -> Destination:
    """Change what is given; secrets are told of by name alone. Raises ValidationError for a name that is taken."""
    held = Destination.objects.select_for_update().get(pk=destination.pk)
    before = {key: getattr(held, key) for key in facts if getattr(held, key) != facts[key]}
    old = held.get_secrets()
    new_secrets = sorted(key for key in old.keys() | secrets.keys() if old.get(key) != secrets.get(key))
    if not before and not new_secrets:
        return held
    for key in before:
        setattr(held, key, facts[key])
    held.set_secrets(secrets)
    held.full_clean(exclude=["secrets"])
    # Whatever was wrong may be right now: it is asked again at once.
    Destination.objects.filter(pk=held.pk).update(
        secrets=held.secrets, open_until=None, **{key: facts[key] for key in before}
    )
    after = {key: facts[key] for key in before} | ({"new secrets": new_secrets} if new_secrets else {})
    _record(held, actor, "destination.edited", before=before, after=after)
    return held


@transaction.atomic
def new_address(*, endpoint: Destination, actor: User) -> str:
    """The key of the test endpoint's new address; nobody is at the old one any more."""
    key = inbox.new_key()
    Destination.objects.filter(pk=endpoint.pk).update(inbox_hash=inbox.hashed(key))
    _record(endpoint, actor, "destination.address_replaced")
    return key


@transaction.atomic
def delete(*, destination: Destination, actor: User) -> None:
    """Remove it from its Flows and for ever. What waited for it is not sent any more; its rows go with their days."""
    held = Destination.objects.select_for_update().get(pk=destination.pk)
    Delivery.objects.filter(destination_id=held.pk, state=DeliveryState.WAITING).update(
        state=DeliveryState.DEAD, due_at=None
    )
    _record(held, actor, "destination.deleted", before={"kind": held.kind, "name": held.name})
    with scopes_disabled():
        held.delete()


@transaction.atomic
def link(*, flow: Flow, destination: Destination, actor: User) -> bool:
    """From now on the Flow's data goes there too; False where it did already, or where they are of two Projects.
    Raises FlowGone."""
    if flow.project_id != destination.project_id:
        return False
    hold(flow.pk)
    _made, new = FlowDestination.objects.get_or_create(flow=flow, destination=destination)
    if new:
        _record(destination, actor, "destination.linked", after={"flow": flow.name, "flow_id": flow.pk})
    return new


@transaction.atomic
def unlink(*, flow: Flow, destination: Destination, actor: User) -> bool:
    """The Flow's new data does not go there any more; what waits is delivered. False where it did not."""
    gone, _each = FlowDestination.objects.filter(flow=flow, destination=destination).delete()
    if gone:
        _record(destination, actor, "destination.unlinked", before={"flow": flow.name, "flow_id": flow.pk})
    return bool(gone)


def _record(destination: Destination, actor: User | None, action: str, **values: Any) -> None:
    audit.record(project_id=destination.project_id, actor=actor, action=action, target=destination.name, **values)
