"""The filters of All Devices as people read them: one chip each, which can be taken off, and what the panel offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_stubs_ext import StrOrPromise

from flows.models import Flow

from . import values
from .asked import HEALTH, NEVER, NO_FLOW, SILENT, Asked, Where
from .cells import LABELS, value_label
from .models import Connection, ConnectivityKind, DeviceType, Health, Processing, ValueSource

FLOWS_TO_CHOOSE: Final = 500
# What the panel offers; the address takes any number of minutes, hours and days.
SILENCES: Final = ("1h", "6h", "1d", "3d", "7d", "30d", NEVER)
OPERATORS: Final[Mapping[str, StrOrPromise]] = {
    "=": gettext_lazy("is"),
    "!=": gettext_lazy("is not"),
    ">": gettext_lazy("is more than"),
    ">=": gettext_lazy("is at least"),
    "<": gettext_lazy("is less than"),
    "<=": gettext_lazy("is at most"),
    "~": gettext_lazy("contains"),
    "?": gettext_lazy("is there"),
    "!": gettext_lazy("is not there"),
}
SIGNS: Final[Mapping[str, str]] = {"!=": "≠", ">=": "≥", "<=": "≤"}


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on: "Type", "Own M2M device", and the address of the list without it."""

    name: StrOrPromise
    value: str
    url: str


def chips(asked: Asked, projects: Mapping[int, str]) -> list[Chip]:
    """A chip per value; queries only for what is filtered by."""
    known = Q(project=None) | Q(project_id__in=projects)
    types = _names(DeviceType.objects.filter(known, pk__in=asked.types)) if asked.types else {}
    flows = _names(Flow.objects.filter(pk__in=asked.flows)) if asked.flows else {}
    flows[NO_FLOW] = _("in no Flow")
    made: list[Chip] = []

    def add(name: StrOrPromise, field: str, texts: Mapping[Any, Any]) -> None:
        chosen = getattr(asked, field)
        for value in chosen:
            rest = tuple(each for each in chosen if each != value)
            # A type or Flow that is gone or not the person's is still a filter, which must be seen to be taken off.
            made.append(Chip(name, str(texts.get(value, _("unknown"))), asked.address(page=1, **{field: rest})))

    add(LABELS["project"], "projects", projects)
    add(LABELS["type"], "types", types)
    add(_("Network"), "connectivity", dict(ConnectivityKind.choices))
    add(LABELS["processing"], "processing", dict(Processing.choices))
    add(LABELS["connection"], "connection", dict(Connection.choices))
    add(_("Flow"), "flows", flows)
    add(LABELS["health"], "health", dict(_health()))
    if asked.silent:
        made.append(Chip(_("Silent"), silence(asked.silent), asked.address(page=1, silent="")))
    if asked.out_of_sync:
        made.append(Chip(_("Twin"), _("out of sync"), asked.address(page=1, out_of_sync=False)))
    for one in asked.where:
        rest = tuple(each for each in asked.where if each != one)
        made.append(Chip(value_label(one.column), condition(one), asked.address(page=1, where=rest)))
    return made


def condition(one: Where) -> str:
    """What is said of a value: "> 25", "contains eco", "is not there"."""
    if one.operator in "!?~":
        return f"{OPERATORS[one.operator]} {one.value}".strip()
    return f"{SIGNS.get(one.operator, one.operator)} {one.value}"


def silence(text: str) -> str:
    """ "7d" as people say it."""
    if text == NEVER:
        return _("never heard")
    match = SILENT.match(text)
    if match is None:
        return text
    count = int(match[1])
    say = {
        "m": ngettext("for more than %d minute", "for more than %d minutes", count),
        "h": ngettext("for more than %d hour", "for more than %d hours", count),
        "d": ngettext("for more than %d day", "for more than %d days", count),
    }
    return say[match[2]] % count


def filter_panel(asked: Asked, projects: Mapping[int, str]) -> dict[str, Any]:
    """What the filter panel offers. groups: (heading, name of the input, [(value, label, chosen)])."""
    types = DeviceType.objects.filter(Q(project=None) | Q(project_id__in=projects))
    groups = [
        (_("Network"), "connectivity", _boxes(ConnectivityKind.choices, asked.connectivity)),
        (LABELS["processing"], "processing", _boxes(Processing.choices, asked.processing)),
        (LABELS["connection"], "connection", _boxes(Connection.choices, asked.connection)),
        (LABELS["health"], "health", _boxes(_health(), asked.health)),
    ]
    if len(projects) > 1:
        groups.insert(0, (LABELS["project"], "project", _boxes(projects.items(), asked.projects)))
    others = Flow.objects.order_by("name", "pk").exclude(pk__in=asked.flows)[:FLOWS_TO_CHOOSE]
    flows = [(row.pk, row.name) for row in others]
    if NO_FLOW not in asked.flows:
        flows.insert(0, (NO_FLOW, _("In no Flow")))
    return {
        "groups": groups,
        # Long lists are chosen from one at a time; what is chosen stands in the chips.
        "selects": [
            (LABELS["type"], "type", [(row.pk, row.name) for row in types.exclude(pk__in=asked.types)], asked.types),
            (_("Flow"), "flow", flows, asked.flows),
        ],
        "silences": [(text, silence(text), text == asked.silent) for text in dict.fromkeys([*SILENCES, *_own(asked)])],
        "operators": list(OPERATORS.items()),
        "known": values.known(projects),
        "where": [str(one) for one in asked.where],
    }


def columns_panel(asked: Asked, projects: Mapping[int, str]) -> dict[str, Any]:
    """What the columns panel offers: the base columns, the values that devices are known to have, and those that are
    shown already."""
    shown = set(asked.columns)
    found = {one.key: one for one in values.known(projects)}
    for key in asked.value_columns:
        found.setdefault(key, values.Known(key, value_label(key)))
    return {
        "base": [(key, label, key in shown) for key, label in LABELS.items() if key != "name"],
        "sources": [
            (source.label, [(str(one.key), one.label, one.unit, str(one.key) in shown) for one in chosen])
            for source in ValueSource
            if (chosen := [one for key, one in sorted(found.items(), key=lambda pair: pair[0]) if key.source == source])
        ],
        "choices": ValueSource.choices,
    }


def _health() -> list[tuple[str, Any]]:
    return [(name, Health[name.upper()].label) for name in HEALTH]


def _own(asked: Asked) -> Iterable[str]:
    return [asked.silent] if asked.silent else []


def _names(rows: Any) -> dict[int, str]:
    return dict(rows.values_list("pk", "name"))


def _boxes(choices: Iterable[tuple[Any, Any]], chosen: Iterable[Any]) -> list[tuple[Any, Any, bool]]:
    on = set(chosen)
    return [(value, label, value in on) for value, label in choices]
