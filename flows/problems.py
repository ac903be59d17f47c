"""What may keep a Flow from doing its work (F3): a small set of rules, each with a sentence and what to do about it.

The same rules make the rows of All Flows, its filter, the Flow's page, and the Flows tab of a device; there a device
of its own says what it knows better (``devices.flow_problems``). They come of the rows of the Flows and of their links
to destinations; what would take a look at every device is kept as data (``Flow.unfit``, ``Flow.troubled``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_stubs_ext import StrOrPromise

from .deliveries import CIRCUIT
from .forms import decoder_label
from .models import Flow, FlowDestination

# Destinations of one Flow that are named in a sentence.
NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """A possible problem: what it is, and what to do about it; ``rule``: the slug of its kind."""

    rule: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Rule:
    """``kind``: its name in the filter. ``condition``: which Flows it holds for; ``holds``: the same of a Flow of
    :func:`told`. ``text``: the sentence, of such a Flow for which it holds."""

    slug: str
    kind: StrOrPromise
    condition: Q
    holds: Callable[[Any], bool]
    text: Callable[[Any], str]
    remedy: StrOrPromise


# The links to devices are above the Flows; they are known by their relation alone.
device_links = Flow._meta.get_field("device_links").related_model._base_manager.filter(flow=OuterRef("pk"))
_links = FlowDestination.objects.filter(flow=OuterRef("pk"))
# Of a Flow of :func:`told`: the destinations that it is linked to.
LINKED: Final = "told_destinations"


class Linked(NamedTuple):
    name: str
    enabled: bool
    failures: int
    error: str


def _failing(flow: Any) -> list[Linked]:
    return [one for one in getattr(flow, LINKED) if one.enabled and one.failures >= CIRCUIT]


def _disabled(flow: Any) -> list[Linked]:
    return [one for one in getattr(flow, LINKED) if not one.enabled]


def _failing_text(flow: Any) -> str:
    failing = _failing(flow)
    if len(failing) > 1:
        return _("Destinations fail, and their messages wait: %s.") % _names(failing)
    return _("The destination %(name)s fails: %(error)s Its messages wait.") % {
        "name": failing[0].name,
        "error": failing[0].error,
    }


def _disabled_text(flow: Any) -> str:
    disabled = _disabled(flow)
    text = ngettext("The destination %s is disabled.", "Destinations are disabled: %s.", len(disabled))
    return text % _names(disabled)


def _names(destinations: list[Linked]) -> str:
    names = [one.name for one in destinations]
    return ", ".join([*names[:NAMED], "…"] if len(names) > NAMED else names)


def _unfit_text(flow: Any) -> str:
    return ngettext(
        "%(count)d LoRa device here is of a type that “%(decoder)s” does not fit.",
        "%(count)d LoRa devices here are of types that “%(decoder)s” does not fit.",
        flow.unfit,
    ) % {"count": flow.unfit, "decoder": decoder_label(flow.decoder)}


RULES: Final = (
    Rule(
        "disabled",
        gettext_lazy("Disabled"),
        Q(enabled=False),
        lambda flow: not flow.enabled,
        lambda flow: _("This Flow is disabled: the data of its devices is not processed here."),
        gettext_lazy("Enable the Flow to process it."),
    ),
    Rule(
        "empty",
        gettext_lazy("No device"),
        ~Q(Exists(device_links)),
        lambda flow: flow.is_empty,
        lambda flow: _("There is no device in this Flow yet."),
        gettext_lazy("Link devices on the page of the Flow, or each on its Flows tab."),
    ),
    Rule(
        "unfit",
        gettext_lazy("Decoding does not fit"),
        Q(unfit__gt=0),
        lambda flow: flow.unfit > 0,
        _unfit_text,
        gettext_lazy("Choose another decoding for the Flow, or unlink these devices."),
    ),
    Rule(
        "codec",
        gettext_lazy("Codec has trouble"),
        Q(troubled__gt=0),
        lambda flow: flow.troubled > 0,
        lambda flow: (
            ngettext(
                "The codec of %(count)d device here could not read its newest message, or warns.",
                "The codecs of %(count)d devices here could not read their newest message, or warn.",
                flow.troubled,
            )
            % {"count": flow.troubled}
        ),
        gettext_lazy("Read what the codec says on the page of the Flow, and correct the codec of the device type."),
    ),
    Rule(
        "no-destination",
        gettext_lazy("No destination"),
        ~Q(Exists(_links)),
        lambda flow: not getattr(flow, LINKED),
        lambda flow: _("It has no destination: its data stays in the portal."),
        gettext_lazy("Link a destination, if its data should go to a system of yours."),
    ),
    Rule(
        "failing",
        gettext_lazy("Destination fails"),
        Q(Exists(_links.filter(destination__enabled=True, destination__failures__gte=CIRCUIT))),
        lambda flow: bool(_failing(flow)),
        _failing_text,
        gettext_lazy("Look at the destination and correct what is wrong; what waits is sent when it works again."),
    ),
    Rule(
        "destination-disabled",
        gettext_lazy("Destination disabled"),
        Q(Exists(_links.filter(destination__enabled=False))),
        lambda flow: bool(_disabled(flow)),
        _disabled_text,
        gettext_lazy("Enable the destination, or unlink it from the Flow."),
    ),
)
BY_SLUG: Final = {rule.slug: rule for rule in RULES}
ANY: Final = "any"
# What concerns the Flow as a whole, also where it is seen from one of its devices.
OF_DESTINATIONS: Final = frozenset({"no-destination", "failing", "destination-disabled"})


# Of every device page: as it stands, for to put it together took longer than to run it.
DESTINATIONS: Final = """
SELECT link.flow_id, destination.name, destination.enabled, destination.failures, destination.error
FROM flows_flowdestination AS link JOIN flows_destination AS destination ON destination.id = link.destination_id
WHERE link.flow_id = ANY(%s)
ORDER BY destination.name, destination.id
"""


def told(rows: QuerySet[Flow] | list[Flow]) -> list[Any]:
    """The Flows with what the rules ask of each, for :func:`of`: two queries, one for those that were read before, of
    which it is not asked whether there is a device."""
    flows = rows if isinstance(rows, list) else list(rows.annotate(is_empty=~Exists(device_links)))
    linked: dict[int, list[Linked]] = {flow.pk: [] for flow in flows}
    if flows:
        with connection.cursor() as cursor:
            cursor.execute(DESTINATIONS, [list(linked)])
            for flow_id, *facts in cursor.fetchall():
                linked[flow_id].append(Linked(*facts))
    for flow in flows:
        setattr(flow, LINKED, linked[flow.pk])
    return flows


def having(rows: QuerySet[Flow], kind: str) -> QuerySet[Flow]:
    """Of the Flows those with problems of this kind; :data:`ANY`: of any. A Flow that is being deleted has none."""
    wanted = Q()
    for rule in RULES:
        if kind in {ANY, rule.slug}:
            wanted |= rule.condition
    return rows.filter(wanted, deletion_asked_at=None)


def of(flow: Any, *, only: Collection[str] = BY_SLUG) -> list[Problem]:
    """The problems of a Flow of :func:`told`, of these rules."""
    if flow.deletion_asked_at is not None:
        return []
    rules = (rule for rule in RULES if rule.slug in only)
    return [Problem(rule.slug, rule.text(flow), str(rule.remedy)) for rule in rules if rule.holds(flow)]
