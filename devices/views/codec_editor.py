"""The page where a codec is written and tried out (T5).

The page is one form: every button sends the text as it stands, kept or not, so that nothing that a person wrote is
lost. With htmx the answer is the parts of the page beside the text; without it the page again, with the text in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib import messages as notices
from django.core.paginator import Paginator
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django_htmx.http import trigger_client_event

from accounts.access import PersonRequest
from codec.script import ScriptFailed
from common.htmx import page, wants_partial
from devices import codec_trial, codec_work, connectivity, source_difference
from devices.access import codec_view
from devices.codec_forms import TrialForm, from_json
from devices.codec_trial import NotACase, Outcome, Read, Trial
from devices.codec_work import CasesFail, CodecRefused, Overtaken
from devices.models import Codec, CodecFunction, CodecVersion, ConnectivityKind, Device, DeviceType

VERSIONS: Final = 10
MESSAGES: Final = 10
SUGGESTED: Final = 25
# Of the values of the last messages; beyond these a table says nothing.
COLUMNS: Final = 30
AROUND: Final = 2


@dataclass(slots=True, kw_only=True)
class Desk:
    """What the person has in hand, and what came of what was done. ``began``: the newest version's number then.

    ``tried``: what was tried out last; ``read_of``: the device whose messages were. Both are run again with every
    answer, with the text as it is now. ``refused``: why the text or its keeping was refused; ``overtaken``: the
    version of somebody else that the person has been told of; ``not_kept``: just now. ``not_used``: why a version
    was not put to use.
    """

    source: str
    began: int
    note: str = ""
    trial_form: TrialForm = field(default_factory=TrialForm)
    tried: tuple[CodecFunction, Mapping[str, Any]] | None = None
    trial: Trial | None = None
    case_name: str = ""
    case_refused: str = ""
    device: str = ""
    device_refused: str = ""
    read_of: str = ""
    read: Sequence[Read] | None = None
    refused: str = ""
    overtaken: CodecVersion | None = None
    not_kept: bool = False
    not_used: str = ""
    outcomes: Sequence[Outcome] | None = None

    @property
    def bad(self) -> bool:
        texts = (self.case_refused, self.device_refused, self.refused, self.not_used)
        return bool(any(texts) or self.not_kept or self.trial_form.errors)


@codec_view("GET")
def show(request: PersonRequest, codec: Codec) -> HttpResponse:
    """With ``version`` that one's text; else the newest one's."""
    newest = codec.versions.order_by("-number")[0]
    asked = request.GET.get("version", "")
    wanted = codec.versions.filter(number=int(asked)).first() if asked.isdecimal() and len(asked) < 10 else None
    return _rendered(request, codec, Desk(source=(wanted or newest).source, began=newest.number))


@codec_view("POST")
def try_out(request: PersonRequest, codec: Codec) -> HttpResponse:
    """Run the text on what is written; with ``take`` on a real message's bytes."""
    form = TrialForm(_taken(request.POST) if "take" in request.POST else request.POST)
    desk = _desk(request, codec)
    desk.trial_form = form
    desk.tried, desk.case_name = None, ""
    if form.is_valid():
        desk.tried = CodecFunction(form.cleaned_data["function"]), form.cleaned_data["given"]
    return _rendered(request, codec, desk)


def _taken(posted: QueryDict) -> QueryDict:
    """The fields with ``take``, FPort and bytes of a message, in them."""
    data = posted.copy()
    data["fport"], _colon, data["payload"] = str(posted["take"]).partition(":")
    data["function"] = CodecFunction.DECODE_UPLINK.value
    return data


@codec_view("POST")
def messages(request: PersonRequest, codec: Codec) -> HttpResponse:
    """Run the text on the last messages of a device of the Project."""
    desk = _desk(request, codec)
    device, desk.device_refused = _device(codec, desk.device)
    if device is not None:
        desk.read_of = desk.device
    return _rendered(request, codec, desk)


@codec_view("POST")
def keep(request: PersonRequest, codec: Codec) -> HttpResponse:
    """Keep the text as a new version."""
    desk = _desk(request, codec)
    try:
        version, made = codec_work.keep_version(
            codec=codec, source=desk.source, began=desk.began, note=desk.note, actor=request.user
        )
    except Overtaken as error:
        # Who keeps it again now has seen what somebody else made.
        desk.overtaken, desk.began, desk.not_kept = error.newest, error.newest.number, True
        return _rendered(request, codec, desk)
    except CodecRefused as error:
        desk.refused = str(error)
        return _rendered(request, codec, desk)
    desk.source, desk.began, desk.note, desk.overtaken = version.source, version.number, "", None
    text = _("Version %d is kept.") if made else _("Version %d has this text already.")
    return _done(request, codec, desk, text % version.number)


@codec_view("POST")
def use(request: PersonRequest, codec: Codec) -> HttpResponse:
    """Put a kept version to use: a newer one, or going back to an older one."""
    desk = _desk(request, codec)
    version = codec.versions.filter(number=_whole(request.POST.get("version"))).first()
    if version is None:
        desk.not_used = _("There is no such version.")
        return _rendered(request, codec, desk)
    held = _whole(request.POST.get("in_use")) or None
    try:
        codec_work.use_version(codec=codec, version=version, held=held, actor=request.user)
    except CodecRefused as error:
        desk.not_used = str(error)
        desk.outcomes = error.outcomes if isinstance(error, CasesFail) else None
        return _rendered(request, codec, desk)
    return _done(request, codec, desk, _("Version %d is in use.") % version.number)


@codec_view("POST")
def keep_case(request: PersonRequest, codec: Codec) -> HttpResponse:
    """Keep what was tried out, and what came of it, as a test case."""
    desk = _desk(request, codec)
    try:
        expected = from_json(request.POST.get("tried_expected", ""))
    except ValueError:
        expected = None
    if desk.tried is None or expected is None:
        # Only who writes the request by hand comes here: the page carries what was tried and what came.
        desk.case_refused = _("Try the codec out first; then keep what came of it.")
        return _rendered(request, codec, desk)
    function, given = desk.tried
    try:
        case, made = codec_work.add_case(
            codec=codec, name=desk.case_name, function=function, given=given, expected=expected, actor=request.user
        )
    except (CodecRefused, NotACase) as error:
        desk.case_refused = str(error)
        return _rendered(request, codec, desk)
    text = _("The test case %s is kept.") if made else _("The test case %s is there already.")
    return _done(request, codec, desk, text % case.name)


def _desk(request: PersonRequest, codec: Codec) -> Desk:
    """What the form carries. Without a text, which only a request by hand lacks, the newest version's."""
    posted = request.POST
    newest = codec.versions.select_related("created_by").order_by("-number")[0]
    source = posted.get("source", newest.source).replace("\r\n", "\n").replace("\x00", "")
    fields = {name: posted[name] for name in TrialForm.base_fields if name in posted}
    return Desk(
        source=source,
        began=_whole(posted.get("began")) or newest.number,
        note=posted.get("note", "")[:200].replace("\x00", ""),
        overtaken=newest if _whole(posted.get("told")) == newest.number else None,
        # Shown again and not checked: most buttons do not ask for it.
        trial_form=TrialForm(initial=fields),
        tried=_tried(posted),
        case_name=posted.get("case_name", "").replace("\x00", ""),
        device=posted.get("device", "").strip()[:100].replace("\x00", ""),
        read_of=posted.get("read_of", "").strip()[:100].replace("\x00", ""),
    )


def _tried(posted: QueryDict) -> tuple[CodecFunction, Mapping[str, Any]] | None:
    """What the page carries of what was tried out last; None for what it cannot have carried."""
    try:
        function = CodecFunction(posted.get("tried_function", ""))
        return function, codec_trial.checked_given(function, from_json(str(posted.get("tried_given", ""))))
    except ValueError:
        return None


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def _may_run(desk: Desk) -> bool:
    """False, and why, for a text that is not one."""
    try:
        codec_work.checked_source(desk.source)
    except CodecRefused as error:
        desk.refused = str(error)
    return not desk.refused


def _units(codec: Codec) -> dict[str, str]:
    """The units that the device types with this codec give to their measurements."""
    found: dict[str, str] = {}
    for measurements in DeviceType.objects.filter(codec=codec).order_by("-pk").values_list("measurements", flat=True):
        found |= {one["name"]: one["unit"] for one in measurements if one.get("unit")}
    return found


def _suggested(codec: Codec) -> list[Device]:
    """Some devices of the Project to try the text on: those of types with this codec, else of any LoRa type."""
    for types in (
        DeviceType.objects.filter(codec=codec),
        DeviceType.objects.filter(connectivity=ConnectivityKind.LORA),
    ):
        # In no order: of very many, sorting them all would cost more than it is worth.
        found = list(
            Device.objects.filter(project=codec.project_id, type__in=list(types.values_list("pk", flat=True))).only(
                "name", "identifier"
            )[:SUGGESTED]
        )
        if found:
            return sorted(found, key=lambda device: device.name)
    return []


def _device(codec: Codec, text: str) -> tuple[Device | None, str]:
    """The device of the codec's Project with this name or identifier, or what is wrong with the text."""
    if not text:
        return None, _("Write a device's name or DevEUI.")
    rows = Device.objects.select_related("type").filter(project=codec.project_id)
    bare = "".join(letter for letter in text if letter.isalnum()).upper()
    found = list(rows.filter(identifier=bare)[:1]) if bare else []
    found = found or list(rows.filter(name=text)[:2])
    if not found:
        return None, _("There is no device of this name or DevEUI in the Project.")
    if len(found) > 1:
        return None, _("More than one device is called so: write its DevEUI.")
    return found[0], ""


# --- the page ---


def _done(request: PersonRequest, codec: Codec, desk: Desk, text: str) -> HttpResponse:
    """After a change. Without htmx the page is asked for anew, unless a text would be lost that is not kept."""
    if wants_partial(request):
        return trigger_client_event(_rendered(request, codec, desk), "toast", {"text": text, "tone": "ok"})
    notices.success(request, text)
    if codec.versions.order_by("-number")[0].source.rstrip() != desk.source.rstrip():
        return _rendered(request, codec, desk)
    return redirect("devices:codec", codec_id=codec.pk)


def _rendered(request: PersonRequest, codec: Codec, desk: Desk) -> HttpResponse:
    partial = "codec-versions" if request.method == "GET" else "codec-parts"
    context = _context(request, codec, desk) | {"parts": request.method == "POST" and wants_partial(request)}
    return page(request, "devices/codec.html", context, partial=partial, status=422 if desk.bad else 200)


def _context(request: PersonRequest, codec: Codec, desk: Desk) -> dict[str, Any]:
    codec = Codec.objects.select_related("project", "in_use").get(pk=codec.pk)
    functions, problem, outcomes = _looked_at(codec, desk)
    if not desk.refused:
        _run_again(codec, desk)
    found = Paginator(codec.versions.select_related("created_by"), VERSIONS).get_page(request.GET.get("page"))
    newest = codec.versions.order_by("-number")[0]
    return {
        "nav": "types",
        "codec": codec,
        "desk": desk,
        "form": desk.trial_form,
        "trial": desk.trial,
        "kept": _kept(desk.trial) if desk.trial else {},
        "suggested_name": desk.case_name or (_name_for(desk.trial) if desk.trial else ""),
        "devices": _suggested(codec) if request.can_change else [],
        "table": _table(desk.read) if desk.read is not None else None,
        "functions": sorted(functions),
        "problem": problem,
        "excerpt": _excerpt(desk.source, problem),
        "trial_excerpt": _excerpt(desk.source, desk.trial.failed if desk.trial else None),
        "outcomes": outcomes,
        "failing": sum(not one.passed for one in outcomes),
        "theirs": source_difference.difference(desk.overtaken.source, desk.source) if desk.overtaken else [],
        "found": found,
        "newest": newest,
        "changed": newest.source.rstrip() != desk.source.rstrip(),
        "types": codec_work.types_with(codec),
        "can_change": request.can_change,
    }


def _looked_at(codec: Codec, desk: Desk) -> tuple[frozenset[str], ScriptFailed | None, Sequence[Outcome]]:
    """The functions of the text, what keeps it from running, and what comes of each test case with it."""
    cases = list(codec.cases.all())
    if desk.outcomes is not None:
        functions, problem = codec_trial.problem_of(desk.source)
        return functions, problem, desk.outcomes
    if desk.refused or not _may_run(desk):
        return frozenset(), None, [Outcome(case=case, trial=None, passed=False) for case in cases]
    functions, problem = codec_trial.problem_of(desk.source)
    if problem is not None:
        return functions, problem, [Outcome(case=case, trial=None, passed=False) for case in cases]
    return functions, None, codec_trial.run_cases(desk.source, cases)


def _run_again(codec: Codec, desk: Desk) -> None:
    units = _units(codec) if desk.tried or desk.read_of else {}
    if desk.tried is not None:
        function, given = desk.tried
        desk.trial = codec_trial.run(desk.source, function, given, units=units)
    device = _device(codec, desk.read_of)[0] if desk.read_of else None
    if device is not None:
        desk.read = codec_trial.read(desk.source, connectivity.of(device).recent_messages(device, MESSAGES), units)


def _kept(trial: Trial) -> Mapping[str, str]:
    """What the page carries to run it again and to keep it as a test case."""
    carried = {"tried_function": trial.function.value, "tried_given": json.dumps(trial.given)}
    return carried if trial.failed is not None else carried | {"tried_expected": json.dumps(trial.got)}


def _name_for(trial: Trial) -> str:
    """A name that tells test cases apart: the bytes, or what is sent."""
    if trial.function is CodecFunction.ENCODE_DOWNLINK:
        return json.dumps(trial.given["data"], ensure_ascii=False)[:80]
    octets = codec_trial.spaced(trial.given["bytes"])
    shown = octets if len(octets) <= 48 else f"{octets[:47]}…"
    return _("%(bytes)s on FPort %(fport)d") % {"bytes": shown, "fport": trial.given["fPort"]}


def _excerpt(source: str, problem: ScriptFailed | None) -> list[tuple[int, str, bool]]:
    """The lines about the one with the problem: number, text, whether it is that one."""
    if problem is None or problem.line is None:
        return []
    lines = source.split("\n")
    first, last = max(problem.line - AROUND, 1), min(problem.line + AROUND, len(lines))
    return [(number, lines[number - 1], number == problem.line) for number in range(first, last + 1)]


def _table(read: Sequence[Read]) -> dict[str, Any]:
    """The messages as rows, with a column for each value that one of them has."""
    units: dict[str, str] = {}
    for one in read:
        for name, (_value, unit) in one.values.items():
            units.setdefault(name, unit)
    names = list(units)[:COLUMNS]
    rows = [{"read": one, "cells": [one.values.get(name, ("", ""))[0] for name in names]} for one in read]
    return {"names": [(name, units[name]) for name in names], "rows": rows, "span": len(names) or 1}
