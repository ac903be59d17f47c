"""What an address of All Devices asks for (D1–D3, D11): search, filters, columns, sort and page, and its spelling.

The address is the whole state of the list: it can be sent to a colleague, kept as a view, exported, and handed to a
bulk action as "all that match". Parsing never fails: what makes no sense falls back or is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from django.http import QueryDict
from django.utils.http import urlencode

from .models import Connection, ConnectivityKind, Health, Processing, ValueSource

# The columns that devices always have; the order is that of the table. Those that can be sorted by.
BASE: Final = ("name", "type", "identifier", "processing", "connection", "last_message", "project", "flows")
MORE: Final = ("health", "barcode", "description", "added")
SORTS: Final = frozenset({*BASE, "added"})
FULL: Final[Mapping[str, tuple[str, ...]]] = {
    "connectivity": tuple(ConnectivityKind.values),
    "processing": tuple(Processing.values),
    "connection": tuple(Connection.values),
}
HEALTH: Final = tuple(health.name.lower() for health in reversed(Health))
NO_FLOW: Final = 0
NEVER: Final = "never"
SILENT: Final = re.compile(r"^(\d{1,4})([mhd])$")
UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
# Longest first: ">=" is not ">" with "=" before the value.
OPERATORS: Final = (">=", "<=", "!=", ">", "<", "=", "~", "!")
KEY: Final = r"[^<>=!~\x00-\x1f]{1,100}?"
WHERE: Final = re.compile(
    rf"^(?P<source>{'|'.join(ValueSource.values)}):(?P<key>{KEY})\s*(?P<operator>>=|<=|!=|[<>=~!?])\s*(?P<value>.{{0,200}})$"
)
VALUE_COLUMN: Final = re.compile(rf"^(?P<source>{'|'.join(ValueSource.values)}):(?P<key>[^\x00-\x1f]{{1,100}})$")
MOST: Final = 200  # of one filter
MOST_WHERE: Final = 8
MOST_COLUMNS: Final = 20


@dataclass(frozen=True, slots=True, order=True)
class ValueKey:
    """A value of the twin as a column: ``reported:temperature``."""

    source: str
    key: str

    def __str__(self) -> str:
        return f"{self.source}:{self.key}"

    @classmethod
    def parse(cls, text: str) -> ValueKey | None:
        match = VALUE_COLUMN.match(text)
        return cls(match["source"], match["key"].strip()) if match and match["key"].strip() else None


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on a value: ``reported:temperature>25``, ``metadata:batch=7``, ``reported:mode~eco`` (contains),
    ``metadata:owner!`` (is not there), ``metadata:owner?`` (is there)."""

    column: ValueKey
    operator: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.column}{self.operator}{self.value}"

    @classmethod
    def parse(cls, text: str) -> Where | None:
        match = WHERE.match(text.replace("\x00", ""))
        if match is None or not match["key"].strip():
            return None
        bare = match["operator"] in "!?"
        value = "" if bare else match["value"].strip()
        if not bare and not value:
            return None
        return cls(ValueKey(match["source"], match["key"].strip()), match["operator"], value)

    @property
    def number(self) -> float | None:
        """The value where it reads as a number; a comma may stand for the point."""
        return number(self.value)


NUMBER: Final = re.compile(r"^[-+]?([0-9]{1,30}([.,][0-9]{0,30})?|[.,][0-9]{1,30})([eE][-+]?[0-9]{1,2})?$")


def number(text: str) -> float | None:
    """The text as a number, as :class:`~devices.models.ColumnValue` keeps it; None where it is none."""
    text = text.strip()
    return float(text.replace(",", ".")) if NUMBER.match(text) else None


@dataclass(frozen=True, slots=True)
class Asked:
    """The list that an address asks for. Several values of one filter: any of them; of several filters: all."""

    query: str = ""
    projects: tuple[int, ...] = ()
    types: tuple[int, ...] = ()
    connectivity: tuple[str, ...] = ()
    processing: tuple[str, ...] = ()
    connection: tuple[str, ...] = ()
    flows: tuple[int, ...] = ()
    silent: str = ""
    out_of_sync: bool = False
    health: tuple[str, ...] = ()
    where: tuple[Where, ...] = ()
    columns: tuple[str, ...] = BASE
    sort: str = "name"
    page: int = 1
    view: int | None = None

    @classmethod
    def parse(cls, data: QueryDict, projects: Iterable[int]) -> Asked:
        """``projects``: those of the person; others that the address names are left out."""
        mine = set(projects)
        return cls(
            query=data.get("q", "").replace("\x00", "").strip()[:100],
            projects=tuple(pk for pk in _numbers(data.getlist("project")) if pk in mine),
            types=_numbers(data.getlist("type")),
            connectivity=_of("connectivity", data),
            processing=_of("processing", data),
            connection=_of("connection", data),
            flows=_numbers(data.getlist("flow")),
            silent=_silent(data.get("silent", "")),
            out_of_sync=data.get("sync") == "out",
            health=tuple(value for value in dict.fromkeys(data.getlist("health")) if value in HEALTH),
            where=_where(data),
            columns=_columns(data),
            sort=_sort(data.get("sort", "")),
            page=max(1, _number(data.get("page", ""), 9) or 1),
            view=_number(data.get("view", ""), 18) or None,
        )

    # --- its spelling ---

    def pairs(self) -> list[tuple[str, str]]:
        """The address in its one order of parts, without what is the default."""
        single = [("view", str(self.view or "")), ("q", self.query)]
        many: list[tuple[str, str]] = []
        for name, values in (
            ("project", self.projects), ("type", self.types), ("connectivity", self.connectivity),
            ("processing", self.processing), ("connection", self.connection), ("flow", self.flows),
        ):  # fmt: skip
            many += [(name, str(value)) for value in values]
        single_after = [("silent", self.silent), ("sync", "out" if self.out_of_sync else "")]
        rest = [("health", value) for value in self.health] + [("where", str(one)) for one in self.where]
        rest += [("col", column) for column in self.columns] if self.columns != BASE else []
        rest += [("sort", "" if self.sort == "name" else self.sort), ("page", str(self.page) if self.page > 1 else "")]
        return [(name, value) for name, value in [*single, *many, *single_after, *rest] if value]

    def address(self, **changes: Any) -> str:
        """The same list with something changed, as the part of an address after the path."""
        return f"?{urlencode(replace(self, **changes).pairs())}"

    @property
    def text(self) -> str:
        """What a view keeps: all but the page and the view's own number."""
        return urlencode(replace(self, page=1, view=None).pairs())

    # --- what it says ---

    @property
    def filtered(self) -> bool:
        """Whether anything but the choice of Projects leaves devices out."""
        return bool(
            self.query
            or self.types
            or self.connectivity
            or self.processing
            or self.connection
            or self.flows
            or self.silent
            or self.out_of_sync
            or self.health
            or self.where
        )

    @property
    def key(self) -> str:
        """The column that is sorted by."""
        return self.sort.removeprefix("-")

    @property
    def reverse(self) -> bool:
        return self.sort.startswith("-")

    @property
    def sort_value(self) -> ValueKey | None:
        return ValueKey.parse(self.key)

    @property
    def value_columns(self) -> list[ValueKey]:
        """The columns of twin values that are shown, in their order."""
        return [key for key in map(ValueKey.parse, self.columns) if key]

    @property
    def searched_values(self) -> list[ValueKey]:
        """The values that are sorted or filtered by, which need an index."""
        wanted = [one.column for one in self.where]
        return list(dict.fromkeys([*wanted, self.sort_value] if self.sort_value else wanted))

    @property
    def silence(self) -> timedelta | None:
        match = SILENT.match(self.silent)
        return timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None


def _number(text: str, digits: int) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < digits else None


def _numbers(texts: Iterable[str]) -> tuple[int, ...]:
    found = (_number(text, 18) for text in texts)
    return tuple(dict.fromkeys(value for value in found if value is not None))[:MOST]


def _of(name: str, data: QueryDict) -> tuple[str, ...]:
    known = FULL[name]
    return tuple(value for value in known if value in set(data.getlist(name)))


def _silent(text: str) -> str:
    return text if text == NEVER or (SILENT.match(text) and int(text[:-1])) else ""


def _where(data: QueryDict) -> tuple[Where, ...]:
    """The conditions, and the one that the filter form spells in three inputs."""
    texts = data.getlist("where")
    if data.get("where_key"):
        texts = [*texts, f"{data['where_key']}{data.get('where_op', '=')}{data.get('where_value', '')}"]
    found = (Where.parse(text) for text in texts)
    return tuple(dict.fromkeys(one for one in found if one))[:MOST_WHERE]


def _columns(data: QueryDict) -> tuple[str, ...]:
    """The name always; base columns in the order of the table, then values in the order of the address."""
    asked = data.getlist("col")
    if data.get("col_key", "").strip():
        asked = [*asked, f"{data.get('col_source', ValueSource.REPORTED.value)}:{data.get('col_key', '').strip()}"]
    if not asked:
        return BASE
    wanted = {"name", *asked}
    values = [str(key) for key in (ValueKey.parse(text) for text in asked) if key]
    columns = [name for name in (*BASE, *MORE) if name in wanted]
    return tuple(dict.fromkeys([*columns, *values]))[:MOST_COLUMNS]


def _sort(text: str) -> str:
    key = text.removeprefix("-")
    value = ValueKey.parse(key)
    if value:
        return f"{'-' if text.startswith('-') else ''}{value}"
    return text if key in SORTS else "name"
