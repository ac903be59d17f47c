"""The small pieces of every page: icons, states, moments, identifiers, signal bars, column heads, controls.

They are tags and not includes because lists of hundreds of rows use them (an include costs three times).
docs/design-language.md says when to use which; the page ``styleguide.html`` shows them all.
"""

from __future__ import annotations

from datetime import date, datetime, tzinfo
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from django import forms, template
from django.templatetags.static import static
from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.html import conditional_escape, escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext_lazy, pgettext_lazy
from django.utils.translation import gettext as _

from common import partitions
from common.radio import VERY_WEAK_ESP, WEAK_ESP

register = template.Library()

THEMES: Final = ("light", "dark")
ARROWS: Final = {"ascending": "arrow-up", "descending": "arrow-down"}


class Look(NamedTuple):
    """How a state is told: a tone (colour), a symbol, and the word where the caller gives none."""

    tone: str  # ok | busy | wait | off | bad | warn | up | down
    icon: str  # name in the sprite, or "pulse": the animated dot of work underway
    label: str | Promise


STATES: Final[dict[str, dict[str, Look]]] = {
    "processing": {
        "active": Look("ok", "circle-check", gettext_lazy("Active")),
        "deactivated": Look("off", "player-pause", gettext_lazy("Deactivated")),
        "not_linked": Look("wait", "circle-dashed", gettext_lazy("Not yet linked")),
    },
    "connectivity": {
        "not_linked": Look("wait", "circle-dashed", gettext_lazy("Not yet linked to a network")),
        "pending_create": Look("busy", "pulse", gettext_lazy("Pending create")),
        "active": Look("ok", "circle-check", gettext_lazy("Active")),
        "deactivated": Look("off", "player-pause", gettext_lazy("Deactivated")),
        "failed": Look("bad", "alert-circle", gettext_lazy("Failed")),
        "inventory": Look("wait", "package", gettext_lazy("Inventory")),
    },
    "downlink": {
        "pending": Look("wait", "clock", gettext_lazy("Pending")),
        "executing": Look("busy", "pulse", gettext_lazy("Executing")),
        "delivered": Look("ok", "circle-check", gettext_lazy("Delivered")),
        "failed": Look("bad", "alert-circle", gettext_lazy("Failed")),
        "cancelled": Look("off", "ban", gettext_lazy("Cancelled")),
    },
    "direction": {
        "up": Look("up", "arrow-up", gettext_lazy("Uplink")),
        "down": Look("down", "arrow-down", gettext_lazy("Downlink")),
    },
    "sim": {
        "inventory": Look("wait", "package", gettext_lazy("Inventory")),
        "active": Look("ok", "circle-check", gettext_lazy("Active")),
        "deactivated": Look("off", "player-pause", gettext_lazy("Deactivated")),
    },
    "delivery": {
        "pending": Look("wait", "clock", gettext_lazy("Waiting")),
        "delivered": Look("ok", "circle-check", gettext_lazy("Delivered")),
        "retrying": Look("warn", "refresh", gettext_lazy("Trying again")),
        "failed": Look("bad", "alert-circle", gettext_lazy("Failed")),
        "dead": Look("bad", "archive", gettext_lazy("Given up")),
    },
    "desired": {
        "requested": Look("busy", "clock", gettext_lazy("Requested")),
        "queued": Look("busy", "list", gettext_lazy("In the queue")),
        "on_air": Look("busy", "broadcast", gettext_lazy("On air")),
        "acknowledged": Look("busy", "check", gettext_lazy("Acknowledged")),
        "in_sync": Look("ok", "circle-check", gettext_lazy("In sync")),
        "differs": Look("warn", "alert-triangle", gettext_lazy("Differs")),
        "underway": Look("busy", "pulse", gettext_lazy("Underway")),
        "failed": Look("bad", "alert-circle", gettext_lazy("Failed")),
    },
    "health": {
        "good": Look("ok", "circle-check", gettext_lazy("Good")),
        "attention": Look("warn", "alert-triangle", gettext_lazy("Needs attention")),
        "problem": Look("bad", "alert-circle", gettext_lazy("Problem")),
        "unknown": Look("wait", "circle-dashed", gettext_lazy("Not known yet")),
    },
    "job": {
        "running": Look("busy", "pulse", gettext_lazy("Running")),
        "paused": Look("off", "player-pause", gettext_lazy("Paused")),
        "cancelled": Look("off", "ban", gettext_lazy("Cancelled")),
        "finished": Look("ok", "circle-check", gettext_lazy("Finished")),
    },
    "outcome": {
        "pending": Look("wait", "circle-dashed", gettext_lazy("Not begun")),
        "waiting": Look("busy", "pulse", gettext_lazy("Under way")),
        "done": Look("ok", "circle-check", gettext_lazy("Done")),
        "skipped": Look("off", "circle-minus", gettext_lazy("Skipped")),
        "failed": Look("bad", "alert-circle", gettext_lazy("Failed")),
    },
}
PULSE: Final = mark_safe('<i class="pulse" aria-hidden="true"></i>')
UNKNOWN: Final = Look("wait", "circle-dashed", "")

# Estimated signal power in dBm at the best gateway, lowest bound of each number of bars, and its word.
SIGNAL: Final = (
    (-100.0, 5, pgettext_lazy("signal", "excellent")),
    (-110.0, 4, pgettext_lazy("signal", "good")),
    (WEAK_ESP, 3, pgettext_lazy("signal", "fair")),
    (VERY_WEAK_ESP, 2, pgettext_lazy("signal", "weak")),
    (float("-inf"), 1, pgettext_lazy("signal", "very weak")),
)
# Words of a moment's precision, and as datetime names them.
PRECISIONS: Final = {"ms": "milliseconds", "s": "seconds", "min": "minutes"}
_BAR_HEIGHTS: Final = (3, 5, 7, 9, 11)


@cache
def _sprite() -> str:
    return static("vendor/icons.svg")


@register.simple_tag
def icon(name: str, css: str = "", label: str = "") -> SafeString:
    """A symbol of the sprite; hidden from screen readers unless ``label`` says what it tells."""
    return _icon(name, css, str(label))


# The same few pieces stand in every row of every list; typed, because safe text is not escaped and equals text that is.
@lru_cache(maxsize=1024, typed=True)
def _icon(name: str, css: str, label: str) -> SafeString:
    role = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html(
        '<svg class="icon{}" {} focusable="false"><use href="{}#i-{}"/></svg>',
        f" {css}" if css else "",
        role,
        _sprite(),
        name,
    )


@register.simple_tag
def status(kind: str, value: str, label: str = "", pill: bool = False) -> SafeString:
    """A state as colour, symbol and word. ``kind``: a key of STATES; ``pill`` in headings, plain in tables."""
    return _status(kind, str(value), str(label), bool(pill), get_language())


@lru_cache(maxsize=1024, typed=True)
def _status(kind: str, value: str, label: str, pill: bool, _language: str | None) -> SafeString:
    look = STATES.get(kind, {}).get(value, UNKNOWN)
    return state(look.tone, look.icon, label or str(look.label) or value, pill)


@register.simple_tag
def state(tone: str, name: str, word: str, pill: bool = False) -> SafeString:
    """A state that STATES does not have: a tone, a symbol of the sprite (or "pulse") and a word."""
    return _state(tone, name, str(word), bool(pill))


@lru_cache(maxsize=1024, typed=True)
def _state(tone: str, name: str, word: str, pill: bool) -> SafeString:
    return format_html(
        '<span class="state{}" data-tone="{}">{}<span class="state-word">{}</span></span>',
        " state-pill" if pill else "",
        tone,
        PULSE if name == "pulse" else icon(name),
        word,
    )


@register.simple_tag
def tip(content: Any, text: str, css: str = "") -> SafeString:
    """``content`` with a pop-up ``text`` on hover and on keyboard focus, read out in place."""
    return format_html(
        '<span class="tip{}" tabindex="0">{}<span class="tip-body" role="tooltip">{}</span></span>',
        f" {css}" if css else "",
        content,
        text,
    )


@register.simple_tag(takes_context=True)
def managed(context: template.Context) -> SafeString:
    """The lock of a device that was bought from the operator (T4)."""
    text = _("Managed by %(operator)s: you can rename it and send its commands, not remove it.")
    return tip(icon("lock"), text % {"operator": context.get("operator_name", "")}, "lock")


class Here(NamedTuple):
    """What a moment is told by: the person's language and zone, and when it is now."""

    language: str | None
    zone: tzinfo
    now: datetime


def here() -> Here:
    return Here(get_language(), timezone.get_current_timezone(), timezone.now())


def ago(moment: datetime, told: Here) -> str:
    """How long ago, in one unit, as moments.js keeps it up to date."""
    seconds = int((told.now - moment).total_seconds())
    size = next((size for size in (86400, 3600, 60, 10) if seconds >= size), 0)
    return _ago(size, seconds // max(size, 1) if size != 10 else seconds, told.language)


@lru_cache(maxsize=2048)
def _ago(size: int, count: int, _language: str | None) -> str:
    texts = {86400: _("%d d ago"), 3600: _("%d h ago"), 60: _("%d min ago"), 10: _("%d s ago")}
    return texts[size] % count if size else _("just now")


@register.simple_tag
def ago_texts() -> SafeString:
    """The words of :func:`ago` as data attributes, so that the browser counts in the person's language."""
    texts = {
        "now": _("just now"),
        "s": _("%d s ago"),
        "min": _("%d min ago"),
        "h": _("%d h ago"),
        "d": _("%d d ago"),
    }
    return format_html_join(" ", 'data-ago-{}="{}"', texts.items())


@lru_cache(maxsize=1024)
def _day(day: date, _language: str | None) -> str:
    return escape(formats.date_format(day, "j M Y"))


# Of zones' names and of "how long ago" there are few.
_escaped = lru_cache(maxsize=4096)(escape)


@register.simple_tag
def moment(
    value: datetime | None,
    show: str = "exact",
    precision: str = "s",
    note: str = "",
    never: str = "",
    told: Here | None = None,
) -> SafeString:
    """A moment in the person's time zone, with a pop-up of the other half: how long ago, and the zone's name.

    ``show``: "exact" (pop-up says how long ago) or "ago" (pop-up says when exactly, for dense lists).
    ``precision``: "ms", "s" or "min". ``note``: a sentence added to the pop-up. ``never``: for no moment. ``told``: of
    :func:`here`, asked once by whoever tells many.
    """
    if value is None:
        return format_html('<span class="none">{}</span>', never or _("Never"))
    # Written together and not with format_html: a list has fifty of them, and each took a fifth of a millisecond.
    told = told or here()
    local = value.astimezone(told.zone)
    clock = local.time().isoformat(PRECISIONS[precision])
    exact = f'{_day(local.date(), told.language)} <span class="clock">{clock}</span>'
    since = f'<span data-ago="{local.isoformat()}">{_escaped(ago(value, told))}</span>'
    shown, hidden = (since, exact) if show == "ago" else (exact, since)
    more = f"<br>{conditional_escape(note)}" if note else ""
    return mark_safe(  # noqa: S308 - digits of moments, and what is escaped above
        f'<span class="tip moment" tabindex="0"><time datetime="{local.isoformat(timespec="milliseconds")}">{shown}'
        f'</time><span class="tip-body" role="tooltip">{hidden} <span class="zone">{_escaped(local.tzname() or "")}'
        f"</span>{more}</span></span>"
    )


@register.simple_tag
def zone() -> str:
    """The person's time zone with its present abbreviation, such as "Europe/Amsterdam (CET)"."""
    short = timezone.localtime().tzname()
    name = timezone.get_current_timezone_name()
    return f"{name} ({short})" if short and short != name else name


@cache
def _bars(lit: int) -> SafeString:
    return format_html_join(
        "",
        '<rect x="{}" y="{}" width="3" height="{}" rx="1"{}/>',
        (
            (i * 4, 12 - height, height, mark_safe(' class="on"') if i < lit else "")
            for i, height in enumerate(_BAR_HEIGHTS)
        ),
    )


@register.simple_tag
def signal(esp: float | None, number: bool = True) -> SafeString:
    """Estimated signal power (dBm) as bars, number and word; None: the network gave none."""
    bars, word = 0, _("no signal strength")
    if esp is not None:
        bars, word = next((count, str(text)) for bound, count, text in SIGNAL if esp >= bound)
    return _signal(bars, word, round(esp) if esp is not None and number else None)


@lru_cache(maxsize=1024)
def _signal(bars: int, word: str, number: int | None) -> SafeString:
    text = format_html('<span class="num">{} dBm</span>', number) if number is not None else ""
    return format_html(
        '<span class="signal-bars" data-bars="{}">'
        '<svg viewBox="0 0 19 12" role="img" aria-label="{}">{}</svg>{}</span>',
        bars,
        word,
        _bars(bars),
        text,
    )


@register.simple_tag
def copy_button(value: str, what: str = "") -> SafeString:
    """A button that copies ``value``; ``what`` names it for screen readers."""
    label = _("Copy %(what)s") % {"what": what} if what else _("Copy")
    return format_html(
        '<button type="button" class="icon-button copy" data-copy="{}" aria-label="{}" title="{}">{}{}</button>',
        value,
        label,
        label,
        icon("copy", "copy-idle"),
        icon("check", "copy-done"),
    )


@register.simple_tag
def identifier(value: str, what: str = "", copy: bool = True) -> SafeString:
    """A DevEUI, IMEI, ICCID, UUID: one width per character, with a copy button (``copy=False`` in tables)."""
    if not value:
        return format_html('<span class="none">{}</span>', _("None"))
    button = copy_button(value, what) if copy else ""
    return format_html('<span class="identifier"><code>{}</code>{}</span>', value, button)


@register.simple_tag(takes_context=True)
def theme(context: template.Context) -> str:
    """The person's choice from the cookie: "light", "dark" or "auto"."""
    request = context.get("request")
    chosen = request.COOKIES.get("theme", "") if request is not None else ""
    return chosen if chosen in THEMES else "auto"


@register.simple_tag(takes_context=True)
def sort_head(context: template.Context, key: str, label: str, css: str = "") -> SafeString:
    """A column head that sorts: a link that keeps the search and drops the page (D3).

    Reads ``sort`` from the context (such as "name" or "-name"). Target and history come from the swapped
    region around the table (hx-target, hx-push-url), which htmx inherits.
    """
    order, address = _sorting(context, key)
    # htmx gives the focus back to what has the same id after the swap.
    return format_html(
        '<th scope="col" aria-sort="{}"{}><a class="sort" id="sort-by-{}" href="{}" hx-get="{}">{}{}</a></th>',
        order,
        format_html(' class="{}"', css) if css else "",
        key,
        address,
        address,
        label,
        icon(ARROWS.get(order, "arrows-sort")),
    )


@register.simple_tag(takes_context=True)
def sort_choice(context: template.Context, key: str, label: str) -> SafeString:
    """The same as an entry of a menu, for phones, where column heads are not shown."""
    order, address = _sorting(context, key)
    chosen = format_html(' aria-current="true">{}{}', label, icon(ARROWS[order])) if order in ARROWS else ""
    return format_html('<a href="{}" hx-get="{}"{}</a>', address, address, chosen or format_html(">{}", label))


def _sorting(context: template.Context, key: str) -> tuple[str, str]:
    """The present order by ``key`` ("ascending", "descending", "none"), and the address of the next one."""
    order = {key: "ascending", f"-{key}": "descending"}.get(str(context.get("sort", "")), "none")
    query = context["request"].GET.copy()
    for name in ("page", "after", "before"):
        query.pop(name, None)
    query["sort"] = f"-{key}" if order == "ascending" else key
    return order, f"?{query.urlencode()}"


@register.simple_tag
def steps(current: int, *labels: str) -> SafeString:
    """The head of a wizard: numbered steps, ``current`` counted from 1."""

    def step(number: int, label: str) -> SafeString:
        state = "done" if number < current else "now" if number == current else "next"
        mark = icon("check", label=_("Done:")) if state == "done" else str(number)
        here = mark_safe(' aria-current="step"') if state == "now" else ""
        return format_html('<li data-step="{}"{}><span class="step-mark">{}</span>{}</li>', state, here, mark, label)

    return format_html(
        '<ol class="wizard-steps" aria-label="{}">{}</ol>',
        _("Steps"),
        format_html_join("", "{}", ((step(number, label),) for number, label in enumerate(labels, 1))),
    )


@register.filter
def grouped(number: int) -> str:
    """A whole number with the separators of thousands of the person's language."""
    return formats.number_format(number, force_grouping=True)


@register.filter
def control(field: forms.BoundField) -> SafeString:
    """The form control with the class of its kind; Django adds aria-describedby and aria-invalid."""
    widget = field.field.widget
    css = "form-control"
    if isinstance(widget, forms.RadioSelect | forms.CheckboxSelectMultiple):
        return field.as_widget()  # Django would put the class on the list around the boxes as well.
    if isinstance(widget, forms.CheckboxInput):
        css = "form-check-input"
    elif isinstance(widget, forms.Select):
        css = "form-select"
    given = widget.attrs.get("class", "")
    invalid = " is-invalid" if field.errors else ""
    return field.as_widget(attrs={"class": f"{css}{invalid} {given}".strip()})


@register.filter
def is_check(field: forms.BoundField) -> bool:
    """True for a single check box, whose label stands beside it."""
    return isinstance(field.field.widget, forms.CheckboxInput)


@register.filter
def is_group(field: forms.BoundField) -> bool:
    """True for a set of radios or check boxes, which needs a legend and no label."""
    return isinstance(field.field.widget, forms.RadioSelect | forms.CheckboxSelectMultiple)


@register.simple_tag
def partition_alarms() -> list[str]:
    """What is wrong with the day partitions, for support staff; empty as long as all is well."""
    return partitions.alarms(timezone.now())
