"""The codec screens (T5): the list, the page where one is written and tried out, its test cases and versions."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django_scopes import scopes_disabled

from accounts.models import Membership, Role
from devices import codec_trial, codec_work
from devices.codec_template import TEMPLATE
from devices.models import Category, Codec, CodecCase, CodecVersion, ConnectivityKind, DeviceType
from lora import frames
from lora.events import Uplink
from tests import factories
from tests.cast import Cast

DOUBLE = "function decodeUplink(input) {\n  return { data: { level: input.bytes[0] * 2 } };\n}\n"
TRIPLE = DOUBLE.replace("* 2", "* 3")
BROKEN = "var a = 1;\nfunction decodeUplink(input) {\n  return {\n}\n"
HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def codec(cast: Cast) -> Codec:
    return made(cast)


@scopes_disabled()
def made(cast: Cast, name: str = "Level", **fields: Any) -> Codec:
    return codec_work.create_codec(project=cast.project, name=name, actor=cast.administrator, **fields)


@scopes_disabled()
def kept(codec: Codec, source: str = DOUBLE, *, to_use: bool = False) -> CodecVersion:
    newest = CodecVersion.objects.filter(codec=codec).count()
    version = CodecVersion.objects.create(codec=codec, number=newest + 1, source=source)
    if to_use:
        Codec.objects.filter(pk=codec.pk).update(in_use=version)
    return version


def stored(codec: Codec, name: str = "Five", level: int = 10) -> CodecCase:
    given = {"bytes": "05", "fPort": 1}
    return CodecCase.objects.create(
        codec=codec, name=name, function="decodeUplink", given=given, expected={"data": {"level": level}}
    )


@scopes_disabled()
def fresh(codec: Codec) -> Codec:
    return Codec.objects.select_related("in_use").get(pk=codec.pk)


def url(codec: Codec, rest: str = "") -> str:
    return f"/codecs/{codec.pk}/{rest}"


def desk(**fields: Any) -> dict[str, Any]:
    """What the page's form carries."""
    return {
        "source": DOUBLE.replace("\n", "\r\n"),
        "began": "1",
        "in_use": "",
        "function": "decodeUplink",
        "payload": "05",
        "fport": "1",
    } | fields


def text(response: HttpResponse) -> str:
    """What the page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def source_in(response: HttpResponse) -> str:
    found = re.search(r"<textarea[^>]* name=\"source\"[^>]*>\n(.*?)</textarea>", response.content.decode(), re.DOTALL)
    assert found
    return html.unescape(found[1])


def value(response: HttpResponse, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', response.content.decode())
    assert found, name
    return html.unescape(found[1])


class TestList:
    def test_codecs_of_the_own_projects(self, cast: Cast, codec: Codec) -> None:
        kept(codec, to_use=True)
        DeviceType.objects.create(
            slug="tank", name="Tank", category=Category.OWN, connectivity=ConnectivityKind.LORA, codec=codec
        )
        response = cast.client(cast.viewer).get("/codecs/")
        assert re.search(r"Level Version 2 in use 2 .* ago|just now", text(response))
        assert "/codecs/add/" not in response.content.decode()
        theirs = cast.client(cast.stranger).get("/codecs/")
        assert "Level" not in text(theirs)
        assert "/codecs/add/" in theirs.content.decode()

    def test_portals_own_codec_is_nobodys(self, cast: Cast) -> None:
        with scopes_disabled():
            own = Codec.objects.create(project=None, name="Managed")
            CodecVersion.objects.create(codec=own, number=1, source=DOUBLE)
        client = cast.client(cast.administrator)
        assert "Managed" not in text(client.get("/codecs/"))
        assert client.get(url(own)).status_code == 404

    def test_two_cost_as_many_queries_as_twenty(self, cast: Cast, django_assert_num_queries: Any) -> None:
        client = cast.client(cast.operator)
        for number in range(20):
            made(cast, f"C{number}")
            if number in {1, 19}:
                with django_assert_num_queries(4):
                    client.get("/codecs/")

    def test_pages(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("devices.views.codecs.PAGE_SIZE", 2)
        for name in ("Apple", "Berry", "Cherry"):
            made(cast, name)
        assert "1–2 of 3" in text(cast.client(cast.viewer).get("/codecs/"))
        assert "Cherry" in text(cast.client(cast.viewer).get("/codecs/?page=2"))

    def test_wrong_method_and_an_empty_list(self, cast: Cast) -> None:
        assert cast.client(cast.administrator).post("/codecs/").status_code == 405
        assert "A codec is a small program" in text(cast.client(cast.viewer).get("/codecs/"))


class TestAdd:
    def test_codec_is_made_with_the_example(self, cast: Cast) -> None:
        client = cast.client(cast.administrator)
        assert client.get("/codecs/add/").status_code == 200
        response = client.post("/codecs/add/", {"name": "Level", "description": "Of a tank"})
        with scopes_disabled():
            codec = Codec.objects.get()
        assert response["Location"] == url(codec)
        assert (codec.project, codec.name, codec.description) == (cast.project, "Level", "Of a tank")
        assert source_in(client.get(url(codec))) == TEMPLATE

    def test_weak_roles_and_wrong_method(self, cast: Cast) -> None:
        for person in (cast.viewer, cast.operator):
            assert cast.client(person).get("/codecs/add/").status_code == 403
            assert cast.client(person).post("/codecs/add/", {"name": "Level"}).status_code == 403
        assert cast.client(cast.administrator).put("/codecs/add/").status_code == 405
        with scopes_disabled():
            assert not Codec.objects.exists()

    @pytest.mark.parametrize("name", ["", "LEVEL", "x" * 101])
    def test_bad_name_is_told_beside_it(self, cast: Cast, codec: Codec, name: str) -> None:
        response = cast.client(cast.administrator).post("/codecs/add/", {"name": name})
        assert response.status_code == 422
        assert 'id="id_name_error"' in response.content.decode()

    def test_project_is_asked_where_there_are_several(self, cast: Cast) -> None:
        third = factories.project("Third")
        Membership.objects.create(user=cast.administrator, project=third, role=Role.ADMINISTRATOR)
        Membership.objects.create(user=cast.administrator, project=cast.elsewhere, role=Role.OPERATOR)
        client = cast.client(cast.administrator)
        assert client.post("/codecs/add/", {"name": "A", "project": cast.elsewhere.pk}).status_code == 422
        client.post("/codecs/add/", {"name": "A", "project": third.pk})
        with scopes_disabled():
            assert Codec.objects.get().project == third


class TestPage:
    def test_viewer_and_operator_see_and_find_no_control(self, cast: Cast, codec: Codec) -> None:
        kept(codec, to_use=True)
        stored(codec)
        for person in (cast.viewer, cast.operator):
            response = cast.client(person).get(url(codec))
            assert source_in(response) == DOUBLE
            said = text(response)
            for words in ("Version 2 in use", "Five", "All pass", "Version 1", "Greenhouses"):
                assert words in said
            main = response.content.decode().split("<main")[1].split("</main>")[0]
            assert "<button" not in main
            assert "/edit/" not in main
            assert "readonly" in main

    def test_stranger_finds_nothing_and_nobody_changes_with_a_weak_role(self, cast: Cast, codec: Codec) -> None:
        case = stored(codec)
        for rest in ("", "difference/", "edit/", "delete/", "cases/add/", f"cases/{case.pk}/"):
            assert cast.client(cast.stranger).get(url(codec, rest)).status_code == 404
        actions = ("try/", "messages/", "keep/", "use/", "cases/keep/", "edit/", "delete/", "cases/add/")
        for rest in (*actions, f"cases/{case.pk}/"):
            assert cast.client(cast.stranger).post(url(codec, rest), desk()).status_code == 404
            for person in (cast.viewer, cast.operator):
                assert cast.client(person).post(url(codec, rest), desk()).status_code == 403
        for rest in ("try/", "messages/", "keep/", "use/", "cases/keep/"):
            assert cast.client(cast.administrator).get(url(codec, rest)).status_code == 405
        assert cast.client(cast.administrator).post(url(codec)).status_code == 405
        assert CodecVersion.objects.count() == 1

    def test_older_version_is_opened_and_a_wrong_one_is_the_newest(self, cast: Cast, codec: Codec) -> None:
        kept(codec)
        client = cast.client(cast.administrator)
        opened = client.get(url(codec, "?version=1"))
        assert source_in(opened) == TEMPLATE
        # What is kept from here comes after the newest.
        assert value(opened, "began") == "2"
        for wrong in ("9", "x", "9" * 30):
            assert source_in(client.get(url(codec, f"?version={wrong}"))) == DOUBLE

    def test_source_comes_back_letter_for_letter(self, cast: Cast, codec: Codec) -> None:
        source = "\n\n// <b>&amp;</textarea> 'é'\n" + DOUBLE
        response = cast.client(cast.administrator).post(url(codec, "try/"), desk(source=source))
        assert source_in(response) == source

    def test_versions_are_paged_in_their_part(self, cast: Cast, codec: Codec) -> None:
        for number in range(12):
            kept(codec, DOUBLE + f"// {number}\n")
        client = cast.client(cast.viewer)
        part = client.get(url(codec, "?page=2"), **HTMX).content.decode()
        assert part.strip().startswith('<section class="panel codec-versions"')
        assert "hx-swap-oob" not in part
        assert "Version 1<" in part
        assert "Version 13<" not in part

    def test_more_versions_and_cases_cost_no_more_queries(
        self, cast: Cast, codec: Codec, django_assert_num_queries: Any
    ) -> None:
        client = cast.client(cast.administrator)
        for number in range(9):
            kept(codec, DOUBLE + f"// {number}\n")
            stored(codec, f"C{number}")
            if number in {1, 8}:
                with django_assert_num_queries(13):
                    client.get(url(codec))


class TestTryOut:
    def test_unsaved_text_is_run(self, cast: Cast, codec: Codec) -> None:
        DeviceType.objects.create(
            slug="tank", name="Tank", category=Category.OWN, connectivity=ConnectivityKind.LORA, codec=codec,
            measurements=[{"name": "level", "unit": "%"}],
        )  # fmt: skip
        source = DOUBLE.replace("  return", '  console.log("got", input.bytes.length);\n  return').replace(
            "} };", '}, warnings: ["low"] };'
        )
        response = cast.client(cast.administrator).post(url(codec, "try/"), desk(source=source, payload="0x05, 06"))
        assert response.status_code == 200
        said = text(response)
        for words in ("level 10 %", '{ "level": 10 }', "Warning: low", "Printed got 2", "Took"):
            assert words in said
        assert source_in(response) == source
        assert CodecVersion.objects.count() == 1

    def test_htmx_gets_the_parts_beside_the_text(self, cast: Cast, codec: Codec) -> None:
        response = cast.client(cast.administrator).post(url(codec, "try/"), desk(), **HTMX)
        parts = re.findall(r'id="(codec-[a-z-]+)"[^>]* hx-swap-oob="true"', response.content.decode())
        assert parts == ["codec-in-use", "codec-keep", "codec-try", "codec-messages", "codec-cases", "codec-versions"]
        assert '<textarea class="source-text"' not in response.content.decode()
        assert "data-changed" in response.content.decode()

    @pytest.mark.parametrize(
        ("source", "line"),
        [(BROKEN, 5), (DOUBLE.replace("input.bytes[0]", "input.none[0]"), 2)],
    )
    def test_error_is_told_with_its_line(self, cast: Cast, codec: Codec, source: str, line: int) -> None:
        response = cast.client(cast.administrator).post(url(codec, "try/"), desk(source=source))
        body = response.content.decode()
        assert {int(found) for found in re.findall(r'data-source-line="(\d+)"', body)} == {line}
        assert 'class="here"' in body

    def test_error_of_the_codec_is_its_own(self, cast: Cast, codec: Codec) -> None:
        response = cast.client(cast.administrator).post(url(codec, "try/"), desk(source=TEMPLATE))
        assert response.status_code == 200
        assert "Error: Three bytes at least are wanted." in text(response)

    def test_downlinks(self, cast: Cast, codec: Codec) -> None:
        client = cast.client(cast.administrator)
        fields = desk(source=TEMPLATE, function="encodeDownlink", wanted='{"interval": 300}')
        assert "Bytes 01 2C FPort 10" in text(client.post(url(codec, "try/"), fields)).replace("Copy ", "")
        back = DOUBLE.replace("decodeUplink", "decodeDownlink")
        assert '"level": 10' in text(client.post(url(codec, "try/"), desk(source=back, function="decodeDownlink")))

    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({"payload": "0"}, "payload"),
            ({"payload": "zz"}, "payload"),
            ({"fport": ""}, "fport"),
            ({"fport": "0"}, "fport"),
            ({"function": "eval"}, "function"),
            ({"function": "encodeDownlink", "wanted": "{"}, "wanted"),
            ({"function": "encodeDownlink", "wanted": "[]"}, "wanted"),
            ({"function": "encodeDownlink", "wanted": '{"a": NaN}'}, "wanted"),
            ({"function": "encodeDownlink", "wanted": "[" * 9000}, "wanted"),
        ],
    )
    def test_wrong_input_is_told_beside_it_and_all_stays(
        self, cast: Cast, codec: Codec, fields: dict[str, str], where: str
    ) -> None:
        posted = desk(note="Half done", device="House 1", **fields)
        response = cast.client(cast.administrator).post(url(codec, "try/"), posted)
        assert response.status_code == 422
        assert f'id="id_{where}_error"' in response.content.decode()
        assert source_in(response) == DOUBLE
        assert (value(response, "note"), value(response, "device")) == ("Half done", "House 1")
        assert html.escape(posted[where]) in response.content.decode() or where == "function"

    def test_too_much_is_refused_with_a_sentence_and_not_run(self, cast: Cast, codec: Codec) -> None:
        response = cast.client(cast.administrator).post(
            url(codec, "try/"), desk(source="x" * (codec_trial.LARGEST_SOURCE + 1))
        )
        assert response.status_code == 422
        assert "a codec has 128 KiB at most" in text(response)


class TestMessages:
    @pytest.fixture
    def device(self, cast: Cast) -> Any:
        device = factories.lora_device(cast.project, name="House 1", dev_eui="0059AC0000173380")
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
        with transaction.atomic():
            frames.store(
                [
                    (
                        device.pk,
                        Uplink(
                            dev_eui="0059AC0000173380",
                            at=start + timedelta(minutes=number),
                            fcnt=number,
                            fport=number + 1,
                            payload=bytes([number, 0xAB]),
                            mic=f"{number:08x}",
                        ),
                    )
                    for number in range(12)
                ]
            )
        return device

    @pytest.mark.parametrize("called", ["House 1", "0059AC0000173380", "00-59-ac-00 00173380"])
    def test_last_ten_are_decoded_beside_each_other(self, cast: Cast, codec: Codec, device: Any, called: str) -> None:
        response = cast.client(cast.administrator).post(url(codec, "messages/"), desk(device=called))
        said = text(response)
        assert "The last messages of" in said
        body = response.content.decode()
        taken = re.findall(r'name="take" value="([^"]*)"', body)
        assert taken == [f"{number + 1}:{number:02X} AB" for number in range(11, 1, -1)]
        table = body.split('id="messages-head"')[1]
        cells = re.findall(r'<td class="right num">(\d+)</td>', table)
        assert [int(cell) for cell in cells[::2]] == [number * 2 for number in range(11, 1, -1)]

    def test_bytes_of_one_are_taken_over(self, cast: Cast, codec: Codec, device: Any) -> None:
        response = cast.client(cast.administrator).post(url(codec, "try/"), desk(take="9:08 AB", payload="x"))
        assert response.status_code == 200
        assert (value(response, "payload"), value(response, "fport")) == ("08 AB", "9")
        assert "level 16" in text(response)

    def test_each_message_says_what_is_wrong_with_it(self, cast: Cast, codec: Codec, device: Any) -> None:
        source = (
            "function decodeUplink(input) {\n"
            "  if (input.bytes[0] == 11) return { errors: ['eleven'] };\n"
            "  if (input.bytes[0] == 10) return input.no.such;\n"
            "  if (input.bytes[0] == 9) return { data: {} };\n"
            "  return { data: { level: 1 } };\n"
            "}\n"
        )
        said = text(
            cast.client(cast.administrator).post(url(codec, "messages/"), desk(source=source, device="House 1"))
        )
        assert "eleven" in said
        assert "No values" in said

    def test_device_of_another_project_is_none(self, cast: Cast, codec: Codec) -> None:
        theirs = factories.lora_device(cast.elsewhere, name="Theirs")
        client = cast.client(cast.administrator)
        for called, says in (
            ("Theirs", "no device of this name"),
            (theirs.identifier, "no device of this name"),
            ("", "Write a device"),
        ):
            response = client.post(url(codec, "messages/"), desk(device=called))
            assert response.status_code == 422
            assert says in text(response)
            assert source_in(response) == DOUBLE
        factories.lora_device(cast.project, name="Twin")
        factories.lora_device(cast.project, name="Twin")
        assert "More than one" in text(client.post(url(codec, "messages/"), desk(device="Twin")))

    def test_device_without_messages_and_of_another_kind(self, cast: Cast, codec: Codec) -> None:
        factories.lora_device(cast.project, name="Silent")
        factories.m2m_device(cast.project, name="Trailer")
        for name in ("Silent", "Trailer"):
            response = cast.client(cast.administrator).post(url(codec, "messages/"), desk(device=name))
            assert response.status_code == 200
            assert "Nothing is kept of this device" in text(response)

    def test_devices_with_the_codec_are_offered_else_lora_ones(self, cast: Cast, codec: Codec) -> None:
        device = factories.lora_device(cast.project, name="Any LoRa")
        factories.m2m_device(cast.project, name="Trailer")
        client = cast.client(cast.administrator)
        offered = re.findall(r'<option value="([^"]*)">', client.get(url(codec)).content.decode().split("<datalist")[1])
        assert offered == ["Any LoRa"]
        kind = DeviceType.objects.create(
            slug="tank", name="Tank", category=Category.OWN, connectivity=ConnectivityKind.LORA, codec=codec
        )
        factories.device(cast.project, "tank", name="Tank 1")
        offered = re.findall(r'<option value="([^"]*)">', client.get(url(codec)).content.decode().split("<datalist")[1])
        assert offered == ["Tank 1"]
        assert kind.pk != device.type_id


class TestKeep:
    def test_version_is_kept(self, cast: Cast, codec: Codec) -> None:
        client = cast.client(cast.administrator)
        response = client.post(url(codec, "keep/"), desk(note="Twice"))
        assert response["Location"] == url(codec)
        version = CodecVersion.objects.get(number=2)
        assert (version.source, version.note, version.created_by) == (DOUBLE, "Twice", cast.administrator)
        said = text(client.get(url(codec)))
        assert "Version 2 is kept." in said
        assert "Twice" in said
        assert "Put version 2 to use" in said

    def test_htmx_gets_the_next_number_to_begin_from(self, cast: Cast, codec: Codec) -> None:
        response = cast.client(cast.administrator).post(url(codec, "keep/"), desk(), **HTMX)
        assert response.status_code == 200
        assert value(response, "began") == "2"
        assert json.loads(response["HX-Trigger"])["toast"]["text"] == "Version 2 is kept."
        assert "data-changed" not in response.content.decode()

    def test_second_click_makes_no_second_version(self, cast: Cast, codec: Codec) -> None:
        client = cast.client(cast.administrator)
        for _again in range(2):
            assert client.post(url(codec, "keep/"), desk()).status_code == 302
        assert CodecVersion.objects.count() == 2
        assert "Version 2 has this text already." in text(client.get(url(codec)))

    def test_second_of_two_people_sees_both_and_decides(self, cast: Cast, codec: Codec) -> None:
        other = factories.member(cast.project, Role.ADMINISTRATOR, "other@example.com")
        cast.client(other).post(url(codec, "keep/"), desk())
        client = cast.client(cast.administrator)
        response = client.post(url(codec, "keep/"), desk(source=TRIPLE, note="Thrice"))
        assert response.status_code == 422
        said = text(response)
        assert "Version 2 was kept by other@example.com while you were writing." in said
        assert "return { data: { level: input.bytes[0] * 2 } };" in said
        assert source_in(response) == TRIPLE
        assert value(response, "note") == "Thrice"
        assert CodecVersion.objects.count() == 2
        carried = {name: value(response, name) for name in ("began", "told")}
        tried = client.post(url(codec, "try/"), desk(source=TRIPLE, **carried))
        assert tried.status_code == 200
        assert "Version 2 was kept by other@example.com" in text(tried)
        again = client.post(url(codec, "keep/"), desk(source=TRIPLE, **carried))
        assert again.status_code == 302
        assert CodecVersion.objects.get(number=3).source == TRIPLE

    def test_text_that_does_not_run_may_be_kept_and_is_told(self, cast: Cast, codec: Codec) -> None:
        client = cast.client(cast.administrator)
        client.post(url(codec, "keep/"), desk(source=BROKEN))
        assert "data-source-line" in client.get(url(codec)).content.decode()

    def test_too_much_is_refused(self, cast: Cast, codec: Codec) -> None:
        response = cast.client(cast.administrator).post(url(codec, "keep/"), desk(source="x" * 140_000))
        assert response.status_code == 422
        assert "The source has 137 KiB; a codec has 128 KiB at most." in text(response)
        assert CodecVersion.objects.count() == 1


class TestUse:
    def test_version_is_put_to_use_and_gone_back_from(self, cast: Cast, codec: Codec) -> None:
        double, triple = kept(codec), kept(codec, TRIPLE)
        client = cast.client(cast.administrator)
        response = client.post(url(codec, "use/"), desk(source=TRIPLE, version=3))
        assert response["Location"] == url(codec)
        assert fresh(codec).in_use == triple
        said = text(client.get(url(codec)))
        assert "Version 3 is in use." in said
        assert "Go back to it" in said
        client.post(url(codec, "use/"), desk(source=TRIPLE, version=2, in_use=triple.pk))
        assert fresh(codec).in_use == double

    def test_failing_case_keeps_it_from_use(self, cast: Cast, codec: Codec) -> None:
        kept(codec, TRIPLE)
        stored(codec)
        response = cast.client(cast.administrator).post(url(codec, "use/"), desk(version=2))
        assert response.status_code == 422
        said = text(response)
        assert "Version 2 is not put to use: 1 of 1 test cases does not pass with it." in said
        assert "Does not pass Five" in said
        assert '− "level": 10' in said.replace("gone ", "")
        assert '+ "level": 15' in said.replace("new ", "")
        assert source_in(response) == DOUBLE
        assert fresh(codec).in_use is None

    def test_who_saw_another_one_in_use_is_told(self, cast: Cast, codec: Codec) -> None:
        double = kept(codec, to_use=True)
        kept(codec, TRIPLE)
        response = cast.client(cast.administrator).post(url(codec, "use/"), desk(version=3))
        assert response.status_code == 422
        assert "somebody put another version to use meanwhile" in text(response)
        assert fresh(codec).in_use == double
        assert value(response, "in_use") == str(double.pk)

    @pytest.mark.parametrize("version", ["", "9", "x", "-1"])
    def test_version_that_is_not_there(self, cast: Cast, codec: Codec, version: str) -> None:
        response = cast.client(cast.administrator).post(url(codec, "use/"), desk(version=version))
        assert response.status_code == 422
        assert "There is no such version." in text(response)

    def test_unsaved_text_stays(self, cast: Cast, codec: Codec) -> None:
        kept(codec)
        response = cast.client(cast.administrator).post(url(codec, "use/"), desk(source=TRIPLE, version=2))
        assert response.status_code == 200
        assert source_in(response) == TRIPLE
        assert "Version 2 is in use." in text(response)


class TestCases:
    def test_what_was_tried_out_is_kept(self, cast: Cast, codec: Codec) -> None:
        client = cast.client(cast.administrator)
        tried = client.post(url(codec, "try/"), desk())
        names = ("tried_function", "tried_given", "tried_expected", "case_name")
        fields = desk(**{name: value(tried, name) for name in names})
        assert fields["case_name"] == "05 on FPort 1"
        response = client.post(url(codec, "cases/keep/"), fields)
        assert response.status_code == 200
        assert source_in(response) == DOUBLE
        said = text(response)
        assert "The test case 05 on FPort 1 is kept." in said
        assert "All pass" in said
        case = CodecCase.objects.get()
        assert case.given["bytes"] == "05"
        assert case.expected == {"data": {"level": 10}}
        client.post(url(codec, "cases/keep/"), fields)
        assert CodecCase.objects.count() == 1

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"case_name": " "}, "Give the test case a name"),
            ({"case_name": "Five"}, "There is a test case of this name already."),
            ({"tried_given": "{"}, "Try the codec out first"),
            ({"tried_function": "x"}, "Try the codec out first"),
            ({"tried_given": '{"bytes": "0", "fPort": 1}'}, "Try the codec out first"),
            ({"tried_expected": "[1]"}, "Write what is expected as a JSON object."),
        ],
    )
    def test_case_that_cannot_be_kept(self, cast: Cast, codec: Codec, changes: dict[str, str], says: str) -> None:
        stored(codec, level=1)
        fields = {
            "tried_function": "decodeUplink",
            "tried_given": '{"bytes": "05", "fPort": 1}',
            "tried_expected": '{"data": {"level": 10}}',
            "case_name": "New",
        }
        response = cast.client(cast.administrator).post(url(codec, "cases/keep/"), desk(**fields | changes))
        assert response.status_code == 422
        assert says in text(response)
        assert CodecCase.objects.count() == 1

    def test_case_is_written_by_hand(self, cast: Cast, codec: Codec) -> None:
        client = cast.client(cast.administrator)
        assert client.get(url(codec, "cases/add/")).status_code == 200
        fields = {
            "name": "Five",
            "function": "decodeUplink",
            "given": '{"bytes": [5], "fPort": 1}',
            "expected": '{"data": {"level": 10}}',
        }
        for field, wrong in (("given", "{"), ("given", "{}"), ("expected", "[]"), ("name", ""), ("function", "x")):
            response = client.post(url(codec, "cases/add/"), fields | {field: wrong})
            assert response.status_code == 422
            assert f'id="id_{field}_error"' in response.content.decode()
        assert client.post(url(codec, "cases/add/"), fields)["Location"] == url(codec)
        case = CodecCase.objects.get()
        assert (case.name, case.given) == ("Five", {"bytes": "05", "fPort": 1})

    def test_case_is_changed_and_removed(self, cast: Cast, codec: Codec) -> None:
        case = stored(codec)
        client = cast.client(cast.administrator)
        address = url(codec, f"cases/{case.pk}/")
        page = client.get(address)
        fields = {"name": "Six", "given": '{"bytes": "06", "fPort": 1}', "expected": '{"data": {"level": 12}}'}
        stale = fields | {"seen": value(page, "seen")}
        assert client.post(address, stale)["Location"] == url(codec)
        case.refresh_from_db()
        assert (case.name, case.function, case.expected) == ("Six", "decodeUplink", {"data": {"level": 12}})
        late = client.post(address, stale | {"name": "Seven"})
        assert late.status_code == 422
        assert "Somebody changed this test case meanwhile." in text(late)
        assert client.post(address, {"remove": "1"})["Location"] == url(codec)
        assert client.get(address).status_code == 404
        assert client.post(address, {"remove": "1"}).status_code == 404

    def test_case_of_another_codec_is_not_there(self, cast: Cast, codec: Codec) -> None:
        case = stored(made(cast, "Other"))
        client = cast.client(cast.administrator)
        assert client.get(url(codec, f"cases/{case.pk}/")).status_code == 404
        assert client.post(url(codec, f"cases/{case.pk}/"), {"remove": "1"}).status_code == 404
        assert CodecCase.objects.count() == 1


class TestRest:
    def test_difference_between_versions(self, cast: Cast, codec: Codec) -> None:
        kept(codec)
        kept(codec, TRIPLE)
        client = cast.client(cast.viewer)
        said = text(client.get(url(codec, "difference/")))
        assert "From version 2 to 3" in said
        assert "* 2 } };" in said
        assert "* 3 } };" in said
        assert "From version 1 to 3" in text(client.get(url(codec, "difference/?from=1&to=3")))
        for wrong in ("?from=x&to=9", "?from=99999999999999999999"):
            assert "From version 2 to 3" in text(client.get(url(codec, f"difference/{wrong}")))
        assert "The two are the same." in text(client.get(url(codec, "difference/?from=3&to=3")))
        assert client.post(url(codec, "difference/")).status_code == 405

    def test_rename(self, cast: Cast, codec: Codec) -> None:
        made(cast, "Tank")
        client = cast.client(cast.administrator)
        assert client.get(url(codec, "edit/")).status_code == 200
        response = client.post(url(codec, "edit/"), {"name": "tank"})
        assert response.status_code == 422
        assert 'id="id_name_error"' in response.content.decode()
        assert client.post(url(codec, "edit/"), {"name": "Depth"})["Location"] == url(codec)
        assert fresh(codec).name == "Depth"

    def test_delete_asks_and_refuses_what_is_used(self, cast: Cast, codec: Codec) -> None:
        kind = DeviceType.objects.create(
            slug="tank", name="Tank", category=Category.OWN, connectivity=ConnectivityKind.LORA, codec=codec
        )
        client: Client = cast.client(cast.administrator)
        assert "Give them another one first." in text(client.get(url(codec, "delete/")))
        response = client.post(url(codec, "delete/"))
        assert response.status_code == 422
        assert "The codec is used by Tank." in text(response)
        DeviceType.objects.filter(pk=kind.pk).update(codec=None)
        assert client.post(url(codec, "delete/"))["Location"] == "/codecs/"
        with scopes_disabled():
            assert not Codec.objects.exists()
        assert client.get(url(codec)).status_code == 404
