"""MAC commands in words: each with its name, what it is about, and every field with its unit (L4).

Source: LoRaWAN L2 1.0.x, sections 5 and 14 to 16; Regional Parameters of EU863-870, for what a number of a data rate, a
power or a channel mask means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from codec.lorawan import eu868, mac
from codec.lorawan.mac import Direction, MacCommand, Rest, Version

# GPS time has no leap seconds; since 2017 UTC is 18 behind it.
GPS_EPOCH: Final = datetime(1980, 1, 6, tzinfo=UTC)
LEAP_SECONDS: Final = 18


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a command in words. ``refused``: the device did not take what it was asked."""

    label: str
    text: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A MAC command explained. ``octets``: hexadecimal. ``older``: the fields as a device of LoRaWAN 1.0.2 means them,
    where that differs. ``readable`` is False for the rest that is no known command."""

    name: str
    topic: str
    octets: str
    fields: list[Field] = field(default_factory=list)
    older: list[Field] = field(default_factory=list)
    readable: bool = True


def explained(data: bytes, direction: int) -> list[Command]:
    """The commands in order; what cannot be read is one entry at the end."""
    way = Direction(direction)
    # The layouts have the same lengths in all versions, so the two readings go in step.
    pairs = zip(mac.decode(data, way), mac.decode(data, way, Version.V1_0_2), strict=True)
    return [_command(command, older) for command, older in pairs]


def _command(command: MacCommand, older: MacCommand) -> Command:
    octets = command.raw.hex(" ").upper()
    if command.cid is None:
        return Command(_("Not readable"), _rest(command), octets, readable=False)
    differs = command.fields.keys() != older.fields.keys()
    return Command(
        name=command.name,
        topic=str(TOPICS.get(command.cid, "")),
        octets=octets,
        fields=_fields(command.fields),
        older=_fields(older.fields) if differs and command.cid in READ_DIFFERENTLY else [],
    )


def _rest(command: MacCommand) -> str:
    size = len(command.raw)
    bytes_ = ngettext("%(count)d byte", "%(count)d bytes", size) % {"count": size}
    match command.rest:
        case Rest.CUT_SHORT:
            return _("%(bytes)s: %(name)s begins, and its end is missing.") % {"bytes": bytes_, "name": command.name}
        case Rest.PROPRIETARY:
            return _("%(bytes)s: a command of the maker's own, whose length is not known.") % {"bytes": bytes_}
    return _("%(bytes)s: no command that LoRaWAN 1.0 knows.") % {"bytes": bytes_}


# What each command is about, by CID; the two directions of one share it.
TOPICS: Final = {
    0x01: gettext_lazy("The device began again (LoRaWAN 1.1)"),
    0x02: gettext_lazy("Whether the network hears the device, and how well"),
    0x03: gettext_lazy("Data rate, transmit power and channels of the device (ADR)"),
    0x04: gettext_lazy("The share of time that the device may send"),
    0x05: gettext_lazy("Where and how fast the device listens for downlinks"),
    0x06: gettext_lazy("Battery and reception at the device"),
    0x07: gettext_lazy("A channel to add, change or switch off"),
    0x08: gettext_lazy("How long after sending the device starts to listen"),
    0x09: gettext_lazy("The most power and the longest message that are allowed"),
    0x0A: gettext_lazy("The downlink frequency of a channel"),
    0x0B: gettext_lazy("The keys of the session are renewed (LoRaWAN 1.1)"),
    0x0C: gettext_lazy("When the device slows down by itself (LoRaWAN 1.1)"),
    0x0D: gettext_lazy("The time of day"),
    0x0E: gettext_lazy("The device is to join again (LoRaWAN 1.1)"),
    0x0F: gettext_lazy("How often the device joins again (LoRaWAN 1.1)"),
    0x10: gettext_lazy("The ping slots in which a class B device listens"),
    0x11: gettext_lazy("The channel of the ping slots"),
    0x12: gettext_lazy("When the next beacon comes"),
    0x13: gettext_lazy("The frequency of the beacons"),
    0x20: gettext_lazy("The class in which the device listens (LoRaWAN 1.1)"),
}
READ_DIFFERENTLY: Final = frozenset({0x10, 0x11})

LABELS: Final = {
    "margin_db": gettext_lazy("Margin"),
    "gateways": gettext_lazy("Gateways"),
    "data_rate": gettext_lazy("Data rate"),
    "tx_power": gettext_lazy("Transmit power"),
    "channels": gettext_lazy("Channels to use"),
    "mask_control": gettext_lazy("Channel mask control"),
    "transmissions": gettext_lazy("Each message is sent"),
    "channels_ok": gettext_lazy("Channels"),
    "data_rate_ok": gettext_lazy("Data rate"),
    "power_ok": gettext_lazy("Transmit power"),
    "duty_cycle": gettext_lazy("At most on air"),
    "rx1_offset": gettext_lazy("RX1 data rate"),
    "rx2_data_rate": gettext_lazy("RX2 data rate"),
    "rx2_frequency_hz": gettext_lazy("RX2 frequency"),
    "rx2_frequency_ok": gettext_lazy("RX2 frequency"),
    "rx2_data_rate_ok": gettext_lazy("RX2 data rate"),
    "rx1_offset_ok": gettext_lazy("RX1 data rate"),
    "battery": gettext_lazy("Battery"),
    "channel": gettext_lazy("Channel"),
    "frequency_hz": gettext_lazy("Frequency"),
    "min_data_rate": gettext_lazy("Slowest data rate"),
    "max_data_rate": gettext_lazy("Fastest data rate"),
    "frequency_ok": gettext_lazy("Frequency"),
    "data_rates_ok": gettext_lazy("Data rates"),
    "delay_ms": gettext_lazy("RX1 opens after"),
    "downlink_dwell_limited": gettext_lazy("Longest downlink"),
    "uplink_dwell_limited": gettext_lazy("Longest uplink"),
    "max_eirp_dbm": gettext_lazy("Most power"),
    "uplink_frequency_exists": gettext_lazy("Uplink frequency of the channel"),
    "gps_s": gettext_lazy("Time"),
    "period_s": gettext_lazy("Every"),
    "earliest_ms": gettext_lazy("Comes in at least"),
    "latest_ms": gettext_lazy("Comes in at most"),
    "minor_version": gettext_lazy("LoRaWAN version"),
    "limit": gettext_lazy("Asks for an answer after"),
    "delay": gettext_lazy("Slows down after another"),
    "retries": gettext_lazy("Tries again"),
    "rejoin_type": gettext_lazy("Kind of rejoin request"),
    "messages": gettext_lazy("At the latest after"),
    "time_ok": gettext_lazy("Interval"),
    "device_class": gettext_lazy("Class"),
}


def _fields(fields: Mapping[str, Any]) -> list[Field]:
    return [
        Field(str(LABELS[name]), _text(name, value, fields), refused=name.endswith("_ok") and not value)
        for name, value in fields.items()
    ]


def _text(name: str, value: Any, fields: Mapping[str, Any]) -> str:
    if name in WORDS:
        return WORDS[name](value)
    if name == "channels":
        return _channels(value, fields["mask_control"])
    if name.endswith("_ok"):
        return _("accepted") if value else _("refused")
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    return f"{value} {unit}" if unit else str(value)


UNITS: Final = {"_db": "dB", "_dbm": "dBm", "_ms": "ms", "_s": "s"}


def rate_text(number: int) -> str:
    """A data rate of EU868: ``DR5 · SF7/125 kHz · 5470 bit/s``."""
    if number < len(eu868.DATA_RATES):
        rate = eu868.DATA_RATES[number]
        return f"DR{number} · {rate} · {rate.bit_rate} bit/s"
    if number == eu868.FSK_DATA_RATE:
        return f"DR{number} · FSK · {eu868.FSK_BIT_RATE} bit/s"
    if number == 15:
        return _("DR15: the present one stays")
    return _("DR%(number)d, which EU868 does not use") % {"number": number}


def _power(step: int) -> str:
    if step <= eu868.MAX_TX_POWER:
        dbm = f"{eu868.eirp(step):g} dBm"
        return _("%(dbm)s EIRP (step %(step)d)") % {"dbm": dbm, "step": step}
    if step == 15:
        return _("the present one stays")
    return _("step %(step)d, which EU868 does not use") % {"step": step}


def _channels(channels: tuple[int, ...], control: int) -> str:
    if control == 6:
        return _("all that the device knows")
    return ", ".join(str(channel) for channel in channels) or _("none")


def _control(control: int) -> str:
    meaning = {0: _("channels 0 to 15"), 6: _("all channels on")}.get(control, _("not used in EU868"))
    return f"{control}: {meaning}"


def _times(count: int) -> str:
    if count == 0:
        return _("once (0: as it comes from the factory)")
    return _("once") if count == 1 else _("%(count)d times") % {"count": count}


def _frequency(hertz: int) -> str:
    # 0 switches a channel off, and gives beacon and ping slots back their default.
    return f"{hertz / 1e6:.4f}".rstrip("0").rstrip(".") + " MHz" if hertz else _("0: off, or the default")


def _battery(level: int) -> str:
    if level in {0, 255}:
        return _("external power") if level == 0 else _("the device cannot measure it")
    return _("%(percent)d %% (%(level)d of 254)") % {"percent": round((level - 1) / 2.53), "level": level}


def _duty_cycle(share: float) -> str:
    if share == 1:
        return _("no limit")
    return _("1/%(part)d of the time (%(percent)s %%)") % {"part": round(1 / share), "percent": f"{share * 100:.3g}"}


def _offset(steps: int) -> str:
    if not steps:
        return _("that of the uplink")
    return ngettext("%(count)d step below that of the uplink", "%(count)d steps below that of the uplink", steps) % {
        "count": steps
    }


def _dwell(limited: bool) -> str:
    return _("400 ms") if limited else _("no limit")


def _gps(seconds: float) -> str:
    at = GPS_EPOCH + timedelta(seconds=seconds - LEAP_SECONDS)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def _messages(count: int) -> str:
    return ngettext("%(count)d message", "%(count)d messages", count) % {"count": count}


WORDS: Final[Mapping[str, Callable[[Any], str]]] = {
    "data_rate": rate_text,
    "rx2_data_rate": rate_text,
    "min_data_rate": rate_text,
    "max_data_rate": rate_text,
    "tx_power": _power,
    "mask_control": _control,
    "transmissions": _times,
    "rx1_offset": _offset,
    "frequency_hz": _frequency,
    "rx2_frequency_hz": _frequency,
    "battery": _battery,
    "duty_cycle": _duty_cycle,
    "downlink_dwell_limited": _dwell,
    "uplink_dwell_limited": _dwell,
    "uplink_frequency_exists": lambda exists: _("exists") if exists else _("does not exist"),
    "gps_s": _gps,
    "minor_version": lambda number: f"1.{number}",
    "limit": _messages,
    "delay": _messages,
    "messages": _messages,
    "retries": _times,
}
