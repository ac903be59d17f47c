"""Named views of All Devices (D11): kept, changed and removed by operators, looked at by everybody they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts import audit
from accounts.access import PersonRequest
from accounts.models import Project, Role, User

from .asked import Asked
from .errors import DeviceError
from .models import SavedView

# In the menu; more than these nobody finds anything among.
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Menu:
    """The views of the person by name: (name, address, shared, the one that is open). ``current``: the open one;
    ``changed``: the list is not as the view keeps it; ``may_change``: the person may keep it so."""

    views: list[tuple[str, str, bool, bool]]
    current: SavedView | None = None
    changed: bool = False
    may_change: bool = False


def visible(user: User) -> QuerySet[SavedView]:
    """Those of the person and those that are shared in the person's Projects, inside their scope."""
    return SavedView.objects.filter(Q(shared=True) | Q(owner=user))


def menu(request: PersonRequest, asked: Asked) -> Menu:
    """One query."""
    rows = list(visible(request.user)[:SHOWN])
    current = next((row for row in rows if row.pk == asked.view), None)
    return Menu(
        [(row.name, address(row), row.shared, row is current) for row in rows],
        current,
        current is not None and asked.text != current.query,
        current is not None and may_change(request, current),
    )


def may_change(request: PersonRequest, view: SavedView) -> bool:
    """One's own, and as an administrator every shared one; never where one only looks."""
    person = request.person
    if view.owner_id == request.user.pk:
        return person.may(Role.OPERATOR, view.project_id)
    return view.shared and person.may(Role.ADMINISTRATOR, view.project_id)


def address(view: SavedView) -> str:
    return reverse("devices:view", kwargs={"view_id": view.pk})


@transaction.atomic
def keep(*, project: Project, owner: User, name: str, query: str, shared: bool) -> SavedView:
    """A new view. Raises DeviceError where there is one of this name."""
    view = SavedView(project=project, owner=owner, name=name.strip(), query=query[:4000], shared=shared)
    _save(view, new=True)
    _record("view.kept", view, owner, after=_facts(view))
    return view


@transaction.atomic
def change(*, view: SavedView, actor: User, **changes: Any) -> SavedView:
    """Another name, what it shows, or whom it is for. Raises DeviceError where there is one of this name."""
    before = _facts(view)
    for key, value in changes.items():
        setattr(view, key, value)
    _save(view, new=False)
    _record("view.changed", view, actor, before=before, after=_facts(view))
    return view


@transaction.atomic
def remove(*, view: SavedView, actor: User) -> None:
    _record("view.removed", view, actor, before=_facts(view))
    view.delete()


def _save(view: SavedView, *, new: bool) -> None:
    try:
        with transaction.atomic():
            if new:
                view.save(force_insert=True)
            else:
                view.save(update_fields=["name", "query", "shared"])
    except IntegrityError as error:
        raise DeviceError(_("There is a view of this name already.")) from error


def _facts(view: SavedView) -> dict[str, Any]:
    return {"name": view.name, "query": view.query, "shared": view.shared}


def _record(action: str, view: SavedView, actor: User, **facts: Any) -> None:
    audit.record(project_id=view.project_id, actor=actor, action=action, target=view.name, **facts)
