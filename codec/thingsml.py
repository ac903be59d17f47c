"""ThingsML for LoRa: SenML in CBOR with a measurement index (``i_``, key 23) for name and unit.

Source: reference, sections 3.3 and 3.4. A LoRa payload needs no base name: the network knows the DevEUI.
"""

from __future__ import annotations

from collections.abc import Sequence

import cbor2

from codec.measurements import Measurement, Value
from codec.senml import read_cbor
from codec.senml_records import INDEX, SenmlError, resolve

__all__ = ["INDEX", "NotThingsML", "decode_lora", "encode_lora"]

_INDEX_OF = {name: index for index, (name, _) in INDEX.items()}


class NotThingsML(ValueError):
    """The payload is not a complete, valid ThingsML pack; the text says why."""


def decode_lora(payload: bytes, at: float) -> list[Measurement]:
    """The measurements of a LoRa payload, in time order. ``at``: Unix seconds of its reception.

    Raises NotThingsML for anything but one CBOR array of SenML records with known labels and at least one
    value: other payloads must not be mistaken for ThingsML, so nothing unknown is skipped here.
    """
    try:
        pack = resolve(read_cbor(payload, strict=True), received_at=at)
    except SenmlError as error:
        raise NotThingsML(str(error)) from error
    if not pack.measurements:
        raise NotThingsML("The pack has no value.")
    return list(pack.measurements)


def encode_lora(values: Sequence[tuple[str | int, Value]]) -> bytes:
    """The payload for values of now: each a name or measurement index, and its value.

    A name of the index list is written as its index; whole numbers as CBOR integers, others in the
    smallest float that holds them exactly (RFC 8949, section 4.1). Raises ValueError without values or for
    an unknown index.
    """
    if not values:
        raise ValueError("a pack needs at least one value")
    records = []
    for name, value in values:
        index = _INDEX_OF.get(name) if isinstance(name, str) else name
        if index is not None and index not in INDEX:
            raise ValueError(f"measurement index {index} is not in the ThingsML list")
        record: dict[int, object] = {0: name} if index is None else {23: index}
        match value:
            case bool():
                record[4] = value
            case str():
                record[3] = value
            case bytes():
                record[8] = value
            case _:
                record[2] = int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)
        records.append(record)
    return cbor2.dumps(records, canonical=True)
