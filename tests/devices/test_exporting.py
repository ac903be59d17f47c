"""Devices as files (D4): the three writers, what is in a row, the order, and how much is held and asked."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import tracemalloc
import zipfile
from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django_scopes import scope, scopes_disabled

from devices import filters
from devices.asked import SORTS, Asked
from devices.export import source, xlsx
from devices.export.source import Table, heads
from devices.export.writers import CHUNK, Head, Row, csv_stream, json_stream
from devices.export.xlsx import xlsx_stream
from devices.filters import device_page, ordered_ids
from devices.models import Connection, DeviceState
from tests import factories
from tests.cast import Cast
from twin.services import set_desired, set_metadata

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
WINTER = datetime(2026, 11, 23, 8, 30, 15, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
HEADS = [Head("name", "Name"), Head("value", "Value"), Head("seen", "Last seen", moment=True)]
WRITERS = [csv_stream, json_stream, xlsx_stream]
NS = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def whole(write, rows: Iterable[Row], heads=HEADS) -> bytes:
    return b"".join(write(heads, rows, AMSTERDAM))


def read_csv(data: bytes) -> list[list[str]]:
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def read_xlsx(data: bytes) -> dict[str, list[dict[str, object]]]:
    """Name of a sheet → rows of letter → value, found as a spreadsheet finds them: through the relations."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        parts = {name: ElementTree.fromstring(archive.read(name)) for name in archive.namelist()}
    types = {node.get("PartName") for node in parts["[Content_Types].xml"]}
    targets = {node.get("Id"): node.get("Target") for node in parts["xl/_rels/workbook.xml.rels"]}
    assert "styles.xml" in targets.values()
    sheets = {}
    for sheet in parts["xl/workbook.xml"].iterfind(".//m:sheet", NS):
        relation = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
        target = targets[sheet.get(relation)]
        assert f"/xl/{target}" in types
        rows = parts[f"xl/{target}"].iterfind("m:sheetData/m:row", NS)
        sheets[sheet.get("name")] = [dict(map(read_cell, row)) for row in rows]
    return sheets


def read_cell(cell: ElementTree.Element) -> tuple[str, object]:
    letters = re.sub(r"\d", "", cell.get("r", ""))
    if cell.get("t") == "inlineStr":
        return letters, cell.findtext("m:is/m:t", "", NS)
    text = cell.findtext("m:v", "", NS)
    if cell.get("t") == "b":
        return letters, text == "1"
    if cell.get("s") == "1":
        # Shown to the second, as a spreadsheet rounds it.
        return letters, (xlsx.DAY_0 + timedelta(days=float(text), milliseconds=500)).replace(microsecond=0)
    return letters, float(text)


class TestCsv:
    def test_is_what_the_standard_says(self) -> None:
        data = whole(csv_stream, [['a "quoted", text', 1, None], ["two\r\nlines", -2.5, WINTER]])
        assert data == (
            b'\xef\xbb\xbfName,Value,Last seen\r\n"a ""quoted"", text",1,\r\n'
            b'"two\r\nlines",-2.5,2026-11-23T09:30:15+01:00\r\n'
        )

    def test_moments_follow_the_persons_zone_through_the_year(self) -> None:
        assert read_csv(whole(csv_stream, [["x", True, SUMMER]]))[1] == ["x", "true", "2026-07-02T00:30:00+02:00"]

    @pytest.mark.parametrize("text", ["=1+1", "+31612345678", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
    def test_text_that_a_spreadsheet_would_run_is_neutralised(self, text: str) -> None:
        rows = read_csv(whole(csv_stream, [[text, -1, None]], [Head("n", text), *HEADS[1:]]))
        assert rows[0][0] == f"'{text}"
        assert rows[1] == [f"'{text}", "-1", ""]

    def test_what_is_no_number_is_empty(self) -> None:
        assert read_csv(whole(csv_stream, [["x", float("nan"), None], ["y", float("-inf"), None]]))[1:] == [
            ["x", "", ""],
            ["y", "", ""],
        ]


class TestJson:
    def test_is_an_array_of_objects_one_a_line(self) -> None:
        data = whole(json_stream, [["é “=1”", 1.5, WINTER], ["b", float("nan"), None], ["c", 10**30, None]])
        assert json.loads(data) == [
            {"name": "é “=1”", "value": 1.5, "seen": "2026-11-23T08:30:15Z"},
            {"name": "b", "value": None, "seen": None},
            {"name": "c", "value": 10**30, "seen": None},
        ]
        assert len(data.splitlines()) == 5

    def test_nothing_is_an_empty_array(self) -> None:
        assert json.loads(whole(json_stream, [])) == []


class TestXlsx:
    def test_cells_keep_their_kind(self) -> None:
        rows = read_xlsx(whole(xlsx_stream, [["=1+1", -2.5, WINTER], ["", True, SUMMER], [None, 10**15, None]]))
        assert rows == {
            "Devices 1": [
                {"A": "Name", "B": "Value", "C": "Last seen (Europe/Amsterdam)"},
                {"A": "=1+1", "B": -2.5, "C": datetime(2026, 11, 23, 9, 30, 15)},  # noqa: DTZ001
                {"B": True, "C": datetime(2026, 7, 2, 0, 30)},  # noqa: DTZ001
                {"B": "1000000000000000"},
            ]
        }

    def test_texts_come_back_as_they_were(self) -> None:
        texts = ["<b>&amp;\"'</b>", " space ", "two\r\nlines\t", "_x000D_ _x_", "日本 😀", "]]>"]
        (rows,) = read_xlsx(whole(xlsx_stream, [[text, None, None] for text in texts])).values()
        # A spreadsheet reads _xHHHH_ as the character of that number.
        assert [str(row["A"]).replace("_x005F_", "_") for row in rows[1:]] == texts
        assert rows[4]["A"] == "_x005F_x000D_ _x_"

    def test_characters_that_xml_does_not_know_are_removed(self) -> None:
        bad = "".join(map(chr, [*range(9), 11, 12, *range(14, 32), 0xD800, 0xFFFE, 0xFFFF]))
        (rows,) = read_xlsx(whole(xlsx_stream, [[f"a{bad}b", float("inf"), None]])).values()
        assert rows[1] == {"A": "ab"}

    def test_longer_text_than_a_cell_holds_is_cut_between_characters(self) -> None:
        (rows,) = read_xlsx(whole(xlsx_stream, [["😀" * 20_000, None, None], ["x" * 40_000, None, None]])).values()
        assert [len(str(row["A"])) for row in rows[1:]] == [16_383, 32_767]

    @pytest.mark.parametrize(("count", "sizes"), [(0, [1]), (3, [4]), (4, [4, 2]), (6, [4, 4]), (7, [4, 4, 2])])
    def test_more_rows_than_a_sheet_holds_go_to_the_next(
        self, count: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(xlsx, "SHEET_ROWS", 4)
        sheets = read_xlsx(whole(xlsx_stream, [[f"n{n}", n, None] for n in range(count)]))
        assert [len(rows) for rows in sheets.values()] == sizes
        assert [row["B"] for rows in sheets.values() for row in rows[1:]] == list(range(count))

    def test_columns_beyond_z_have_two_letters(self) -> None:
        assert [xlsx.column(n) for n in (0, 25, 26, 51, 52, 701, 702, 16_383)] == [
            "A", "Z", "AA", "AZ", "BA", "ZZ", "AAA", "XFD",
        ]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
def test_writer_takes_rows_only_as_it_hands_on_bytes(write) -> None:
    """What is held does not grow with the rows: five megabytes of them pass within less than one."""
    chance = random.Random(7)
    taken = 0

    def rows() -> Iterator[Row]:
        nonlocal taken
        for _ in range(6_000):
            taken += 1
            yield [f"{chance.getrandbits(3200):x}", chance.random(), WINTER]

    stream = write(HEADS, rows(), AMSTERDAM)
    size = len(next(stream))
    assert taken < 1_000
    tracemalloc.start()
    try:
        largest = max(map(len, stream))
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken == 6_000
    assert max(size, largest) < 2 * CHUNK + 32_768
    assert held < 1_000_000


def projects_of(*projects) -> dict[int, str]:
    return {project.pk: project.name for project in projects}


@pytest.fixture
def dutch(settings: LazySettings, tmp_path: Path) -> None:
    """A few Dutch words, whatever the portal's own catalogue says."""
    folder = tmp_path / "nl" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    words = Catalog(locale="nl")
    for english, word in (("Name", "Naam"), ("Active", "Actief")):
        words.add(english, word)
    with (folder / "django.mo").open("wb") as file:
        write_mo(file, words)
    settings.LOCALE_PATHS = [tmp_path]


def table(ids: Iterable[int], projects: dict[int, str]) -> Table:
    return Table(array("q", ids), heads(Asked(), everything=True), projects)


class TestRows:
    def test_row_says_what_the_list_and_the_device_tab_say(self, cast: Cast) -> None:
        flows = [factories.flow(cast.project, name) for name in ("Climate", "Archive")]
        device = factories.internet_device(
            cast.project, name="Gateway", in_flow=flows[0], barcode="0042", description="Near\nthe door"
        )
        with scope(project=[cast.project.pk]):
            factories.services.link_flow(device=device, flow=flows[1], actor=None)
            DeviceState.objects.filter(device=device).update(last_message_at=WINTER)
            made = table([device.pk], projects_of(cast.project))
            row = dict(zip([head.key for head in made.heads], next(made.rows()), strict=True))
            uuid = str(device.internet.dvn_uuid)
        assert row == {
            "name": "Gateway",
            "type": "Own Internet device",
            "identifier": uuid,
            "processing": "Active",
            "connection": "Active",
            "last_message": WINTER,
            "project": "Greenhouses",
            "flows": "Archive, Climate",
            "health": "Not known yet",
            "barcode": "0042",
            "description": "Near\nthe door",
            "added": device.created_at,
        }

    @pytest.mark.usefixtures("dutch")
    def test_words_are_of_the_language_in_which_it_was_asked(self, cast: Cast) -> None:
        device = factories.lora_device(cast.project)
        with translation.override("nl"):
            asked = table([device.pk], projects_of(cast.project))
        with translation.override("en"):
            (row,) = asked.rows()
        assert (asked.heads[0].label, row[4]) == ("Naam", "Actief")

    def test_flow_of_another_project_is_not_named(self, cast: Cast) -> None:
        device = factories.device(cast.project)
        theirs = factories.flow(cast.elsewhere, "Secret")
        with scope(project=[cast.project.pk, cast.elsewhere.pk]):
            factories.services.FlowLink.objects.create(device=device, flow=theirs)
        (row,) = table([device.pk], projects_of(cast.project)).rows()
        assert row[7] == ""

    def test_device_that_went_away_or_is_of_others_is_left_out(self, cast: Cast) -> None:
        kept, theirs = factories.device(cast.project, name="Kept"), factories.device(cast.elsewhere)
        rows = list(table([kept.pk + 10**6, theirs.pk, kept.pk], projects_of(cast.project)).rows())
        assert [row[0] for row in rows] == ["Kept"]

    def test_queries_do_not_grow_with_the_rows(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        flow = factories.flow(cast.project)
        ids = [factories.lora_device(cast.project, in_flow=flow).pk for _ in range(20)]

        def queries(count: int) -> int:
            with CaptureQueriesContext(connection) as captured:
                assert len(list(table(ids[:count], projects_of(cast.project)).rows())) == count
            return len(captured)

        assert queries(2) == queries(20) == 2
        monkeypatch.setattr(source, "STEP", 10)
        assert queries(20) == 4


class TestOrder:
    @pytest.mark.parametrize("reverse", ["", "-"])
    @pytest.mark.parametrize("sort", sorted(SORTS))
    def test_is_that_of_the_list(self, cast: Cast, sort: str, reverse: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(filters, "PAGE_SIZE", 100)
        flows = [factories.flow(cast.project) for _ in range(2)]
        for n in range(4):
            for project in (cast.project, cast.elsewhere):
                device = factories.device(
                    project,
                    ["own-lora", "own-m2m"][n % 2],
                    name=f"D{n % 3}",
                    in_flow=flows[0] if n == 1 and project == cast.project else None,
                    connection=[Connection.FAILED, Connection.ACTIVE, None][n % 3],
                )
                if n < 2:
                    with scope(project=[project.pk]):
                        DeviceState.objects.filter(device=device).update(last_message_at=timezone.now())
        projects = projects_of(cast.project, cast.elsewhere)
        asked = Asked(sort=reverse + sort)
        with scope(project=list(projects)):
            listed = [row["id"] for row in device_page(asked, projects).rows]
            assert len(listed) == 8
            assert list(ordered_ids(asked, projects)) == listed

    def test_holds_what_was_searched_and_chosen(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        """All that match, also beyond what the list shows of a search."""
        monkeypatch.setattr(filters, "MATCHES", 1)
        wanted = [factories.device(cast.project, name=f"House {n}").pk for n in range(3)]
        factories.device(cast.project, name="Barn")
        factories.device(cast.elsewhere, name="House 9")
        projects = projects_of(cast.project, cast.elsewhere)
        with scope(project=list(projects)):
            assert list(ordered_ids(Asked(query="house", projects=(cast.project.pk,)), projects)) == wanted


def test_values_of_the_twin_are_columns_of_the_file(cast: Cast) -> None:
    """What the list shows, typed: a number is a number (D11)."""
    device = factories.device(cast.project, name="House")
    with scopes_disabled():
        set_metadata([device.pk], {"room": "B 12"}, actor=None)
        set_desired([device.pk], {"interval": 900, "plan": [1, 2]}, actor=None)
    asked = Asked(columns=("name", "metadata:room", "desired:interval", "desired:plan", "reported:none"))
    made = Table(array("q", [device.pk]), heads(asked, everything=False), projects_of(cast.project))
    assert [head.label for head in made.heads][1:3] == ["Room", "Interval (desired)"]
    assert list(made.rows()) == [["House", "B 12", 900, "[1,2]", None]]
