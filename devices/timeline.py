"""Audit entries as the device's timeline tells them (P6): a symbol, a sentence, what changed into what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from django_stubs_ext import StrOrPromise

from accounts.audit import SYSTEM
from accounts.models import AuditEntry

from .models import Connection, Processing

# action → (symbol, sentence)
ACTIONS: Final[Mapping[str, tuple[str, StrOrPromise]]] = {
    "device.added": ("plus", gettext_lazy("Added")),
    "device.edited": ("pencil", gettext_lazy("Edited")),
    "device.deactivated": ("player-pause", gettext_lazy("Deactivated")),
    "device.activated": ("player-play", gettext_lazy("Activated")),
    "device.linked": ("link", gettext_lazy("Linked to a Flow")),
    "device.unlinked": ("unlink", gettext_lazy("Unlinked from a Flow")),
    "device.deletion_requested": ("trash", gettext_lazy("Deletion requested")),
    "device.deletion_refused": ("alert-circle", gettext_lazy("The network refused the deletion")),
    "device.moved_away": ("folder", gettext_lazy("Moved to another Project")),
    "device.moved_here": ("folder", gettext_lazy("Came from another Project")),
    "network.registration_requested": ("plug", gettext_lazy("Registration on the network requested")),
    "network.register_done": ("plug-connected", gettext_lazy("Registered on the network")),
    "network.register_refused": ("alert-circle", gettext_lazy("The network refused the registration")),
    "network.activate_requested": ("plug", gettext_lazy("Activation on the network requested")),
    "network.activate_done": ("plug-connected", gettext_lazy("Activated on the network")),
    "network.activate_refused": ("alert-circle", gettext_lazy("The network refused the activation")),
    "network.deactivate_requested": ("plug", gettext_lazy("Deactivation on the network requested")),
    "network.deactivate_done": ("ban", gettext_lazy("Deactivated on the network")),
    "network.deactivate_refused": ("alert-circle", gettext_lazy("The network refused the deactivation")),
    "network.deregister_done": ("unlink", gettext_lazy("Removed from the network")),
    "downlink.requested": ("send", gettext_lazy("Instruction requested")),
    "downlink.cancelled": ("ban", gettext_lazy("Instruction cancelled")),
    "device.secret_renewed": ("key", gettext_lazy("New shared secret made")),
    "twin.metadata_changed": ("tag", gettext_lazy("Metadata changed")),
    "twin.desired_changed": ("adjustments", gettext_lazy("Desired values changed")),
    "twin.measurements_cleared": ("trash", gettext_lazy("Measurements cleared")),
}
KEYS: Final[Mapping[str, StrOrPromise]] = {
    "name": gettext_lazy("name"),
    "barcode": gettext_lazy("barcode"),
    "description": gettext_lazy("description"),
    "type": gettext_lazy("device type"),
    "label": gettext_lazy("instruction"),
    "flow": gettext_lazy("Flow"),
    "connection": gettext_lazy("connectivity"),
    "processing": gettext_lazy("processing"),
    "wanted": pgettext_lazy("of a change", "wanted"),
    "reason": gettext_lazy("reason"),
    "values": gettext_lazy("values"),
}
# Their keys are people's own words.
OWN_KEYS: Final = frozenset({"twin.metadata_changed", "twin.desired_changed"})
# Numbers of rows say nothing to people; they stay in the record for programs.
HIDDEN: Final = frozenset({"flow_id", "id"})


@dataclass(frozen=True, slots=True)
class Change:
    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline; ``who`` is an e-mail address or the portal itself."""

    icon: str
    text: str
    who: str
    at: datetime
    changes: list[Change]


def entry(row: AuditEntry) -> Entry:
    icon, text = ACTIONS.get(row.action, ("info-circle", row.action.replace(".", ": ").replace("_", " ")))
    keys = [*row.before, *(key for key in row.after if key not in row.before)]
    if row.action in OWN_KEYS:
        changes = [Change(key, _plain(row.before.get(key)), _plain(row.after.get(key))) for key in keys]
    else:
        changes = [
            Change(
                label=str(KEYS.get(key, key.replace("_", " "))),
                before=_words(key, row.before.get(key)),
                after=_words(key, row.after.get(key)),
            )
            for key in keys
            if key not in HIDDEN and (row.before.get(key) or row.after.get(key))
        ]
    return Entry(
        icon=icon,
        text=str(text),
        who=_("the portal") if row.actor_label == SYSTEM else row.actor_label,
        at=row.at,
        changes=changes,
    )


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _words(key: str, value: Any) -> str:
    """A recorded value for reading; statuses by their names."""
    if value is None or value == "":
        return ""
    choices = {"processing": Processing, "connection": Connection, "wanted": Connection}.get(key)
    if choices is not None and value in choices.values:
        return str(choices(value).label)
    return str(value)
