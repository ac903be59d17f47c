"""What a finding and a step of the join ceremony are in words: what was seen, what it means, what to do. After the
source (the portal documentation, LoRa data history), close to its sense; the rules are :mod:`lora.diagnosis_rules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_stubs_ext import StrOrPromise

from common.radio import VERY_WEAK_ESP, WEAK_ESP

from . import diagnosis as d
from .diagnosis_rules import Code, Finding, Step


@dataclass(frozen=True, slots=True)
class Words:
    title: StrOrPromise
    means: StrOrPromise
    advice: tuple[StrOrPromise, ...]


JOIN_REQUEST, JOIN_ACCEPT = gettext_lazy("Join request"), gettext_lazy("Join accept")
COVERAGE: Final = (
    gettext_lazy(
        "Coverage may not be ideal where the device is: thick walls and a bad antenna are in the way. Move it to "
        "a more exposed place, such as a window."
    ),
)

STEPS: Final[Mapping[Step, Words]] = {
    Step.NOTHING_SEEN: Words(
        gettext_lazy("Join request"),
        gettext_lazy("The first thing a device does is ask to join. The network has not heard anything of this one."),
        (
            gettext_lazy(
                "See whether the registration succeeded: the connectivity status on this page must be Active."
            ),
            gettext_lazy("Program the device with the DevEUI that stands on the LoRa tab."),
            gettext_lazy(
                "Let the device send its join request on one of the default LoRaWAN channels: 868.1, 868.3 or "
                "868.5 MHz."
            ),
            *COVERAGE,
            gettext_lazy("Let the device join at SF12, the spreading factor that reaches farthest."),
            gettext_lazy("The place may be out of reach: look at the coverage map of the network."),
        ),
    ),
    Step.REQUESTED: Words(
        gettext_lazy("Join accept"),
        gettext_lazy(
            "The network has heard the device ask. It answers within seconds where it knows the device and its "
            "keys are right."
        ),
        (),
    ),
    Step.ACCEPTED: Words(
        gettext_lazy("First message"),
        gettext_lazy("The network has let the device in. The device can begin to send as soon as it has heard that."),
        (),
    ),
    Step.SETTLING: Words(
        gettext_lazy("Settings from the network"),
        gettext_lazy(
            "The device has joined. The network now sends up to three downlinks with MAC commands, which set it up."
        ),
        (),
    ),
    Step.NORMAL: Words(gettext_lazy("Normal operation"), gettext_lazy("The device has joined and sends."), ()),
}

WORDS: Final[Mapping[Code, Words]] = {
    Code.JOIN_UNANSWERED: Words(
        gettext_lazy("Join requests are not answered"),
        gettext_lazy(
            "The network hears the device ask to join, but something, mostly in its keys, keeps the network from "
            "letting it in."
        ),
        (
            gettext_lazy("Compare the AppEUI (JoinEUI) in the device with the one on the LoRa tab."),
            gettext_lazy(
                "Check the AppKey in the device. Some devices want its bytes in the reverse order (endianness)."
            ),
            gettext_lazy("Delete the device from the portal and add it again: there may have been a typing mistake."),
        ),
    ),
    Code.ACCEPT_UNHEARD: Words(
        gettext_lazy("The device does not hear the join accept"),
        gettext_lazy("For the network the join is complete. The device does not see it so, and asks again."),
        (
            gettext_lazy(
                "Join accepts often go out in the second receive window (RX2). It must be set to 869.525 MHz and "
                "DR0 (SF12); some makers, Dragino among them, set it to DR3 (SF9)."
            ),
            gettext_lazy(
                "A downlink reaches less far than an uplink. Move the device to a more exposed place and try again."
            ),
            gettext_lazy("The device may not process the join accept well. See the documentation of its maker."),
            gettext_lazy(
                "It may also be reception in general: see to coverage, the default channels, and SF12 for the join."
            ),
        ),
    ),
    Code.REJOINS: Words(
        gettext_lazy("It joins again before each message"),
        gettext_lazy(
            "A device joins once and remembers it. Joining each time costs battery, and the network cannot set "
            "the device up well. Mostly the device loses its power between messages."
        ),
        (
            gettext_lazy("Check its power supply, battery and contacts."),
            gettext_lazy("Make sure that the device keeps its join (keys and counters) while it sleeps."),
        ),
    ),
    Code.SILENT: Words(
        gettext_lazy("Nothing comes any more"),
        gettext_lazy("The device has been silent for much longer than is usual for it."),
        (
            gettext_lazy("See whether the device is there, switched on, and its battery not empty."),
            gettext_lazy("Something may have come between it and the gateways: move it to a more exposed place."),
        ),
    ),
    Code.LOSS: Words(
        gettext_lazy("Many messages are lost"),
        gettext_lazy(
            "Each value missing in FCntUp is a message that no gateway heard. Up to 5% is normal for LoRaWAN; "
            "above that the coverage is moderate where the device is."
        ),
        (
            *COVERAGE,
            gettext_lazy("Your application must be able to do without single messages in any case."),
        ),
    ),
    Code.WEAK_SIGNAL: Words(
        gettext_lazy("The signal is weak"),
        gettext_lazy(
            "The estimated signal power (ESP) at the best gateway is low for most messages: with bad weather or "
            "something in the way, messages will be lost."
        ),
        (*COVERAGE, gettext_lazy("Check that the antenna is connected, is one for 868 MHz, and stands upright.")),
    ),
    Code.FAILED_DOWNLINKS: Words(
        gettext_lazy("Instructions fail for one cause"),
        gettext_lazy("What is sent to the device keeps failing in the same way."),
        (
            gettext_lazy(
                "Where the network could not send: wait, send less often, or ask the operator of the network."
            ),
            gettext_lazy(
                "Where the device does not acknowledge: check that it listens in its receive windows (RX2: "
                "869.525 MHz, DR0), and its coverage for downlinks."
            ),
        ),
    ),
    Code.MAC_UNANSWERED: Words(
        gettext_lazy("MAC commands are not answered"),
        gettext_lazy(
            "A MAC command is a request and an answer, so they come in pairs. Where the device does not follow "
            "them, its transmission settings cannot be optimised."
        ),
        (
            gettext_lazy(
                "Make sure that the device answers all MAC commands: see its firmware and its LoRaWAN library."
            ),
            gettext_lazy(
                "See whether it hears downlinks at all: an instruction that asks for an acknowledgement shows it."
            ),
        ),
    ),
    Code.CONFIRMED: Words(
        gettext_lazy("Too many confirmed messages"),
        gettext_lazy(
            "Each confirmed message asks the network for a downlink, and the network is not built for that many: "
            "it costs everybody capacity. The terms of use allow 10%."
        ),
        (gettext_lazy("Set the device to send unconfirmed messages. At most one in ten may be confirmed."),),
    ),
    Code.TOO_OFTEN: Words(
        gettext_lazy("It sends too often"),
        gettext_lazy("The fair use policy asks for an average of at least 5 minutes between messages."),
        (gettext_lazy("Set the device to send no more often than once every 5 minutes on average."),),
    ),
    Code.REPEATED: Words(
        gettext_lazy("Many messages come twice or more"),
        gettext_lazy(
            "The device sends the same message again (same FCntUp), mostly because it does not hear the "
            "acknowledgement. It costs battery and airtime."
        ),
        (
            gettext_lazy("Check that it listens in its receive windows (RX2: 869.525 MHz, DR0)."),
            gettext_lazy("Send unconfirmed, or lower the number of repetitions in the device."),
        ),
    ),
    Code.SLOWEST: Words(
        gettext_lazy("It sends at SF12 only"),
        gettext_lazy(
            "SF12 reaches farthest and takes the longest on air: it costs battery and airtime, and loses more messages."
        ),
        (
            gettext_lazy("Switch adaptive data rate (ADR) on in the device, so that the network can make it faster."),
            *COVERAGE,
        ),
    ),
    Code.ONE_GATEWAY: Words(
        gettext_lazy("Only one gateway hears it"),
        gettext_lazy(
            "Even at its slow rate one gateway alone hears the device. It works; without this gateway it would not."
        ),
        COVERAGE,
    ),
    Code.NO_LOCATION: Words(
        gettext_lazy("No geolocation"),
        gettext_lazy(
            "Enough gateways hear the device, and the network found no position from any message. That not every "
            "message gives one is normal."
        ),
        (
            gettext_lazy("Geolocation works outdoors best: circumstances at the device may not be good for it."),
            gettext_lazy("Ask the operator of the network whether geolocation is on for this device."),
        ),
    ),
}

_CAUSES: Final[Mapping[str, StrOrPromise]] = {
    d.NO_ACK: gettext_lazy("the device did not acknowledge"),
    "D0": gettext_lazy("the duty cycle of the gateway was used up"),
    "DA": gettext_lazy("the duty cycle of the network was used up"),
    "A3": gettext_lazy("the radio of the gateway was busy"),
    "B0": gettext_lazy("it reached the gateway too late"),
    "DD": gettext_lazy("no gateway was connected"),
    "E3": gettext_lazy("its validity had passed"),
}


def _span(microseconds: float) -> str:
    seconds = round(microseconds / d.SECOND)
    if seconds < 120:
        return ngettext("%(n)s second", "%(n)s seconds", seconds) % {"n": seconds}
    minutes = round(seconds / 60)
    if minutes < 120:
        return ngettext("%(n)s minute", "%(n)s minutes", minutes) % {"n": minutes}
    hours = round(seconds / 3600)
    if hours < 72:
        return ngettext("%(n)s hour", "%(n)s hours", hours) % {"n": hours}
    days = round(seconds / 86400)
    return ngettext("%(n)s day", "%(n)s days", days) % {"n": days}


def _share(value: float) -> str:
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def _silent(seen: Mapping[str, Any]) -> str:
    if not seen["interval"]:
        return _("Nothing for %(span)s.") % {"span": _span(seen["span"])}
    spans = {"span": _span(seen["span"]), "interval": _span(seen["interval"])}
    return _("Nothing for %(span)s. It used to send every %(interval)s.") % spans


SEEN: Final[Mapping[Code, Callable[[Mapping[str, Any]], str]]] = {
    Code.JOIN_UNANSWERED: lambda seen: ngettext(
        "%(requests)s join request, and no answer.", "%(requests)s join requests in a row, and no answer.",
        seen["requests"],
    ) % seen,
    Code.ACCEPT_UNHEARD: lambda seen: _("%(accepts)s times it asked again after a join accept, without a message.")
    % seen,
    Code.REJOINS: lambda seen: _("%(firsts)s of %(messages)s messages were the first after a join.") % seen,
    Code.SILENT: _silent,
    Code.LOSS: lambda seen: _("%(lost)s of %(sent)s messages were lost: %(part)s.")
    % {**seen, "part": _share(seen["share"])},
    Code.WEAK_SIGNAL: lambda seen: _(
        "%(weak)s of %(messages)s messages under %(limit)d dBm, %(very_weak)s under %(lower)d dBm."
    )
    % {**seen, "limit": WEAK_ESP, "lower": VERY_WEAK_ESP},
    Code.FAILED_DOWNLINKS: lambda seen: _("%(failures)s failures, %(count)s of them because %(words)s (%(cause)s).")
    % {**seen, "words": _CAUSES.get(seen["cause"], _("of the same code of the network"))},
    Code.MAC_UNANSWERED: lambda seen: _("%(unanswered)s of %(asked)s requests of the network without an answer.")
    % seen,
    Code.CONFIRMED: lambda seen: _("%(confirmed)s of %(messages)s messages were confirmed: %(part)s.")
    % {**seen, "part": _share(seen["share"])},
    Code.TOO_OFTEN: lambda seen: _("Every %(span)s on average, over %(messages)s messages.")
    % {**seen, "span": _span(seen["interval"])},
    Code.REPEATED: lambda seen: _("%(repeats)s repetitions beside %(messages)s messages.") % seen,
    Code.SLOWEST: lambda seen: _("%(slow)s of %(messages)s messages at SF12.") % seen,
    Code.ONE_GATEWAY: lambda seen: _("%(single)s of %(messages)s messages were heard by one gateway.") % seen,
    Code.NO_LOCATION: lambda seen: _("%(locatable)s messages were heard by three gateways or more; none was located.")
    % seen,
}  # fmt: skip


def seen(finding: Finding) -> str:
    """What was seen, a sentence with its numbers."""
    return SEEN[finding.code](finding.seen)


# What there is to know from the first join on: each step, the findings of a device that stops there, or in normal
# operation those that tell how it should be.
GUIDE: Final[tuple[tuple[Words, tuple[Words, ...]], ...]] = (
    (
        Words(STEPS[Step.NOTHING_SEEN].title, gettext_lazy("The first thing a device does is ask to join."), ()),
        (
            Words(
                gettext_lazy("Nothing is heard of the device"),
                gettext_lazy("The network sees no activity of it at all."),
                STEPS[Step.NOTHING_SEEN].advice,
            ),
        ),
    ),
    (STEPS[Step.REQUESTED], (WORDS[Code.JOIN_UNANSWERED],)),
    (STEPS[Step.ACCEPTED], (WORDS[Code.ACCEPT_UNHEARD],)),
    (STEPS[Step.SETTLING], ()),
    (
        STEPS[Step.NORMAL],
        (
            *(WORDS[Code.TOO_OFTEN], WORDS[Code.MAC_UNANSWERED], WORDS[Code.NO_LOCATION]),
            *(WORDS[Code.LOSS], WORDS[Code.REJOINS], WORDS[Code.CONFIRMED]),
        ),
    ),
)

# For the list of devices: the title of the worst finding by its code.
TITLES: Final[Mapping[str, StrOrPromise]] = {code.value: words.title for code, words in WORDS.items()}
