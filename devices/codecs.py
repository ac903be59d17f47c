"""The codecs of device types (T5): which text is run for a type now, and what it makes of a payload. What people do
with them is in ``codec_work``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from accounts import audit
from codec import script, script_values
from codec.measurements import Measurement

from .models import CodecProblem, CodecVersion, Device, DeviceType

# The breaker: a version that had to be killed so often within this time is not run any more.
KILLS: Final = 5
WITHIN: Final = timedelta(minutes=10)
CACHED: Final = 200
LONGEST_PROBLEM: Final = 500

# A version's text never changes, so that its number says all.
_sources: OrderedDict[int, str] = OrderedDict()


@dataclass(frozen=True, slots=True)
class InUse:
    """The version that the messages of a type are read with. ``source`` None: it was stopped. ``units``: SenML unit by
    the name of the measurement."""

    version_id: int
    source: str | None
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a codec made of a payload: measurements, or ``error`` with its ``kind`` (that of ScriptFailed, "stopped",
    "late", or "" where the codec itself reports it) and the ``line`` in the source where it is known."""

    measurements: tuple[Measurement, ...] = ()
    error: str = ""
    kind: str = ""
    line: int | None = None
    warnings: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """What is kept of it for the device; "" where all is well."""
        text = self.error or " · ".join(self.warnings)
        return text if len(text) <= LONGEST_PROBLEM else f"{text[: LONGEST_PROBLEM - 1]}…"


def source_of(device_type: DeviceType) -> str | None:
    """The source of the version in use of the type's codec, also where the type is not saved; None where there is none,
    or it was stopped."""
    if device_type.codec_id is None:
        return None
    in_use = CodecVersion.objects.filter(codec=device_type.codec_id, codec__in_use=F("pk"), stopped_at=None)
    return in_use.values_list("source", flat=True).first()


def in_use(type_ids: Collection[int]) -> dict[int, InUse]:
    """By type the version in use, of types that have one: one query, and one more for texts that are new here."""
    if not type_ids:
        return {}
    rows = list(
        DeviceType.objects.filter(pk__in=type_ids, codec__in_use__isnull=False).values_list(
            "pk", "measurements", "codec__in_use_id", "codec__in_use__stopped_at"
        )
    )
    sources = _held({version_id for _pk, _measurements, version_id, stopped_at in rows if stopped_at is None})
    return {
        pk: InUse(version_id, sources.get(version_id), _units(measurements))
        for pk, measurements, version_id, _stopped_at in rows
    }


def _held(version_ids: set[int]) -> dict[int, str]:
    found = {}
    for version_id in version_ids:
        if (source := _sources.get(version_id)) is not None:
            found[version_id] = source
    missing = version_ids - found.keys()
    if missing:
        found |= dict(CodecVersion.objects.filter(pk__in=missing).values_list("pk", "source"))
    for version_id in sorted(found):
        _sources[version_id] = found[version_id]
    while len(_sources) > CACHED:
        _sources.popitem(last=False)
    return found


def _units(measurements: Any) -> dict[str, str]:
    return {
        one["name"]: one["unit"]
        for one in measurements
        if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("unit"), str)
    }


def read(codec: InUse, payload: bytes, fport: int, at: datetime, *, downlink: bool = False) -> Reading:
    """What the codec makes of an uplink's payload (or a downlink's), whatever it does."""
    if codec.source is None:
        return Reading(error=_stopped(), kind="stopped")
    try:
        if downlink:
            told = script.decode_downlink(codec.source, payload, fport)
        else:
            told = script.decode_uplink(codec.source, payload, fport, at)
    except script.ScriptFailed as error:
        return Reading(error=str(error), kind=error.kind, line=error.line, logs=error.logs)
    if told.data is None:
        return Reading(error=" · ".join(told.errors), warnings=told.warnings, logs=told.logs)
    try:
        measurements = tuple(script_values.measurements(told.data, at, codec.units))
    except script_values.TooMuch as error:
        return Reading(error=str(error), kind="output", warnings=told.warnings, logs=told.logs)
    return Reading(measurements=measurements, warnings=told.warnings, logs=told.logs)


def _stopped() -> str:
    return f"The codec was stopped: it had to be killed {KILLS} times within {WITHIN.seconds // 60} minutes."


# --- the breaker ---


def count_kills(version_id: int, moments: Sequence[datetime], now: datetime) -> bool:
    """Keep that a version had to be killed; too often, and it is stopped. Gives whether that was now."""
    with transaction.atomic():
        version = (
            CodecVersion.objects.select_for_update(of=("self",))
            .select_related("codec")
            .filter(pk=version_id, stopped_at=None)
            .first()
        )
        if version is None:
            return False
        recent = [text for text in version.kills if datetime.fromisoformat(text) > now - WITHIN]
        kills = [*recent, *(moment.isoformat() for moment in moments)][-KILLS:]
        stopped = len(kills) >= KILLS
        changed = CodecVersion.objects.filter(pk=version_id, stopped_at=None).update(
            kills=kills, stopped_at=now if stopped else None
        )
        if changed != 1 or not stopped:
            return False
        # The portal's own codecs belong to no Project, whose trail could hold it.
        if version.codec.project_id is not None:
            audit.record(
                project_id=version.codec.project_id,
                actor=None,
                action="codec.stopped",
                target=version.codec.name,
                after={"version": version.number, "reason": _stopped()},
            )
    return True


# --- problems of devices ---

# Rows are written only where something differs: a device that errs in the same way with each message writes nothing.
# An older message says nothing about what a newer one brought.
WRITE_PROBLEMS = """
WITH told AS (
    SELECT * FROM unnest(
        %s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[], %s::text[], %s::timestamptz[]
    ) AS told (device_id, project_id, version_id, error, text, at)
), held AS (
    SELECT held.device_id FROM devices_codecproblem AS held JOIN told USING (device_id)
    WHERE told.text = '' AND held.at <= told.at ORDER BY device_id FOR UPDATE OF held
), gone AS (
    DELETE FROM devices_codecproblem WHERE device_id IN (SELECT device_id FROM held)
)
INSERT INTO devices_codecproblem AS held (device_id, project_id, version_id, error, text, at)
SELECT * FROM told WHERE text <> '' ORDER BY device_id
ON CONFLICT (device_id) DO UPDATE SET
    project_id = excluded.project_id, version_id = excluded.version_id, error = excluded.error,
    text = excluded.text, at = excluded.at
WHERE held.at <= excluded.at
    AND (held.version_id, held.error, held.text) IS DISTINCT FROM (excluded.version_id, excluded.error, excluded.text)
"""


@dataclass(frozen=True, slots=True)
class Told:
    """The newest that a batch says about a device's codec; ``text`` "": all is well."""

    device_id: int
    project_id: int
    version_id: int
    error: bool
    text: str
    at: datetime


def write_problems(told: Collection[Told]) -> None:
    """One statement for all; in a transaction that holds the states of the devices already."""
    if not told:
        return
    rows = [
        (one.device_id, one.project_id, one.version_id, one.error, one.text, one.at)
        for one in sorted(told, key=lambda one: one.device_id)
    ]
    with connection.cursor() as cursor:
        cursor.execute(WRITE_PROBLEMS, [list(column) for column in zip(*rows, strict=True)])


def problem_of(device: Device) -> CodecProblem | None:
    """What the codec of the device's type could not read last, or warned of; asked once for one Device object."""
    if device.type.codec_id is None:
        return None
    held: dict[str, Any] = device.__dict__
    if "_codec_problem" not in held:
        held["_codec_problem"] = CodecProblem.objects.filter(device_id=device.pk).first()
    problem: CodecProblem | None = held["_codec_problem"]
    return problem


def sentence(problem: CodecProblem) -> str:
    if problem.error:
        return _("The codec of the device type could not read a message: %(error)s") % {"error": problem.text}
    return _("The codec of the device type warns: %(warning)s") % {"warning": problem.text}


def forget_problem(device_id: int) -> None:
    CodecProblem.objects.filter(device_id=device_id).delete()
