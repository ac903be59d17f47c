"""The cells of All Devices (D1, D11), made here and not in the template: fifty rows of any columns, at a third of the
price."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_stubs_ext import StrOrPromise

from common.templatetags.portal import moment, status, tip

from .asked import Asked, ValueKey
from .health import words
from .models import Health, ValueSource

Row = Mapping[str, Any]

LABELS: Final[Mapping[str, StrOrPromise]] = {
    "name": gettext_lazy("Name"),
    "type": gettext_lazy("Type"),
    "identifier": gettext_lazy("Identifier"),
    "processing": gettext_lazy("Processing"),
    "connection": gettext_lazy("Connectivity"),
    "last_message": gettext_lazy("Last message"),
    "project": gettext_lazy("Project"),
    "flows": gettext_lazy("Flows"),
    "health": gettext_lazy("Health"),
    "barcode": gettext_lazy("Barcode"),
    "description": gettext_lazy("Description"),
    "added": gettext_lazy("Added"),
}
LONGEST: Final = 60


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: ``key`` as the address spells it, ``head``, ``css`` of the head, ``sortable``,
    ``hint``, which says more than the head, and the ``value`` of the twin that it shows."""

    key: str
    head: StrOrPromise
    css: str = ""
    sortable: bool = True
    hint: StrOrPromise = ""
    value: ValueKey | None = None


def columns(asked: Asked, rows: Sequence[Row] = ()) -> list[Column]:
    """The columns in their order; a value that is a number in one of the rows stands on the right."""
    made = []
    for key in asked.columns:
        value = ValueKey.parse(key)
        if value:
            number = any(value in row["values"] and row["values"][value].number for row in rows)
            hint = ValueSource(value.source).label
            made.append(Column(key, value_label(value), "right" if number else "", hint=hint, value=value))
        else:
            made.append(Column(key, LABELS[key], "right" if key == "flows" else "", key not in UNSORTED))
    return made


UNSORTED: Final = frozenset({"health", "barcode", "description"})


def value_label(key: ValueKey) -> str:
    """The key as a head: "Temperature"; the part of the twin stands with it where it is not the reported one."""
    name = key.key[:1].upper() + key.key[1:]
    if key.source == ValueSource.DESIRED:
        return _("%(name)s (desired)") % {"name": name}
    return name


def cells(row: Row, shown: list[Column], lock: SafeString) -> SafeString:
    """The row's cells, each a td. ``lock``: the mark of a managed device."""
    return SafeString("".join(_cell(row, column, lock) for column in shown))


def _cell(row: Row, column: Column, lock: SafeString) -> SafeString:
    made = CELLS.get(column.key)
    if made is None:
        return _value(row, column)
    return made(row, lock)


def _name(row: Row, lock: SafeString) -> SafeString:
    return format_html(
        '<td class="m-main"><a class="row-link" href="/devices/{}/">{}</a>{}</td>',
        row["id"],
        row["name"],
        format_html(" {}", lock) if row["managed"] else "",
    )


def _identifier(row: Row, lock: SafeString) -> SafeString:
    label, reading = row["identifier_label"], row["reading"]
    if not reading:
        shown = format_html('<span class="none">{}</span>', _("None"))
    else:
        shown = format_html('<span class="identifier"><code title="{}">{}</code></span>', label, reading)
    return format_html('<td class="m-sub"><span class="visually-hidden">{} </span>{}</td>', label, shown)


def _flows(row: Row, lock: SafeString) -> SafeString:
    if not row["flow_count"]:
        return mark_safe('<td class="right m-hide"><span class="none">0</span></td>')
    parts = list(row["flow_names"])
    if row["flows_elsewhere"]:
        text = ngettext("%(n)s of another Project", "%(n)s of other Projects", row["flows_elsewhere"])
        parts.append(text % {"n": row["flows_elsewhere"]})
    return format_html('<td class="right m-hide">{}</td>', tip(row["flow_count"], ", ".join(parts), "num"))


def _health(row: Row, lock: SafeString) -> SafeString:
    """With what makes the device unwell in the pop-up."""
    shown = status("health", Health(row["state__health"] or 0).name.lower())
    why = words(row["state__finding"] or "")
    return format_html('<td class="m-hide">{}</td>', tip(shown, why) if why else shown)


def _value(row: Row, column: Column) -> SafeString:
    """A value of the twin with its unit; its time in the pop-up."""
    cell = row["values"].get(column.value)
    if cell is None:
        return format_html(
            '<td class="m-value {}" data-label="{}"><span class="none">–</span></td>', column.css, column.head
        )
    text = Truncator(cell.text).chars(LONGEST)
    shown = format_html(
        '<span class="{}">{}{}</span>',
        "num" if cell.number else "",
        text,
        format_html(' <span class="unit">{}</span>', cell.unit) if cell.unit else "",
    )
    if cell.at:
        shown = format_html(
            '<span class="tip" tabindex="0">{}<span class="tip-body" role="tooltip">{}</span></span>',
            shown,
            _plain_moment(cell.at),
        )
    return format_html(
        '<td class="m-value{}" data-label="{}">{}</td>', " right" if cell.number else "", column.head, shown
    )


def _plain_moment(at: datetime) -> str:
    local = timezone.localtime(at)
    return f"{formats.date_format(local, 'j M Y H:i:s')} {local.tzname() or ''}"


CELLS: Final[Mapping[str, Callable[[Row, SafeString], SafeString]]] = {
    "name": _name,
    "type": lambda row, lock: format_html('<td class="sub m-hide">{}</td>', row["type__name"]),
    "identifier": _identifier,
    "processing": lambda row, lock: format_html(
        '<td class="m-end">{}</td>', status("processing", row["processing_status"])
    ),
    "connection": lambda row, lock: format_html(
        '<td class="m-hide">{}</td>', status("connectivity", row["connection_status"])
    ),
    "last_message": lambda row, lock: format_html(
        '<td class="m-end2">{}</td>', moment(row["state__last_message_at"], "ago")
    ),
    "project": lambda row, lock: format_html('<td class="sub m-hide">{}</td>', row["project_name"]),
    "flows": _flows,
    "health": _health,
    "barcode": lambda row, lock: format_html('<td class="sub m-hide">{}</td>', row["barcode"]),
    "description": lambda row, lock: format_html(
        '<td class="sub m-hide">{}</td>', Truncator(row["description"]).chars(LONGEST)
    ),
    "added": lambda row, lock: format_html('<td class="m-hide">{}</td>', moment(row["created_at"])),
}
