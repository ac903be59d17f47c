"""SenML packs in and out: JSON and CBOR (RFC 8428), with the platform's habits (reference, section 3).

The rules of a record stand in :mod:`codec.senml_records`; here are the two wire forms, the two outbound
layouts, and the base name that is put before a downlink.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NoReturn

import cbor2

from codec.measurements import Measurement
from codec.senml_records import (
    ABSOLUTE_FROM,
    INDEX,
    MAX_RECORDS,
    UNITS,
    DoubledKeys,
    Pack,
    SenmlError,
    device_urn,
    resolve,
    unknown_units,
)

__all__ = [
    "INDEX",
    "LABELS",
    "MAX_BYTES",
    "MAX_RECORDS",
    "UNITS",
    "Pack",
    "SenmlError",
    "add_base",
    "device_urn",
    "dump_json",
    "parse_cbor",
    "parse_json",
    "read_json",
    "unknown_units",
]

MAX_BYTES: Final = 65_536

# RFC 8428, section 6, table 4; 23 is ThingsML's measurement index.
LABELS: Final[Mapping[int, str]] = {
    -6: "bs",
    -5: "bv",
    -4: "bu",
    -3: "bt",
    -2: "bn",
    -1: "bver",
    0: "n",
    1: "u",
    2: "v",
    3: "vs",
    4: "vb",
    5: "s",
    6: "t",
    7: "ut",
    8: "vd",
    23: "i_",
}


def parse_json(body: bytes, *, received_at: float) -> Pack:
    """A SenML JSON pack, resolved. ``received_at`` is Unix seconds: the "now" of relative times.

    Raises SenmlError: syntax (with line and column), any rule of RFC 8428, over 64 KiB or 1,000 records.
    """
    return resolve(read_json(body), received_at=received_at)


def read_json(body: bytes) -> list[object]:
    """The records of a JSON pack, as yet unchecked; raises SenmlError for size and syntax."""
    _check_size(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise SenmlError(f"The text is not UTF-8 (byte {error.start + 1}).") from error
    try:
        records = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise SenmlError(f"This is not JSON: {error.msg}.", line=error.lineno, column=error.colno) from error
    except RecursionError as error:
        raise SenmlError("The JSON is nested too deeply.") from error
    except SenmlError:
        raise
    except ValueError as error:  # a whole number of more digits than Python converts
        raise SenmlError("A number is too large.") from error
    if not isinstance(records, list):
        raise SenmlError("A pack is a list of records: [ … ].")
    return records


def parse_cbor(body: bytes, *, received_at: float) -> Pack:
    """A SenML CBOR pack (RFC 8428, section 6), resolved; raises SenmlError like :func:`parse_json`."""
    return resolve(read_cbor(body), received_at=received_at)


def read_cbor(body: bytes, *, strict: bool = False) -> list[object]:
    """The records of a CBOR pack with their JSON labels; raises SenmlError.

    ``strict`` refuses labels that SenML does not know instead of leaving them out. The only tag accepted
    is 4 (decimal fraction), which section 6 allows for numbers: the others cost memory or time to build.
    """
    _check_size(body)
    stream = io.BytesIO(body)
    decoder = cbor2.CBORDecoder(
        stream, semantic_decoders=_OneTag(), read_size=1, max_depth=16, allow_duplicate_keys=False
    )
    try:
        records = decoder.decode()
    except SenmlError:
        raise
    # Beside its own errors cbor2 lets those of Python through (MemoryError for a length that is a lie, …).
    except (cbor2.CBORError, ValueError, TypeError, MemoryError, OverflowError, RecursionError) as error:
        raise SenmlError("This is not CBOR, or it is cut off or has a label twice.") from error
    if stream.tell() != len(body):
        raise SenmlError("There is more data after the end of the pack.")
    if not isinstance(records, list):
        raise SenmlError("A pack is a list of records.")
    return [_with_labels(number, record, strict=strict) for number, record in enumerate(records, start=1)]


def dump_json(
    measurements: Sequence[Measurement],
    *,
    base_name: str,
    base_time: float,
    layout: Literal["merged", "legacy"] = "merged",
) -> bytes:
    """The pack for a destination (reference, section 3.2), compact UTF-8 JSON.

    ``merged``: base name and time stand in the first measurement's record, times may have fractions.
    ``legacy``: a first record of its own holds them, times are whole seconds.
    ``base_time`` is Unix seconds. Raises ValueError without measurements or for a time that would read as
    relative.
    """
    if not measurements:
        raise ValueError("a pack needs at least one measurement")
    digits = 6 if layout == "merged" else 0
    start = round(base_time, digits)
    if not (math.isfinite(start) and start >= ABSOLUTE_FROM):
        raise ValueError("the base time must be an absolute moment")
    base: dict[str, object] = {"bn": base_name, "bt": start if layout == "merged" else int(start)}
    records: list[dict[str, object]] = []
    for measurement in measurements:
        record: dict[str, object] = {"n": measurement.name}
        if measurement.unit:
            record["u"] = measurement.unit
        match measurement.value:
            case bool():
                record["vb"] = measurement.value
            case str():
                record["vs"] = measurement.value
            case bytes():
                record["vd"] = base64.urlsafe_b64encode(measurement.value).decode().rstrip("=")
            case _:
                record["v"] = measurement.value
        # The offset is taken from the rounded base, so that base and offset add up to the moment again.
        offset = round(round(measurement.time, digits) - start, digits)
        if offset:
            record["t"] = offset if layout == "merged" else int(offset)
        records.append(record)
    pack = [base, *records] if layout == "legacy" else [base | records[0], *records[1:]]
    return json.dumps(pack, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def add_base(records: Sequence[object], base_name: str) -> list[dict[str, object]]:
    """A person's measurement list, checked (RFC 8428), with the device's base name in its first record (S2).

    ``records`` is what :func:`read_json` gives; base values are not needed. Raises SenmlError for the first
    wrong record, for the base name of another device, and for a list without any value.
    """
    for number, record in enumerate(records, start=1):
        if isinstance(record, dict) and record.get("bn", base_name) != base_name:
            raise SenmlError("The base name is not that of this device.", record=number, field="bn")
    merged: list[object] = list(records)
    if merged and isinstance(merged[0], dict):
        first = {"bn": base_name} | merged[0]
        if isinstance(merged[0], DoubledKeys):
            raise SenmlError("The label stands twice in one record.", record=1, field=merged[0].doubled)
        merged[0] = first
    # Any present day will do: the list is only checked here, relative times stay as they are written.
    pack = resolve(merged, received_at=float(2**30))
    if not pack.measurements:
        raise SenmlError("The list has no value to send.")
    if device_urn(base_name) is not None and pack.device() != device_urn(base_name):
        raise SenmlError("A name belongs to another device.", field="n")
    return [dict(record) for record in merged if isinstance(record, dict)]


def _check_size(body: bytes) -> None:
    if len(body) > MAX_BYTES:
        raise SenmlError(f"The pack has {len(body)} bytes; at most {MAX_BYTES} are accepted.")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    doubled = DoubledKeys(plain)
    keys = [key for key, _ in pairs]
    doubled.doubled = next(key for key in keys if keys.count(key) > 1)
    return doubled


def _no_constant(name: str) -> NoReturn:
    raise SenmlError(f"{name} is not a JSON number.")


def _with_labels(number: int, record: object, *, strict: bool) -> object:
    if not isinstance(record, dict):
        return record
    labelled: dict[str, object] = {}
    for key, value in record.items():
        if isinstance(key, str) and key in LABELS.values():
            raise SenmlError("In CBOR this label is written as its number.", record=number, field=key)
        # 1.0 and true are equal to 1 for a dict, but no labels.
        label = LABELS.get(key) if type(key) is int else key
        if not isinstance(label, str) or (strict and label not in LABELS.values()):
            if strict or not isinstance(key, int | str) or isinstance(key, bool):
                raise SenmlError("The label is not one of SenML.", record=number, field=str(key)[:20])
            continue
        if label == "vd" and not isinstance(value, bytes):
            raise SenmlError("The value must be a byte string.", record=number, field="vd")
        if label != "vd" and isinstance(value, bytes):
            raise SenmlError("The value must not be a byte string.", record=number, field=label)
        labelled[label] = value
    return labelled


def _decimal_fraction(content: object, _immutable: bool) -> float:
    match content:
        case [int(exponent), int(mantissa)] if -400 <= exponent <= 400:
            return float(Decimal(mantissa).scaleb(exponent))
    raise SenmlError("A decimal fraction needs a small exponent and a whole number.")


def _no_tag(_content: object, _immutable: bool) -> NoReturn:
    raise SenmlError("The pack uses a CBOR tag that SenML does not have.")


class _OneTag(dict[int, Callable[[object, bool], object]]):
    """Tag → how to read it: one is known, whatever else is asked for is refused."""

    def __missing__(self, tag: int) -> Callable[[object, bool], object]:
        return _decimal_fraction if tag == 4 else _no_tag
