"""What may keep a Flow from doing its work (F3, F4), as sentences for its page."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from codec import decoders

from .models import Flow


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
            % {"count": unfit, "decoder": decoders.LABELS.get(flow.decoder, flow.decoder)}
        )
    return problems


def _without_decoder(flow: Flow) -> int:
    """LoRa devices whose type cannot be read with the Flow's decoding; SenML devices need none."""
    if not flow.decoder:
        return 0
    return (
        flow.device_links.filter(device__type__connectivity="lora")
        .exclude(device__type__decoders__contains=[flow.decoder])
        .count()
    )
