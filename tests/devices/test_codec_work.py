"""What people do with codecs (T5): versions, test cases, putting to use and going back; nobody overwrites anybody."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from devices import codec_trial, codec_work
from devices.codec_template import TEMPLATE
from devices.codec_trial import NotACase
from devices.codec_work import CasesFail, CodecRefused, Overtaken
from devices.connectivity import Message
from devices.models import Category, Codec, CodecCase, CodecFunction, CodecVersion, ConnectivityKind, DeviceType
from tests.cast import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]

DOUBLE = "function decodeUplink(input) {\n  return { data: { level: input.bytes[0] * 2 } };\n}\n"
TRIPLE = DOUBLE.replace("* 2", "* 3")
GIVEN = {"bytes": "05", "fPort": 1}
UPLINK = CodecFunction.DECODE_UPLINK


@pytest.fixture
def codec(cast: Cast) -> Codec:
    return codec_work.create_codec(project=cast.project, name=" Level ", actor=cast.administrator)


def keep(codec: Codec, cast: Cast, source: str = DOUBLE, began: int = 1, note: str = "") -> CodecVersion:
    return codec_work.keep_version(codec=codec, source=source, began=began, note=note, actor=cast.administrator)[0]


def case(codec: Codec, cast: Cast, level: float = 10, name: str = "Five", **given: Any) -> CodecCase:
    return codec_work.add_case(
        codec=codec,
        name=name,
        function=UPLINK,
        given=GIVEN | given,
        expected={"data": {"level": level}},
        actor=cast.administrator,
    )[0]


def use(codec: Codec, version: CodecVersion, cast: Cast, held: CodecVersion | None = None) -> list[codec_trial.Outcome]:
    return codec_work.use_version(
        codec=codec, version=version, held=held.pk if held else None, actor=cast.administrator
    )


def in_use(codec: Codec) -> int | None:
    version = Codec.objects.select_related("in_use").get(pk=codec.pk).in_use
    return version.number if version else None


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


# --- a codec ---


def test_new_codec_begins_with_an_example_that_runs(cast: Cast, codec: Codec) -> None:
    version = codec.versions.get()
    assert (codec.name, version.number, version.source, version.created_by) == (
        "Level", 1, TEMPLATE, cast.administrator,
    )  # fmt: skip
    assert codec.in_use is None
    read = codec_trial.run(TEMPLATE, UPLINK, {"bytes": "FFF12F", "fPort": 1})
    assert read.got == {"data": {"temperature": -1.5, "humidity": 47}}
    assert [one.name for one in read.measurements] == ["temperature", "humidity"]
    sent = codec_trial.run(TEMPLATE, CodecFunction.ENCODE_DOWNLINK, {"data": {"interval": 300}})
    assert sent.got == {"bytes": "012C", "fPort": 10}
    assert actions() == ["codec.created"]


def test_name_is_once_in_the_project(cast: Cast, codec: Codec) -> None:
    with pytest.raises(ValidationError):
        codec_work.create_codec(project=cast.project, name="LEVEL", actor=cast.administrator)
    other = codec_work.create_codec(project=cast.elsewhere, name="Level", actor=cast.stranger)
    with pytest.raises(ValidationError):
        codec_work.edit_codec(
            codec=codec_work.create_codec(project=cast.project, name="Tank", actor=cast.administrator),
            actor=cast.administrator,
            name="level",
            description="",
        )
    assert other.name == "Level"


def test_rename_records_what_changed_only(cast: Cast, codec: Codec) -> None:
    for _again in range(2):
        codec_work.edit_codec(codec=codec, actor=cast.administrator, name="Tank", description="")
    entry = AuditEntry.objects.get(action="codec.edited")
    assert (entry.before, entry.after) == ({"name": "Level"}, {"name": "Tank"})


def test_codec_of_a_type_stays_and_one_of_none_goes_with_all_it_has(cast: Cast, codec: Codec) -> None:
    version = keep(codec, cast)
    case(codec, cast)
    use(codec, version, cast)
    kind = DeviceType.objects.create(
        slug="tank", name="Tank", category=Category.OWN, connectivity=ConnectivityKind.LORA, codec=codec
    )
    with pytest.raises(CodecRefused, match="used by Tank"):
        codec_work.delete_codec(codec=codec, actor=cast.administrator)
    DeviceType.objects.filter(pk=kind.pk).update(codec=None)
    codec_work.delete_codec(codec=codec, actor=cast.administrator)
    assert (Codec.objects.count(), CodecVersion.objects.count(), CodecCase.objects.count()) == (0, 0, 0)
    assert actions()[-1] == "codec.deleted"
    with pytest.raises(CodecRefused, match="not there any more"):
        codec_work.delete_codec(codec=codec, actor=cast.administrator)


# --- versions ---


def test_version_is_numbered_and_says_who_and_what(cast: Cast, codec: Codec) -> None:
    version = keep(codec, cast, DOUBLE.replace("\n", "\r\n") + "\n\n", note=" Doubled ")
    assert (version.number, version.source, version.note) == (2, DOUBLE, "Doubled")
    assert version.created_by == cast.administrator
    entry = AuditEntry.objects.get(action="codec.version_kept")
    assert entry.after == {"version": 2, "note": "Doubled"}


def test_same_text_again_makes_no_version(cast: Cast, codec: Codec) -> None:
    first = codec_work.keep_version(codec=codec, source=DOUBLE, began=1, actor=cast.administrator)
    second = codec_work.keep_version(codec=codec, source=DOUBLE, began=1, actor=cast.administrator)
    assert (first[1], second[1]) == (True, False)
    assert second[0] == first[0]
    assert codec.versions.count() == 2


def test_second_of_two_people_is_told_and_may_decide(cast: Cast, codec: Codec) -> None:
    theirs = keep(codec, cast)
    with pytest.raises(Overtaken) as told:
        keep(codec, cast, TRIPLE, began=1)
    assert told.value.newest == theirs
    assert codec.versions.count() == 2
    assert keep(codec, cast, TRIPLE, began=told.value.newest.number).number == 3


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x" * (codec_trial.LARGEST_SOURCE + 1), "129 KiB; a codec has 128 KiB at most"),
        ("é" * (codec_trial.LARGEST_SOURCE // 2), "128 KiB at most"),
        (" \n \n", "nothing to keep"),
        ("var a = '\x00';", "a character that is none"),
        ("var a = '\ud800';", "a character that is none"),
    ],
)
def test_source_that_cannot_be_kept(cast: Cast, codec: Codec, source: str, says: str) -> None:
    with pytest.raises(CodecRefused, match=says):
        keep(codec, cast, source)
    assert codec.versions.count() == 1


def test_largest_source_is_kept(cast: Cast, codec: Codec) -> None:
    assert keep(codec, cast, "/" * (codec_trial.LARGEST_SOURCE - 1)).number == 2


@pytest.mark.django_db(transaction=True)
def test_of_many_who_keep_at_once_one_does(cast: Cast, codec: Codec) -> None:
    barrier = threading.Barrier(4)
    came: list[str] = []

    def write(number: int) -> None:
        barrier.wait()
        try:
            with scopes_disabled():
                keep(codec, cast, DOUBLE.replace("2", str(number + 3)))
            came.append("kept")
        except Overtaken:
            came.append("told")
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == ["kept", "told", "told", "told"]
    assert codec.versions.count() == 2


# --- to use, and back ---


def test_version_is_put_to_use_and_gone_back_from(cast: Cast, codec: Codec) -> None:
    double, triple = keep(codec, cast), keep(codec, cast, TRIPLE, began=2)
    case(codec, cast, level=10)
    assert [one.passed for one in use(codec, double, cast)] == [True]
    CodecCase.objects.all().delete()
    use(codec, triple, cast, held=double)
    assert in_use(codec) == 3
    use(codec, double, cast, held=triple)
    assert in_use(codec) == 2
    moves = AuditEntry.objects.filter(action="codec.put_to_use").order_by("pk").values_list("before", "after")
    assert list(moves) == [
        ({"version": None}, {"version": 2}),
        ({"version": 2}, {"version": 3}),
        ({"version": 3}, {"version": 2}),
    ]


def test_failing_case_keeps_a_version_from_use(cast: Cast, codec: Codec) -> None:
    double, triple = keep(codec, cast), keep(codec, cast, TRIPLE, began=2)
    case(codec, cast, level=10)
    case(codec, cast, level=0, name="Nothing", bytes="00")
    use(codec, double, cast)
    with pytest.raises(CasesFail, match="1 of 2 test cases does not pass") as told:
        use(codec, triple, cast, held=double)
    assert in_use(codec) == 2
    five, nothing = told.value.outcomes
    assert nothing.passed
    assert not five.passed
    assert [line.text.strip() for line in five.difference if line.kind != "same"] == ['"level": 10', '"level": 15']
    with pytest.raises(CasesFail):
        codec_work.use_version(codec=codec, version=codec.versions.get(number=1), held=None, actor=cast.administrator)


def test_second_click_puts_to_use_once(cast: Cast, codec: Codec) -> None:
    version = keep(codec, cast)
    for _again in range(2):
        use(codec, version, cast)
    assert actions().count("codec.put_to_use") == 1


def test_who_saw_another_version_in_use_is_told(cast: Cast, codec: Codec) -> None:
    double, triple = keep(codec, cast), keep(codec, cast, TRIPLE, began=2)
    use(codec, double, cast)
    with pytest.raises(CodecRefused, match="another version to use meanwhile"):
        use(codec, triple, cast, held=None)
    assert in_use(codec) == 2


def test_case_that_came_while_the_others_ran_is_not_passed_over(
    cast: Cast, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = keep(codec, cast)
    really = codec_trial.run_cases

    def run_and_lose_the_race(*args: Any, **options: Any) -> Any:
        found = really(*args, **options)
        case(codec, cast, level=11)
        return found

    monkeypatch.setattr(codec_trial, "run_cases", run_and_lose_the_race)
    with pytest.raises(CodecRefused, match="changed the test cases at the same time"):
        use(codec, version, cast)
    assert in_use(codec) is None


@pytest.mark.parametrize(
    ("source", "says"),
    [("function decodeUplink( {", "does not run"), ("var nothing = 1;", "it has none of decodeUplink")],
)
def test_text_that_does_nothing_is_not_put_to_use(cast: Cast, codec: Codec, source: str, says: str) -> None:
    with pytest.raises(CodecRefused, match=says):
        use(codec, keep(codec, cast, source), cast)
    assert in_use(codec) is None


def test_stopped_version_is_not_put_to_use(cast: Cast, codec: Codec) -> None:
    version = keep(codec, cast)
    CodecVersion.objects.filter(pk=version.pk).update(stopped_at="2026-01-01T00:00:00Z")
    with pytest.raises(CodecRefused, match="was stopped"):
        use(codec, version, cast)


# --- test cases ---


def test_case_is_added_changed_and_removed_and_recorded(cast: Cast, codec: Codec) -> None:
    made = case(codec, cast)
    assert made.given == {"bytes": "05", "fPort": 1}
    values = {"seen": codec_work.fingerprint(made), "name": "Six", "given": GIVEN | {"bytes": [6]}}
    for _again in range(2):
        codec_work.change_case(case=made, expected={"data": {"level": 12}}, actor=cast.administrator, **values)
    made.refresh_from_db()
    assert (made.name, made.given, made.expected) == ("Six", {"bytes": "06", "fPort": 1}, {"data": {"level": 12}})
    for _again in range(2):
        codec_work.remove_case(case=made, actor=cast.administrator)
    assert not codec.cases.exists()
    assert actions()[1:] == ["codec.case_added", "codec.case_changed", "codec.case_removed"]


def test_same_case_again_is_one_and_another_of_its_name_is_refused(cast: Cast, codec: Codec) -> None:
    assert case(codec, cast) == case(codec, cast)
    with pytest.raises(CodecRefused, match="of this name already"):
        case(codec, cast, level=3)
    other = case(codec, cast, name="Other")
    with pytest.raises(CodecRefused, match="of this name already"):
        codec_work.change_case(
            case=other,
            seen=codec_work.fingerprint(other),
            name="Five",
            given=GIVEN,
            expected={"data": {}},
            actor=cast.administrator,
        )


def test_who_changes_a_case_that_somebody_changed_is_told(cast: Cast, codec: Codec) -> None:
    made = case(codec, cast)
    seen = codec_work.fingerprint(made)
    values: dict[str, Any] = {"case": made, "seen": seen, "name": "Five", "given": GIVEN, "actor": cast.administrator}
    codec_work.change_case(expected={"data": {"level": 11}}, **values)
    with pytest.raises(CodecRefused, match="changed this test case meanwhile"):
        codec_work.change_case(expected={"data": {"level": 12}}, **values)


def test_codec_has_no_more_cases_than_a_page_can_run(cast: Cast, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_work, "MOST_CASES", 1)
    case(codec, cast)
    with pytest.raises(CodecRefused, match="1 test cases at most"):
        case(codec, cast, name="Two")


@pytest.mark.parametrize(
    ("function", "given", "expected", "where"),
    [
        ("decodeUplink", [], {"data": {}}, "given"),
        ("decodeUplink", {"bytes": "0", "fPort": 1}, {"data": {}}, "given"),
        ("decodeUplink", {"bytes": [256], "fPort": 1}, {"data": {}}, "given"),
        ("decodeUplink", {"bytes": "00", "fPort": 0}, {"data": {}}, "given"),
        ("decodeUplink", {"bytes": "00", "fPort": True}, {"data": {}}, "given"),
        ("decodeUplink", {"bytes": "00", "fPort": 1, "x": 1}, {"data": {}}, "given"),
        ("decodeUplink", {"bytes": "00", "fPort": 1, "recvTime": "2026-02-31T00:00:00Z"}, {"data": {}}, "given"),
        ("decodeUplink", {"bytes": "00", "fPort": 1, "recvTime": "2026-02-01T00:00:00"}, {"data": {}}, "given"),
        ("encodeDownlink", {"data": 1}, {"bytes": ""}, "given"),
        ("encodeDownlink", {"data": {"a": "\x00"}}, {"bytes": ""}, "given"),
        ("encodeDownlink", {"data": {"a": "\ud800"}}, {"bytes": ""}, "given"),
        ("encodeDownlink", {"data": {"a": float("inf")}}, {"bytes": ""}, "given"),
        ("encodeDownlink", {"data": {"a": "x" * codec_trial.LARGEST_CASE}}, {"bytes": ""}, "given"),
        ("decodeUplink", GIVEN, {}, "expected"),
        ("decodeUplink", GIVEN, {"bytes": "00"}, "expected"),
        ("decodeUplink", GIVEN, {"data": []}, "expected"),
        ("decodeUplink", GIVEN, {"errors": "no"}, "expected"),
        ("encodeDownlink", {"data": {}}, {"data": {}}, "expected"),
        ("encodeDownlink", {"data": {}}, {"bytes": "xy"}, "expected"),
    ],
)
def test_what_is_no_case(cast: Cast, codec: Codec, function: str, given: Any, expected: Any, where: str) -> None:
    with pytest.raises(NotACase) as told:
        codec_work.add_case(
            codec=codec, name="A", function=CodecFunction(function), given=given, expected=expected,
            actor=cast.administrator,
        )  # fmt: skip
    assert told.value.where == where
    assert not codec.cases.exists()


# --- running ---


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (0.1 + 0.2, 0.3, True), (1, 1.0, True), (1, True, False), (0.3, 0.3001, False),
        ({"a": [1]}, {"a": [1.0]}, True),
        ({"a": 1}, {"a": 1, "b": None}, False), ([1, 2], [1], False), ("1", 1, False), (None, None, True),
    ],
)  # fmt: skip
def test_same_as_json(one: Any, other: Any, equal: bool) -> None:
    assert codec_trial.same(one, other) is equal


def test_case_passes_or_says_what_came(cast: Cast, codec: Codec) -> None:
    source = (
        "function decodeUplink(input) {\n"
        "  if (input.bytes[0] == 1) return { data: { t: input.recvTime.getTime() }, warnings: [] };\n"
        "  if (input.bytes[0] == 2) return { errors: ['two'] };\n"
        "  if (input.bytes[0] == 3) return { data: { v: 3 }, warnings: ['w'] };\n"
        "  return input.no.such;\n"
        "}\n"
    )
    wanted: list[tuple[str, Any, bool]] = [
        ("01", {"data": {"t": 1767225600000}, "warnings": []}, True),
        ("02", {"errors": ["two"]}, True),
        ("03", {"data": {"v": 3}}, False),
        ("04", {"data": {}}, False),
    ]
    for octets, expected, _passes in wanted:
        codec_work.add_case(
            codec=codec, name=octets, function=UPLINK, given={"bytes": octets, "fPort": 1}, expected=expected,
            actor=cast.administrator,
        )  # fmt: skip
    outcomes = codec_trial.run_cases(source, codec.cases.all())
    assert [one.passed for one in outcomes] == [passes for *_rest, passes in wanted]
    last = outcomes[-1].trial
    assert last is not None
    assert last.failed is not None
    assert last.failed.line == 5


def test_cases_and_messages_stop_when_the_time_is_over(cast: Cast, codec: Codec) -> None:
    case(codec, cast, name="A")
    case(codec, cast, name="B")
    ticks = iter([0.0, 1.0, 2.5, 0.0, 1.0, 2.5])
    first, second = codec_trial.run_cases(DOUBLE, codec.cases.all(), clock=lambda: next(ticks))
    assert first.passed
    assert (second.trial, second.passed) == (None, False)
    sent = [Message(datetime(2026, 1, 1, tzinfo=UTC), b"\x05", 1)] * 2
    read = codec_trial.read(DOUBLE, sent, {"level": "%"}, clock=lambda: next(ticks))
    assert read[0].values == {"level": ("10", "%")}
    assert read[1].trial is None
