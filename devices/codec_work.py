"""The only writer of codecs, their versions and their test cases (T5). Every change is recorded.

The row of the codec is the lock: whatever changes it, its versions or its cases holds that row first. Codecs are run
before, outside the transaction, and what they were run with is looked at again under the lock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import audit
from accounts.models import Project, User

from . import codec_trial
from .codec_template import TEMPLATE
from .codec_trial import LARGEST_SOURCE, Outcome
from .errors import DeviceError
from .models import Codec, CodecCase, CodecFunction, CodecVersion, DeviceType

MOST_CASES: Final = 50


class CodecRefused(DeviceError):
    """``field``: the input that it belongs to; "" for none."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Overtaken(CodecRefused):
    """Somebody kept another version meanwhile: ``newest``."""

    def __init__(self, newest: CodecVersion) -> None:
        super().__init__(_("Somebody kept another version while you were writing."))
        self.newest = newest


class CasesFail(CodecRefused):
    """The version does not pass its test cases: ``outcomes`` of all of them."""

    def __init__(self, version: CodecVersion, outcomes: list[Outcome]) -> None:
        failing = sum(not one.passed for one in outcomes)
        super().__init__(
            ngettext(
                "Version %(number)d is not put to use: %(failing)d of %(all)d test cases does not pass with it.",
                "Version %(number)d is not put to use: %(failing)d of %(all)d test cases do not pass with it.",
                failing,
            )
            % {"number": version.number, "failing": failing, "all": len(outcomes)}
        )
        self.outcomes = outcomes


def checked_source(text: str) -> str:
    """The source as it is kept: one kind of line end, one at the end. Raises CodecRefused."""
    source = text.replace("\r\n", "\n").replace("\r", "\n").rstrip() + "\n"
    size = len(source.encode(errors="replace"))
    if size > LARGEST_SOURCE:
        raise CodecRefused(
            _("The source has %(size)d KiB; a codec has %(most)d KiB at most.")
            % {"size": -(-size // 1024), "most": LARGEST_SOURCE // 1024},
            "source",
        )
    if not source.strip():
        raise CodecRefused(_("Write the codec first: there is nothing to keep."), "source")
    if "\x00" in source or len(source.encode(errors="ignore")) != size:
        raise CodecRefused(_("The source has a character that is none."), "source")
    return source


@transaction.atomic
def create_codec(*, project: Project, name: str, actor: User, description: str = "") -> Codec:
    """A new codec with the template as its first version, in use nowhere. Raises ValidationError for its name."""
    codec = Codec(project=project, name=name.strip(), description=description.strip())
    codec.full_clean()
    try:
        with transaction.atomic():
            codec.save(force_insert=True)
    except IntegrityError as error:
        # Another one of this name, made between the look and the writing, such as by a second click.
        raise ValidationError({"name": _("This Project has a codec of this name already.")}) from error
    CodecVersion.objects.create(codec=codec, number=1, source=TEMPLATE, created_by=actor)
    _record(codec, actor, "codec.created", after={"name": codec.name})
    return codec


@transaction.atomic
def edit_codec(*, codec: Codec, actor: User, name: str, description: str) -> None:
    """Another name or description. Raises ValidationError for the name, CodecRefused where the codec is gone."""
    held = _held(codec)
    wanted = {"name": name.strip(), "description": description.strip()}
    changed = {key: value for key, value in wanted.items() if value != getattr(held, key)}
    if not changed:
        return
    before = {key: getattr(held, key) for key in changed}
    for key, value in changed.items():
        setattr(held, key, value)
    held.full_clean()
    Codec.objects.filter(pk=held.pk).update(**changed)
    _record(held, actor, "codec.edited", before=before, after=changed)


@transaction.atomic
def delete_codec(*, codec: Codec, actor: User) -> None:
    """With all its versions and cases. Raises CodecRefused while a device type uses it."""
    held = _held(codec)
    types = types_with(held)
    if types:
        raise CodecRefused(
            _("The codec is used by %(types)s. Give them another one first.") % {"types": ", ".join(types)}
        )
    _record(held, actor, "codec.deleted", before={"name": held.name})
    # The version in use protects itself against going.
    Codec.objects.filter(pk=held.pk).update(in_use=None)
    Codec.objects.filter(pk=held.pk).delete()


def types_with(codec: Codec) -> list[str]:
    """The names of the device types that use the codec."""
    return list(DeviceType.objects.filter(codec=codec).order_by("name", "pk").values_list("name", flat=True))


# --- versions ---


@transaction.atomic
def keep_version(*, codec: Codec, source: str, began: int, actor: User, note: str = "") -> tuple[CodecVersion, bool]:
    """The text as a new version, and whether it is one: the newest version's own text makes none, so that a second
    click does nothing. ``began``: the number of the newest version when the person began.

    Raises CodecRefused for the text, Overtaken where there is a newer version than that.
    """
    source = checked_source(source)
    held = _held(codec)
    newest = held.versions.order_by("-number")[0]
    if newest.source == source:
        return newest, False
    if newest.number != began:
        raise Overtaken(newest)
    version = CodecVersion.objects.create(
        codec=held, number=newest.number + 1, source=source, note=note.strip()[:200], created_by=actor
    )
    _record(held, actor, "codec.version_kept", after={"version": version.number, "note": version.note})
    return version, True


def use_version(*, codec: Codec, version: CodecVersion, held: int | None, actor: User) -> list[Outcome]:
    """Decode messages with this version from now on, newer or older than the one in use; gives what came of each
    case. ``held``: the version (its id) that the person saw in use.

    Raises CasesFail, and CodecRefused where the text does not run or somebody else was first.
    """
    functions, problem = codec_trial.problem_of(version.source)
    if problem is not None:
        raise CodecRefused(
            _("Version %(number)d is not put to use, because it does not run. %(why)s")
            % {"number": version.number, "why": problem}
        )
    if not functions:
        raise CodecRefused(
            _("Version %(number)d is not put to use: it has none of %(functions)s.")
            % {"number": version.number, "functions": ", ".join(CodecFunction.values)}
        )
    cases = list(codec.cases.all())
    outcomes = codec_trial.run_cases(version.source, cases)
    if not all(one.passed for one in outcomes):
        raise CasesFail(version, outcomes)
    with transaction.atomic():
        row = _held(codec)
        if row.in_use_id == version.pk:
            return outcomes
        if _facts(row.cases.all()) != _facts(cases):
            raise CodecRefused(_("Nothing is changed: somebody changed the test cases at the same time. Try again."))
        if CodecVersion.objects.filter(pk=version.pk, stopped_at=None).count() == 0:
            raise CodecRefused(_("This version was stopped: it had to be ended by force too often. Mend it first."))
        if Codec.objects.filter(pk=row.pk, in_use=held).update(in_use=version) != 1:
            raise CodecRefused(
                _("Nothing is changed: somebody put another version to use meanwhile. Look at it, then try again.")
            )
        before = row.in_use.number if row.in_use else None
        _record(row, actor, "codec.put_to_use", before={"version": before}, after={"version": version.number})
    return outcomes


# --- test cases ---


@transaction.atomic
def add_case(
    *, codec: Codec, name: str, function: CodecFunction, given: Any, expected: Any, actor: User
) -> tuple[CodecCase, bool]:
    """A new test case, and whether it is one: the same one again is not. Raises CodecRefused, NotACase."""
    wanted = _checked(name, function, given, expected)
    held = _held(codec)
    there = held.cases.filter(name=wanted["name"]).first()
    if there is not None and _fact(there) == tuple(wanted.values()):
        return there, False
    if there is not None:
        raise _name_taken()
    if held.cases.count() >= MOST_CASES:
        raise CodecRefused(_("A codec has %d test cases at most.") % MOST_CASES)
    case = CodecCase.objects.create(codec=held, **wanted)
    _record(held, actor, "codec.case_added", after=wanted)
    return case, True


@transaction.atomic
def change_case(*, case: CodecCase, seen: str, name: str, given: Any, expected: Any, actor: User) -> None:
    """``seen``: the fingerprint of the case that the person began from. Raises CodecRefused, also where somebody
    changed it meanwhile, and NotACase."""
    wanted = _checked(name, CodecFunction(case.function), given, expected)
    held = _held(case.codec)
    now = held.cases.filter(pk=case.pk).first()
    if now is None:
        raise CodecRefused(_("This test case is not there any more."))
    if _fact(now) == tuple(wanted.values()):
        return
    if fingerprint(now) != seen:
        raise CodecRefused(_("Somebody changed this test case meanwhile. Open it again to see how it is now."))
    if held.cases.filter(name=wanted["name"]).exclude(pk=case.pk).exists():
        raise _name_taken()
    changed = {key: value for key, value in wanted.items() if value != getattr(now, key)}
    CodecCase.objects.filter(pk=case.pk).update(**changed)
    before = {key: getattr(now, key) for key in changed}
    _record(held, actor, "codec.case_changed", before={"name": now.name} | before, after=changed)


@transaction.atomic
def remove_case(*, case: CodecCase, actor: User) -> None:
    """A second time it does nothing."""
    held = _held(case.codec)
    if held.cases.filter(pk=case.pk).delete()[0]:
        facts = dict(zip(("name", "function", "given", "expected"), _fact(case), strict=True))
        _record(held, actor, "codec.case_removed", before=facts)


def _checked(name: str, function: CodecFunction, given: Any, expected: Any) -> dict[str, Any]:
    if not name.strip() or len(name.strip()) > 100 or "\x00" in name:
        raise CodecRefused(_("Give the test case a name of 1 to 100 characters."), "name")
    return {
        "name": name.strip(),
        "function": function.value,
        "given": codec_trial.checked_given(function, given),
        "expected": codec_trial.checked_expected(function, expected),
    }


def fingerprint(case: CodecCase) -> str:
    """Another one for every change of the case."""
    return hashlib.sha256(json.dumps(_fact(case), sort_keys=True).encode()).hexdigest()[:32]


def _name_taken() -> CodecRefused:
    return CodecRefused(_("There is a test case of this name already."), "name")


def _fact(case: CodecCase) -> tuple[Any, ...]:
    return case.name, case.function, case.given, case.expected


def _facts(cases: Iterable[CodecCase]) -> dict[int, tuple[Any, ...]]:
    return {case.pk: _fact(case) for case in cases}


def _held(codec: Codec) -> Codec:
    """The codec's row, locked. Raises CodecRefused where it is gone."""
    held = Codec.objects.select_for_update().filter(pk=codec.pk).first()
    if held is None:
        raise CodecRefused(_("This codec is not there any more."))
    return held


def _record(codec: Codec, actor: User, action: str, **facts: Any) -> None:
    """The portal's own codecs belong to no Project and have no trail; their versions say who and when."""
    if codec.project_id is not None:
        audit.record(project_id=codec.project_id, actor=actor, action=action, target=codec.name, **facts)
