"""What may keep a Flow from doing its work (F3, F4), as sentences for its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from codec import decoders

from .deliveries import CIRCUIT
from .forms import decoder_label
from .models import Flow


@dataclass(frozen=True, slots=True)
class TroubledDevice:
    """A device whose messages cannot be read as the Flow wants them. ``error``: not only a warning."""

    device_id: int
    name: str
    text: str
    error: bool


@dataclass(frozen=True, slots=True)
class Troubled:
    """``count`` devices, ``more`` than counted where that is set; the first of those that the person may see."""

    count: int
    more: bool
    devices: list[TroubledDevice]

    @property
    def hidden(self) -> int:
        return self.count - len(self.devices)


# What stands above the Flows and knows of devices in trouble: the Flow and the person's Projects → those devices.
Finder = Callable[[Flow, Sequence[int]], Troubled]
finders: list[Finder] = []


def troubled(flow: Flow, projects: Sequence[int]) -> list[Troubled]:
    return [found for find in finders if (found := find(flow, projects)).count]


def of(flow: Flow, *, devices: int) -> list[str]:
    """``devices``: how many it holds."""
    problems = []
    if not flow.enabled:
        problems.append(_("This Flow is disabled: the data of its devices is not processed here."))
    if not devices:
        problems.append(_("There is no device in this Flow yet: link one from its Flows tab."))
    unfit = _without_decoder(flow)
    if unfit:
        problems.append(
            ngettext(
                "%(count)d LoRa device here is of a type that “%(decoder)s” does not fit.",
                "%(count)d LoRa devices here are of types that “%(decoder)s” does not fit.",
                unfit,
            )
            % {"count": unfit, "decoder": decoder_label(flow.decoder)}
        )
    return problems + of_destinations(flow)


def of_destinations(flow: Flow) -> list[str]:
    """What keeps its data from arriving elsewhere."""
    if not flow.destinations.exists():
        return [_("It has no destination: its data stays in the portal. Link one on the page of the Flow.")]
    failing = flow.destinations.filter(enabled=True, failures__gte=CIRCUIT).values_list("name", "error")
    disabled = flow.destinations.filter(enabled=False).values_list("name", flat=True)
    return [
        *(
            _("The destination %(name)s fails: %(error)s Its messages wait; look at it and correct what is wrong.")
            % {"name": name, "error": error}
            for name, error in failing
        ),
        *(_("The destination %s is disabled: enable it, or unlink it.") % name for name in disabled),
    ]


def _without_decoder(flow: Flow) -> int:
    """LoRa devices whose type cannot be read with the Flow's decoding; SenML devices need none."""
    if not flow.decoder:
        return 0
    links = flow.device_links.filter(device__type__connectivity="lora")
    if flow.decoder == decoders.CODEC:
        return links.filter(device__type__codec=None).count()
    return links.exclude(device__type__decoders__contains=[flow.decoder]).count()
