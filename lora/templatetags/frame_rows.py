"""A row of the LoRa data history. A tag and not a template: a page has fifty of them, and one written with the template
language took three quarters of the page's time (docs/benchmarks.md)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from django import template
from django.template.defaultfilters import floatformat
from django.utils.html import conditional_escape, escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from common.templatetags.portal import Here, here, icon, moment, signal, status, tip
from lora.history import Row, kind_words, signal_text

register = template.Library()

NONE: Final = mark_safe('<span class="none">–</span>')
ROW: Final = (
    '<tr id="f-{key}"><td class="m-main">{direction}</td><td class="m-wide"><span class="cluster">'
    '<a class="row-link" id="o-{key}" href="{address}" hx-get="{address}{close}" hx-target="#f-{key}"'
    ' hx-swap="outerHTML" aria-expanded="{expanded}">{words}</a>{signs}</span></td>'
    '<td class="m-sub">{received}</td><td class="right num m-end">{counter}</td><td class="m-hide num">{factor}</td>'
    '<td class="right num m-hide">{rssi}</td><td class="right num m-hide">{snr}</td><td class="m-end2">{esp}</td>'
    '<td class="right num m-hide">{gateways}</td><td class="cell-icon m-hide"><a class="icon-button" tabindex="-1"'
    ' aria-hidden="true" href="{address}" hx-get="{address}{close}" hx-target="#f-{key}" hx-swap="outerHTML">'
    "{chevron}</a></td></tr>"
)


@register.simple_tag(takes_context=True)
def frame_rows(context: template.Context, rows: Iterable[Row]) -> SafeString:
    """The rows of a page, closed. Reads ``history_url`` from the context."""
    told, history_url = here(), context["history_url"]
    return mark_safe("".join(_row(row, history_url, told) for row in rows))  # noqa: S308 - each is safe


@register.simple_tag(takes_context=True)
def frame_row(context: template.Context, row: Row, opened: bool = False) -> SafeString:
    """``opened``: its details stand below it. Reads ``history_url`` from the context."""
    return mark_safe(_row(row, context["history_url"], here(), opened))  # noqa: S308 - as said below


def _row(row: Row, history_url: str, told: Here, opened: bool = False) -> str:
    """Everything put in is a number, escaped, or a piece that is safe: format_html asks so of each again."""
    frame, language, key = row.frame, told.language, row.key
    up = row.uplink
    signs = _signs(
        frame.ack, row.has_data, row.has_mac, row.located, frame.delivered, not row.unreadable, language
    )  # fmt: skip
    return ROW.format(
        key=key,
        address=f"{history_url}{key}/",
        close="?close" if opened else "",
        expanded="true" if opened else "false",
        direction=status("direction", row.direction),
        words=_words(frame.kind, frame.confirmed, language),
        signs=signs,
        received=moment(frame.received_at, precision="ms", told=told),
        counter=NONE if frame.fcnt is None else f'<span class="quiet">{row.counter_name}</span> {frame.fcnt:d}',
        factor=f"SF{frame.spreading_factor:d}" if frame.spreading_factor else NONE,
        rssi=_number(frame.rssi, language) if row.heard else NONE,
        snr=_number(frame.snr, language) if row.heard else NONE,
        esp=_esp(frame.esp, frame.rssi, frame.snr, language) if up and frame.esp is not None else NONE,
        gateways=f"{frame.gateway_count:d}" if up else NONE,
        chevron=icon("chevron-down" if opened else "chevron-right"),
    )


@lru_cache(maxsize=64)
def _words(kind: int, confirmed: bool, _language: str | None) -> str:
    return escape(kind_words(kind, confirmed=confirmed))


@lru_cache(maxsize=4096)
def _esp(esp: float, rssi: float | None, snr: float | None, _language: str | None) -> SafeString:
    return tip(signal(esp, number=False), signal_text(esp, rssi, snr), "tip-end")


@lru_cache(maxsize=512)
def _signs(
    ack: bool, data: bool, mac: bool, located: bool, sent: bool, readable: bool, _language: str | None
) -> SafeString:
    """What the message carries and what went wrong, each as a symbol with its word."""
    chip, bad = '<span class="chip">{}{}</span>', '<span class="chip" data-tone="bad">{}{}</span>'
    where = _("Geolocation found")
    shown = [
        format_html(chip, icon("check"), "ACK") if ack else "",
        format_html(chip, icon("database"), _("data")) if data else "",
        format_html(chip, icon("adjustments"), "MAC") if mac else "",
        format_html('<span class="chip" title="{}">{}</span>', where, icon("map-pin", "", where)) if located else "",
        "" if sent else format_html(bad, icon("alert-circle"), _("not sent")),
        "" if readable else format_html(bad, icon("alert-triangle"), _("not readable")),
    ]
    return mark_safe("".join(shown))  # noqa: S308 - each part is escaped


@lru_cache(maxsize=4096)
def _number(value: float | None, _language: str | None) -> str:
    return NONE if value is None else conditional_escape(floatformat(value, "-1"))
