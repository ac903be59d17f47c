"""The rules of the diagnosis on histories made by hand, and that a summary is the same in whatever portions the frames
come (L6). Nothing here needs a database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora import diagnosis as d
from lora import diagnosis_rules as rules
from lora.diagnosis import SECOND, Seen, Summary, fold
from lora.diagnosis_rules import Code, Severity, Step

START = 1_772_323_200 * SECOND
MINUTE = 60 * SECOND
LINK_ADR, LINK_ADR_ANSWER = bytes.fromhex("0352ff0001"), bytes.fromhex("0307")
DEV_STATUS, DEV_STATUS_ANSWER = b"\x06", bytes.fromhex("06ff0a")


class Story:
    """A device's frames, written down one after the other; ``minutes`` between them."""

    def __init__(self, minutes: float = 10) -> None:
        self.at, self.step, self.frames = START, int(minutes * MINUTE), list[Seen]()

    def _add(self, flags: int, fcnt: int | None = None, mac: bytes = b"", cause: str = "", after: int = -1) -> Story:
        self.at += self.step if after < 0 else after
        self.frames.append(Seen(self.at, len(self.frames), flags, fcnt, mac or None, cause or None))
        return self

    def ask(self) -> Story:
        return self._add(d.UP | d.JOIN_REQUEST)

    def accept(self) -> Story:
        return self._add(d.JOIN_ACCEPT, after=5 * SECOND)

    def join(self) -> Story:
        return self.ask().accept()

    def up(self, *counters: int, flags: int = 0, mac: bytes = b"") -> Story:
        for fcnt in counters:
            self._add(d.UP | flags, fcnt, mac)
        return self

    def down(self, mac: bytes = b"", *, flags: int = 0, cause: str = "") -> Story:
        return self._add(flags, 0, mac, cause, after=SECOND)

    def summary(self) -> Summary:
        return fold(Summary(), self.frames)

    def found(self, *, after: int = SECOND, locates: bool = True) -> dict[Code, rules.Finding]:
        found = rules.findings(self.summary(), self.at + after, locates=locates)
        return {one.code: one for one in found}

    def counted(self, place: int) -> int:
        return rules.totals(self.summary()).counts[place]


def normal(story: Story | None = None, count: int = 60) -> Story:
    return (story or Story()).join().up(*range(count))


# --- the five steps ---


def test_the_steps_of_the_join_ceremony() -> None:
    story = Story()
    assert rules.step(story.summary()) is Step.NOTHING_SEEN
    assert story.found() == {}
    assert rules.step(story.ask().summary()) is Step.REQUESTED
    assert rules.step(story.accept().summary()) is Step.ACCEPTED
    assert rules.step(story.up(0).summary()) is Step.SETTLING
    assert rules.step(story.up(1, 2, 3).summary()) is Step.NORMAL
    assert story.found() == {}
    # It joins once more.
    assert rules.step(story.ask().summary()) is Step.REQUESTED


def test_a_device_whose_join_was_before_the_history_is_in_normal_operation() -> None:
    assert rules.step(Story().up(4711).summary()) is Step.NORMAL


def test_one_request_has_its_time_and_two_are_unanswered() -> None:
    story = Story().ask()
    assert story.found() == {}
    assert set(story.found(after=61 * SECOND)) == {Code.JOIN_UNANSWERED}
    found = story.ask().found()
    assert found[Code.JOIN_UNANSWERED].seen["requests"] == 2
    assert found[Code.JOIN_UNANSWERED].severity is Severity.PROBLEM
    assert story.accept().found() == {}


def test_accepts_that_the_device_does_not_hear() -> None:
    story = Story().join().join()
    assert story.found() == {}, "one accept can be lost"
    found = story.join().found()
    assert (set(found), found[Code.ACCEPT_UNHEARD].seen["accepts"]) == ({Code.ACCEPT_UNHEARD}, 2)
    assert rules.step(story.summary()) is Step.ACCEPTED
    assert rules.step(story.ask().summary()) is Step.ACCEPTED
    assert story.up(0).found() == {}


# --- losses ---


def test_a_gap_in_the_counter_is_loss() -> None:
    story = Story().join().up(0, 1, 5, 6)
    assert (story.counted(d.LOST), story.counted(d.MESSAGES)) == (3, 4)


def test_more_than_five_in_a_hundred() -> None:
    came = [fcnt for fcnt in range(200) if fcnt % 20 != 10]
    assert normal(Story().join().up(*came), 0).found() == {}, "ten of two hundred is normal"
    came = [fcnt for fcnt in range(200) if fcnt % 18 != 10]
    found = Story().join().up(*came).found()
    assert set(found) == {Code.LOSS}
    assert (found[Code.LOSS].seen["lost"], found[Code.LOSS].seen["sent"]) == (11, 200)
    assert found[Code.LOSS].severity is Severity.ATTENTION
    found = Story().join().up(*range(0, 200, 2)).found()
    assert found[Code.LOSS].severity is Severity.PROBLEM


@pytest.mark.parametrize(
    ("counters", "lost"),
    [
        ((65533, 65534, 1, 2), 2),
        ((65534, 65536, 65537), 1),
        ((70000, 70001, 1), 0),
        ((2**32 - 2, 2**32 - 1, 0, 1), 0),
        ((10, 11, 30000), 0),
        ((500, 501, 0, 1, 2), 0),
    ],
    ids=["16 bits wrap", "32 bits go on", "32 bits began again", "32 bits wrap", "a leap is no loss", "began again"],
)
def test_wraps_and_new_beginnings(counters: tuple[int, ...], lost: int) -> None:
    story = Story().up(*counters)
    assert (story.counted(d.LOST), story.counted(d.MESSAGES)) == (lost, len(counters))


def test_a_join_begins_at_any_count() -> None:
    story = Story().join().up(0, 1, 2).join().up(0, 1).join().up(2)
    assert story.counted(d.LOST) == 0
    # A network that does not tell its accepts.
    assert Story().up(7, 8).ask().up(0, 1).counted(d.FIRSTS) == 1


def test_a_message_that_is_sent_again_is_one() -> None:
    story = Story().join().up(0, 1, 1, 1, 2)
    assert (story.counted(d.MESSAGES), story.counted(d.REPEATS), story.counted(d.LOST)) == (3, 2, 0)


def test_messages_that_come_late_are_not_lost_and_count_once() -> None:
    story = normal(count=40)
    inorder = story.summary()
    late = [frame for frame in story.frames if frame.fcnt in {5, 11, 12}]
    early = [frame for frame in story.frames if frame not in late]
    summary = fold(Summary(), early)
    assert rules.totals(summary).counts[d.LOST] == 3
    # And one of them twice.
    for frame in [*late, late[0]]:
        fold(summary, [frame])
    counts, wanted = rules.totals(summary).counts, rules.totals(inorder).counts
    assert (counts[d.LOST], counts[d.MESSAGES], counts[d.REPEATS]) == (0, wanted[d.MESSAGES], 1)
    assert rules.findings(summary, story.at) == []


# --- normal operation ---


def test_more_often_than_every_five_minutes() -> None:
    assert Story(4.9).join().up(*range(60)).found()[Code.TOO_OFTEN].seen["interval"] == 294 * SECOND
    assert Story(5).join().up(*range(60)).found() == {}
    assert Story(1).join().up(*range(10)).found() == {}, "too few to say so"


@pytest.mark.parametrize(("every", "expected"), [(10, set()), (9, {Code.CONFIRMED}), (1, {Code.CONFIRMED})])
def test_more_confirmed_than_one_in_ten(every: int, expected: set[Code]) -> None:
    story = Story().join()
    for fcnt in range(90):
        story.up(fcnt, flags=d.CONFIRMED if fcnt % every == 0 else 0)
    assert set(story.found()) == expected


def test_a_join_before_each_first_message() -> None:
    story = Story()
    for _ in range(5):
        story.join().up(0)
    found = story.found()
    assert (set(found), found[Code.REJOINS].seen) == ({Code.REJOINS}, {"firsts": 5, "messages": 5})
    story = Story()
    for _ in range(5):
        story.join().up(*range(8))
    assert story.found() == {}


def test_requests_of_the_network_come_in_pairs() -> None:
    story = normal(count=10)
    fcnt = 10
    for _ in range(6):
        story.down(LINK_ADR).up(fcnt, mac=LINK_ADR_ANSWER)
        fcnt += 1
    assert (story.counted(d.ANSWERED), story.counted(d.UNANSWERED), story.found()) == (6, 0, {})


def test_requests_without_an_answer() -> None:
    story, fcnt = normal(count=30), 30
    for _ in range(4):
        # A network repeats its request with each message: it is one request.
        for _ in range(d.CHANCES):
            story.down(DEV_STATUS).up(fcnt)
            fcnt += 1
    found = story.found()
    assert (set(found), found[Code.MAC_UNANSWERED].seen) == ({Code.MAC_UNANSWERED}, {"unanswered": 4, "asked": 4})
    assert len(story.summary().given_up) == 4


def test_repeats_and_what_the_device_starts_are_no_requests_without_answer() -> None:
    story, fcnt = normal(count=10), 10
    for _ in range(6):
        # LinkCheckReq and DeviceTimeReq up, their answers down.
        story.up(fcnt, mac=b"\x02\x0d").down(bytes.fromhex("02140d0000000000")[:2] + b"\x01" + b"\x0d" + bytes(5))
        # RXParamSetupAns stays in each message until the next downlink.
        story.down(bytes.fromhex("0500d2ad84")).up(fcnt + 1, fcnt + 2, fcnt + 3, mac=bytes.fromhex("0507"))
        # The first try was not heard.
        story.down(DEV_STATUS).up(fcnt + 4).down(DEV_STATUS).up(fcnt + 5, mac=DEV_STATUS_ANSWER)
        fcnt += 6
    assert (story.counted(d.ANSWERED), story.counted(d.UNANSWERED), story.found()) == (12, 0, {})


def test_a_join_ends_what_was_asked() -> None:
    story = Story()
    for _ in range(5):
        story.join().up(*range(4)).down(DEV_STATUS)
    assert story.up(4, 5, 6).counted(d.UNANSWERED) == 1


@pytest.mark.parametrize(
    ("flags", "code", "severity"),
    [
        (d.WEAK, Code.WEAK_SIGNAL, Severity.ATTENTION),
        (d.WEAK | d.VERY_WEAK, Code.WEAK_SIGNAL, Severity.PROBLEM),
        (d.SLOWEST, Code.SLOWEST, Severity.ATTENTION),
        (d.SINGLE, Code.ONE_GATEWAY, Severity.NOTE),
        (d.LOCATABLE, Code.NO_LOCATION, Severity.NOTE),
    ],
)
def test_signal_and_places(flags: int, code: Code, severity: Severity) -> None:
    found = Story().join().up(*range(40), flags=flags).found()
    assert [(one.code, one.severity) for one in found.values()] == [(code, severity)]
    several = Story().join().up(*range(40), flags=flags).up(40, flags=d.LOCATED).up(*range(41, 200))
    assert several.found() == {}


def test_no_location_is_told_only_where_a_network_locates() -> None:
    story = Story().join().up(*range(40), flags=d.LOCATABLE)
    assert story.found(locates=False) == {}
    assert story.up(40, flags=d.LOCATABLE | d.LOCATED).found() == {}


def test_repeated_messages() -> None:
    story = Story().join()
    for fcnt in range(40):
        story.up(*[fcnt] * (5 if fcnt % 10 == 0 else 1))
    assert set(story.found()) == {Code.REPEATED}


def test_downlinks_that_fail_for_one_cause() -> None:
    story = normal()
    for cause in ("D0", "D0", "D0", "D0", "A3"):
        story.down(flags=d.CARRIES | d.FAILED, cause=cause)
    found = story.found()[Code.FAILED_DOWNLINKS]
    assert found.seen == {"failures": 5, "downlinks": 5, "cause": "D0", "count": 4}
    for _ in range(30):
        story.down(flags=d.CARRIES)
    assert story.found() == {}
    many = normal()
    for cause in ("D0", "A3", "B0", "DA"):
        many.down(flags=d.CARRIES | d.FAILED, cause=cause)
    assert many.found() == {}, "many causes are no finding"


def test_confirmed_downlinks_without_ack() -> None:
    story, fcnt = normal(), 60
    for _ in range(4):
        story.down(flags=d.CARRIES | d.CONFIRMED).up(fcnt)
        fcnt += 1
    assert story.found()[Code.FAILED_DOWNLINKS].seen["cause"] == d.NO_ACK
    story = normal()
    for fcnt in range(60, 66):
        story.down(flags=d.CARRIES | d.CONFIRMED).up(fcnt, flags=d.ACK)
    assert story.found() == {}


def test_silence_is_measured_by_the_device_itself() -> None:
    story = normal()
    assert story.found(after=d.DAY) == {}
    assert set(story.found(after=d.DAY + MINUTE)) == {Code.SILENT}
    weekly = Story(minutes=7 * 1440).join().up(*range(5))
    assert weekly.found(after=34 * d.DAY) == {}
    assert Code.SILENT in weekly.found(after=36 * d.DAY)


def test_a_device_that_was_put_right_is_well_again() -> None:
    story = Story().join().up(*range(300), flags=d.CONFIRMED)
    assert set(story.found()) == {Code.CONFIRMED}
    assert story.up(*range(300, 700)).found() == {}


def test_findings_stand_worst_first() -> None:
    story = Story(1)
    for _ in range(30):
        story.join().up(0, flags=d.CONFIRMED | d.SINGLE)
    assert list(story.found()) == [Code.REJOINS, Code.CONFIRMED, Code.TOO_OFTEN, Code.ONE_GATEWAY]


# --- in portions ---


def history(seed: int) -> list[Seen]:
    """A random life: messages with all flags, losses, repeats, joins, requests and answers, failures, silences."""
    rng = Random(seed)
    at, fcnt, frames = START, rng.choice([0, 65530, 2**32 - 5]), []
    for seq in range(rng.randrange(1, 400)):
        at += rng.choice([SECOND, MINUTE, 10 * MINUTE, 600 * MINUTE, 2 * d.DAY]) if rng.random() < 0.3 else MINUTE
        flags, mac, cause, count = 0, b"", None, None
        kind = rng.random()
        if kind < 0.1:
            flags = rng.choice([d.UP | d.JOIN_REQUEST, d.JOIN_ACCEPT])
            fcnt = rng.choice([0, fcnt])
        elif kind < 0.3:
            flags = sum(bit for bit in (d.CONFIRMED, d.CARRIES) if rng.random() < 0.5)
            mac = rng.choice([b"", LINK_ADR, DEV_STATUS, DEV_STATUS + LINK_ADR, b"\x02\x01\x01", b"\xff"])
            if rng.random() < 0.3:
                flags, cause = flags | d.FAILED, rng.choice(["D0", "A3"])
        else:
            bits = (d.CONFIRMED, d.ACK, d.WEAK, d.VERY_WEAK, d.SLOWEST, d.SINGLE, d.LOCATABLE, d.LOCATED)
            flags = d.UP | sum(bit for bit in bits if rng.random() < 0.3)
            mac = rng.choice([b"", b"", DEV_STATUS_ANSWER, LINK_ADR_ANSWER, b"\x02"])
            fcnt = (fcnt + rng.choice([1, 1, 1, 0, 2, 7, 20000])) % 2**32
            count = fcnt
        frames.append(Seen(at, seq, flags, count, mac or None, cause))
    return frames


def in_portions(frames: list[Seen], cuts: Iterable[int]) -> Summary:
    """Through its written form after each portion, as the database keeps it."""
    summary, start = Summary(), 0
    for end in [*sorted({cut % (len(frames) + 1) for cut in cuts}), len(frames)]:
        if end > start:
            summary = Summary.of(json.loads(json.dumps(fold(summary, frames[start:end]).plain())))
            start = end
    return summary


@settings(max_examples=150, derandomize=True)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 400), max_size=30))
def test_it_makes_no_difference_in_which_portions_frames_come(seed: int, cuts: list[int]) -> None:
    frames = history(seed)
    whole, parts = fold(Summary(), frames), in_portions(frames, cuts)
    assert parts == whole
    now = frames[-1].at + SECOND
    assert rules.findings(parts, now, locates=True) == rules.findings(whole, now, locates=True)
    assert rules.step(parts) is rules.step(whole)


@settings(max_examples=100, derandomize=True)
@given(seed=st.integers(0, 10**6), gaps=st.sets(st.integers(1, 58), max_size=20))
def test_uplinks_that_come_late_end_as_if_in_order(seed: int, gaps: set[int]) -> None:
    story = normal()
    late = [frame for frame in story.frames if frame.fcnt in gaps]
    Random(seed).shuffle(late)
    summary = fold(Summary(), [frame for frame in story.frames if frame not in late])
    for frame in late:
        fold(summary, [frame])
    assert rules.totals(summary) == rules.totals(story.summary())


@settings(max_examples=60, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_any_order_of_frames_is_taken(seed: int) -> None:
    frames = history(seed)
    Random(seed).shuffle(frames)
    summary = fold(Summary(), frames)
    rules.findings(summary, START)
    assert len(json.dumps(summary.plain())) < 5000


def test_a_summary_of_a_device_that_sends_often_is_small() -> None:
    story = normal(count=3000)
    assert len(story.summary().days) <= 3
    assert len(json.dumps(story.summary().plain())) < 500
