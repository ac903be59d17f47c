"""SenML records, resolved: the rules that JSON packs, CBOR packs and ThingsML share (RFC 8428, section 4).

A record arrives here as a dict with the JSON labels of RFC 8428 (``n``, ``v``, ``bt`` …) plus ``i_``, the
measurement index of ThingsML, whatever it was written in. Out come resolved measurements.

Where the platform is wider than the RFC (reference, section 3): a record of base fields only is accepted
and makes no measurement (strictly it would be "value 0 of an empty name").
Where we are narrower: no duplicate keys, no text that a database cannot hold, moments within the years 1970
to 9999, a measurement needs a name of its own after the device's base name.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from codec.measurements import Measurement, Value

MAX_RECORDS: Final = 1000
VERSION: Final = 10
# RFC 8428, section 4.5.3: below this, a time counts from now; at or above it, from 1970.
ABSOLUTE_FROM: Final = 2**28
LAST_MOMENT: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that a datetime can hold

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*\Z")
_REST = re.compile(r"[A-Za-z0-9\-:./_]+\Z")
DEVICE_BASE = re.compile(r"urn:dev:(DEVEUI|IMEI|DVNUUID):([^:]+):", re.IGNORECASE)

# ThingsML: index → name, unit. The dash of the published list (no unit) is None here.
INDEX: Final[Mapping[int, tuple[str, str | None]]] = {
    -24: ("temperature", "Cel"),
    -23: ("humidity", "%RH"),
    -22: ("latitude", "lat"),
    -21: ("longitude", "lon"),
    -20: ("altitude", "m"),
    -19: ("power", "W"),
    -18: ("pressure", "Pa"),
    -17: ("angle", "rad"),
    -16: ("length", "m"),
    -15: ("breadth", "m"),
    -14: ("height", "m"),
    -13: ("weight", "kg"),
    -12: ("thickness", "m"),
    -11: ("distance", "m"),
    -10: ("area", "m2"),
    -9: ("volume", "m3"),
    -8: ("velocity", "m/s"),
    -7: ("electricCurrent", "A"),
    -6: ("electricPotential", "V"),
    -5: ("electricResistance", "Ohm"),
    -4: ("illuminance", "lx"),
    -3: ("accelerationX", "m/s2"),
    -2: ("accelerationY", "m/s2"),
    -1: ("accelerationZ", "m/s2"),
    0: ("heading", "rad"),
    1: ("COConcentration", "ppm"),
    2: ("CO2Concentration", "ppm"),
    3: ("sound", "dB"),
    4: ("frequency", "Hz"),
    5: ("batteryLevel", "%EL"),
    6: ("batteryVoltage", "V"),
    7: ("radius", "m"),
    8: ("batteryLevelLow", "/"),
    9: ("compassX", "T"),
    10: ("compassY", "T"),
    11: ("compassZ", "T"),
    12: ("readSwitch", "/"),
    13: ("presence", None),
    14: ("counter", None),
}

# RFC 8428 section 12.1 and RFC 8798, then what the platform itself writes. An unknown unit is a warning only.
UNITS: Final = frozenset(
    unit
    for units in (
        "m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2",
        "m3/s l/s W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats",
        "S/m B VA VAs var vars J/m kg/m3 deg ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB",
        "Mbit/s B/s MB/s mV mA dBm ug/m3 mm/h m/h ppm /100 /1000 hPa mm cm km km/h",
        "// enum string",
    )
    for unit in units.split()
)


class SenmlError(ValueError):
    """A pack that cannot be accepted.

    ``sentence`` is plain English; ``record`` counts from 1, ``field`` is the label, ``line`` and ``column``
    count from 1 and are given for a JSON syntax error. ``str()`` gives place and sentence together.
    """

    def __init__(
        self,
        sentence: str,
        *,
        record: int | None = None,
        field: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        self.sentence = sentence
        self.record = record
        self.field = field
        self.line = line
        self.column = column
        place = []
        if line is not None:
            place.append(f"line {line}, column {column}")
        if record is not None:
            place.append(f"record {record}")
        if field is not None:
            place.append(f"“{field}”")
        where = ", ".join(place)
        super().__init__(f"{where[0].upper()}{where[1:]}: {sentence}" if where else sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A resolved pack: ``measurements`` in time order (equal times keep the order of the pack).

    ``base_name`` is the first base name in the pack, "" without one; ``devices`` are the distinct devices
    that the resolved names belong to, as (kind, id), see :func:`device_urn`; None among them stands for
    measurements that name no device. ``has_own_time``: at least one measurement carries an absolute moment
    of its own instead of that of its reception.
    """

    base_name: str
    measurements: tuple[Measurement, ...]
    has_own_time: bool
    devices: tuple[tuple[str, str] | None, ...] = ()

    def device(self) -> tuple[str, str] | None:
        """The one device (kind, id) of the whole pack; None where it names none.

        Raises SenmlError where records name several devices, or only some of them name one.
        """
        if len(self.devices) > 1:
            raise SenmlError("All measurements must belong to one device, but the base names differ.", field="bn")
        return self.devices[0] if self.devices else None


class DoubledKeys(dict[str, object]):
    """A JSON object in which the key ``doubled`` stands twice."""

    doubled: str = ""


def device_urn(bn: str) -> tuple[str, str] | None:
    """``("DEVEUI" | "IMEI" | "DVNUUID", id)`` of a complete device base name, ``urn:dev:IMEI:…:``, or None.

    None also without the colon at the end and for an id of the wrong form. Ids come out as the portal
    stores them: DevEUI in upper case, UUID in lower case.
    """
    match = DEVICE_BASE.fullmatch(bn)
    if match is None:
        return None
    kind, identity = match[1].upper(), match[2]
    form = {
        "DEVEUI": r"[0-9A-Fa-f]{16}",
        "IMEI": r"[0-9]{15}",
        "DVNUUID": r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    }
    if re.fullmatch(form[kind], identity) is None:
        return None
    return kind, identity.lower() if kind == "DVNUUID" else identity.upper()


# Remembered: all records of a pack have one base name, and all packs of a kind the same names. Long ones, which nobody
# honest sends, are not asked for here.
_LONGEST_REMEMBERED: Final = 100
_remembered_urn = lru_cache(maxsize=4096)(device_urn)


@lru_cache(maxsize=4096)
def _can_follow(own: str) -> bool:
    """Whether a name may stand behind the base name of a device."""
    return _REST.match(own) is not None


def _plainly_named(base: str, own: str) -> tuple[str, str] | None:
    """The device, where the base name is that of one and the name may stand behind it; None where that needs a look."""
    if not own or max(len(base), len(own)) > _LONGEST_REMEMBERED or not _can_follow(own):
        return None
    return _remembered_urn(base)


@lru_cache(maxsize=4096)
def _is_unit(text: str) -> bool:
    return _UNSTORABLE.search(text) is None


def resolve(records: Sequence[object], *, received_at: float) -> Pack:
    """Check every record and resolve the pack (RFC 8428, section 4.6). ``received_at``: Unix seconds, "now".

    Raises SenmlError with the number of the record and the label.

    A sum (``s``, ``bs``) is checked and then left out: it is the integral of the value over time, in another
    unit than the value, and one measurement holds one value. A record with only a sum makes no measurement.
    """
    if not records:
        raise SenmlError("The pack has no records.")
    if len(records) > MAX_RECORDS:
        raise SenmlError(f"The pack has {len(records)} records; at most {MAX_RECORDS} are accepted.")
    state = _Resolver(received_at=received_at)
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise SenmlError("A record must be an object with labels and values.", record=number)
        if not state.add_plainly(record):
            state.add(number, record)
    return Pack(
        base_name=state.first_base or "",
        measurements=tuple(sorted(state.measurements, key=lambda measurement: measurement.time)),
        has_own_time=state.has_own_time,
        devices=tuple(state.devices),
    )


def unknown_units(measurements: Sequence[Measurement]) -> list[str]:
    """The units that no registry knows, each once, in order: worth a warning, never an error."""
    return list(dict.fromkeys(m.unit for m in measurements if m.unit is not None and m.unit not in UNITS))


# NUL, and halves of characters.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# What does not change how a record without base values is read, beside its name and moment.
_PLAIN_BASE: Final = frozenset({"bn", "bt", "bver"})
# Whole numbers up to here are the same as numbers with a point.
EXACT: Final = 2**53
_BASE = {"bn": str, "bt": float, "bu": str, "bv": float, "bs": float, "bver": int}
_VALUES = {"v": float, "vs": str, "vb": bool, "vd": bytes}
_FORMS: Final[Mapping[str, type]] = {
    **_BASE,
    **_VALUES,
    "n": str,
    "u": str,
    "s": float,
    "t": float,
    "ut": float,
    "i_": int,
}
_WANTED = {
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    bytes: "base64url data",
}


@dataclass(slots=True, kw_only=True)
class _Resolver:
    """The base fields in force, and what was resolved so far."""

    received_at: float
    base: dict[str, Value] = field(default_factory=dict)
    version: int | None = None
    first_base: str | None = None
    has_own_time: bool = False
    measurements: list[Measurement] = field(default_factory=list)
    devices: dict[tuple[str, str] | None, None] = field(default_factory=dict)
    # Where the base values in force are only a name and a time: that name, the moment of records without a time of
    # their own, and whether it is absolute.
    plain: tuple[str, float, bool] | None = None

    def add_plainly(self, record: dict[object, object]) -> bool:
        """Take a record of a name, a number and perhaps a unit, which is what nearly all are behind the first one of
        a pack; False, and nothing taken, where it is another or anything of it wants a look."""
        if self.plain is None or type(record) is not dict:
            return False
        own, value, unit = record.get("n"), record.get("v"), record.get("u")
        if type(value) is int and -EXACT <= value <= EXACT:
            value = float(value)
        if type(own) is not str or type(value) is not float or not math.isfinite(value):
            return False
        if unit is not None and (type(unit) is not str or len(unit) > _LONGEST_REMEMBERED or not _is_unit(unit)):
            return False
        base, moment, absolute = self.plain
        device = _plainly_named(base, own)
        if device is None or len(record) != (2 if unit is None else 3):
            return False
        self.has_own_time |= absolute
        self.devices[device] = None
        self.measurements.append(Measurement(own, value, moment, unit or None))
        return True

    def add(self, number: int, record: dict[object, object]) -> None:
        self.plain = None
        fields = _checked(number, record)
        own = 0
        for label, value in fields.items():
            if label in _BASE:
                self.base[label] = value
            else:
                own += 1
        if self.first_base is None and "bn" in fields:
            self.first_base = str(fields["bn"])
        if self.version is None or "bver" in fields:
            self._check_version(number)
        if fields and not own:
            return
        values = [label for label in _VALUES if label in fields]
        if len(values) > 1:
            sentence = f"A record must have one value, not {' and '.join(values)}."
            raise SenmlError(sentence, record=number, field=values[1])
        if not values and "s" not in fields and "bs" not in self.base:
            raise SenmlError("The record has no value (v, vs, vb or vd).", record=number)
        device, name, unit = self._name(number, fields)
        time = self._time(number, fields)
        if not values:
            return
        value = fields[values[0]]
        if values[0] == "v" and "bv" in self.base:
            value = float(value) + float(self.base.get("bv", 0.0))
            if not math.isfinite(value):
                raise SenmlError("The number is too large.", record=number, field="v")
        self.devices[device] = None
        self.measurements.append(Measurement(name=name, value=value, time=time, unit=unit))
        if self.base.keys() <= _PLAIN_BASE:
            moment = float(self.base.get("bt", 0.0))
            absolute = moment >= ABSOLUTE_FROM
            moment += 0.0 if absolute else self.received_at
            if 0 <= moment <= LAST_MOMENT:
                self.plain = str(self.base.get("bn", "")), moment, absolute

    def _check_version(self, number: int) -> None:
        version = int(self.base.get("bver", VERSION))
        if version > VERSION:
            raise SenmlError(
                f"SenML version {version} is newer than {VERSION}, the newest known here.",
                record=number,
                field="bver",
            )
        if self.version is not None and version != self.version:
            raise SenmlError("All records of a pack must have the same version.", record=number, field="bver")
        self.version = version

    def _name(self, number: int, fields: dict[str, Value]) -> tuple[tuple[str, str] | None, str, str | None]:
        """The device, the name without its base name, and the unit."""
        unit: object = fields.get("u", self.base.get("bu"))
        own = str(fields.get("n", ""))
        if "i_" in fields:
            if own:
                raise SenmlError("A record has a name or a measurement index, not both.", record=number, field="i_")
            entry = INDEX.get(int(fields["i_"]))
            if entry is None:
                raise SenmlError("The measurement index is not in the ThingsML list.", record=number, field="i_")
            own = entry[0]
            unit = fields.get("u", entry[1])
        base = str(self.base.get("bn", ""))
        device = _plainly_named(base, own)
        if device is not None:
            return device, own, str(unit) if unit else None
        full = base + own
        if not full:
            raise SenmlError("The record has no name.", record=number, field="n")
        if NAME.match(full) is None:
            raise SenmlError(
                "A name starts with a letter or digit and has only letters, digits and - : . / _",
                record=number,
                field="n",
            )
        of_device = DEVICE_BASE.match(full)
        if of_device is None:
            return None, own or base, str(unit) if unit else None
        name = full[of_device.end() :]
        if not name:
            raise SenmlError("The record has no name after the base name.", record=number, field="n")
        device = device_urn(of_device[0])
        if device is None:
            raise SenmlError(f"The {of_device[1].upper()} in the name is not valid.", record=number, field="bn")
        return device, name, str(unit) if unit else None

    def _time(self, number: int, fields: dict[str, Value]) -> float:
        time = float(self.base.get("bt", 0.0)) + float(fields.get("t", 0.0))
        if time >= ABSOLUTE_FROM:
            self.has_own_time = True
        else:
            time += self.received_at
        if not 0 <= time <= LAST_MOMENT:
            raise SenmlError(
                "The time is outside the years 1970 to 9999.",
                record=number,
                field="t" if "t" in fields else "bt",
            )
        return time


def _checked(number: int, record: dict[object, object]) -> dict[str, Value]:
    """The known fields of one record in their proper types; raises SenmlError for the first wrong one."""
    if isinstance(record, DoubledKeys):
        raise SenmlError("The label stands twice in one record.", record=number, field=record.doubled)
    fields: dict[str, Value] = {}
    for label, value in record.items():
        if not isinstance(label, str):
            continue
        form = _FORMS.get(label)
        # What almost every field is, without the ways of the others: a pack has hundreds.
        if form is float and type(value) is float and math.isfinite(value):
            fields[label] = value
            continue
        if form is None:
            if label.endswith("_"):
                raise SenmlError("The label must be understood but is not known.", record=number, field=label)
            continue
        fields[label] = _typed(number, label, form, value)
    version = fields.get("bver")
    if version is not None and int(version) < 1:
        raise SenmlError("The version must be 1 or more.", record=number, field="bver")
    return fields


def _typed(number: int, label: str, form: type, value: object) -> Value:
    match value:
        case bool() if form is bool:
            return value
        case int() | float() if form is float and not isinstance(value, bool):
            try:
                exact = float(value)
            except OverflowError:
                exact = math.inf
            if not math.isfinite(exact):
                raise SenmlError("The number is too large or not a number.", record=number, field=label)
            return exact
        case int() if form is int and not isinstance(value, bool):
            return value
        case str() if form is str:
            if _UNSTORABLE.search(value) is not None:
                raise SenmlError("The text has characters that cannot be stored.", record=number, field=label)
            return value
        case bytes() if form is bytes:
            return value
        case str() if form is bytes:
            try:
                if re.fullmatch(r"[A-Za-z0-9_-]*", value) is not None:
                    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
            except binascii.Error:
                pass
            raise SenmlError("The data must be base64url without padding.", record=number, field=label)
    raise SenmlError(f"The value must be {_WANTED[form]}.", record=number, field=label)
