"""Device types that a Project makes itself (T5): the list, the page of one, the form with its rows, removing."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from accounts.models import AuditEntry, Membership, Role
from devices import imports, services
from devices.errors import DeviceError
from devices.models import Category, Codec, CodecVersion, DeviceType
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
ADD = "/types/add/?connectivity=lora"
ENCODER = """
function encodeDownlink(input) {
  if (input.data.light === "never") return { errors: ["This device cannot be dark."] };
  return { bytes: [1, input.data.light === "on" ? 1 : 0], fPort: 15 };
}
"""


def text_of(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


def page(cast: Cast, url: str, person: str = "administrator", status: int = 200) -> str:
    response = cast.client(getattr(cast, person)).get(url)
    assert response.status_code == status
    return text_of(response)


def post(cast: Cast, url: str, data: dict[str, Any], *, person: str = "administrator", part: bool = False) -> Any:
    return cast.client(getattr(cast, person)).post(url, data, headers=HTMX if part else {})


def rows(kind: str, *those: dict[str, Any], start: int = 0) -> dict[str, Any]:
    """What a page sends for rows."""
    numbers = range(start, start + len(those))
    sent: dict[str, Any] = {kind: [str(number) for number in numbers]}
    for number, row in zip(numbers, those, strict=True):
        sent |= {f"{kind}-{number}-{name}": value for name, value in row.items()}
    return sent


COMMAND = {
    "name": "light",
    "label": "Light",
    "help": "On the pole.",
    "choices": "0; Off\n1; On; 07 FF",
    "by": "bytes",
    "fport": "11",
    "template": "01{value:u8}",
    "confirmed": "on",
}
CONTROL = {
    "name": "interval",
    "label": "Interval",
    "sort": "number",
    "unit": "min",
    "minimum": "1",
    "maximum": "600",
    "by": "bytes",
    "fport": "10",
    "template": "{value:u16}",
    "reported": "interval",
    "tolerance": "0.5",
    "wait": "1 h 30 min",
    "tries": "5",
    "give_up": "2 d",
}


def form(**changes: Any) -> dict[str, Any]:
    whole = {"name": "Pole light", "description": "Along the road.", "key_source": "customer", "raw": "on"}
    whole |= {"decoders": ["thingsml-lora", "raw-lora"]}
    whole |= rows("measurements", {"name": "current", "unit": "A"}, {"name": "interval", "unit": "min"})
    return whole | rows("commands", COMMAND) | rows("controls", CONTROL) | changes


def made() -> DeviceType:
    return DeviceType.objects.get(project__isnull=False)


def codec(cast: Cast, *, in_use: bool = True, project: Any = "own") -> Codec:
    with scopes_disabled():
        found = Codec.objects.create(project=cast.project if project == "own" else project, name="Pole codec")
        if in_use:
            found.in_use = CodecVersion.objects.create(codec=found, number=1, source=ENCODER)
            found.save()
    return found


# --- who gets in ---


@pytest.mark.parametrize(
    ("rest", "viewer", "operator", "administrator"),
    [("", 200, 200, 200), ("edit/", 403, 403, 200), ("remove/", 403, 403, 200)],
)
def test_who_sees_the_pages_of_a_type(cast: Cast, rest: str, viewer: int, operator: int, administrator: int) -> None:
    kind = factories.own_type(cast.project, "Ours")
    for person, status in (("viewer", viewer), ("operator", operator), ("administrator", administrator)):
        page(cast, f"/types/{kind.pk}/{rest}", person, status)
    assert "Ours" not in page(cast, f"/types/{kind.pk}/{rest}", "stranger", 404)


@pytest.mark.parametrize("person", ["viewer", "operator"])
def test_only_administrators_change_types_and_others_see_no_control(cast: Cast, person: str) -> None:
    kind = factories.own_type(cast.project, "Ours")
    for url in (ADD, f"/types/{kind.pk}/edit/", f"/types/{kind.pk}/offer/", f"/types/{kind.pk}/remove/"):
        assert post(cast, url, form(), person=person).status_code == 403
    assert (made().name, made().addable) == ("Ours", True)
    for url in ("/types/", f"/types/{kind.pk}/"):
        found = page(cast, url, person)
        for control in ("/types/add/", "/edit/", "/offer/", "/remove/"):
            assert f"{control}" not in found


@pytest.mark.parametrize("rest", ["edit/", "offer/", "remove/"])
def test_stranger_changes_nothing(cast: Cast, rest: str) -> None:
    kind = factories.own_type(cast.project, "Ours")
    assert post(cast, f"/types/{kind.pk}/{rest}", form(), person="stranger").status_code == 404
    assert made().name == "Ours"


@pytest.mark.parametrize(("rest", "method"), [("", "post"), ("edit/", "put"), ("offer/", "get"), ("remove/", "delete")])
def test_other_methods_are_refused(cast: Cast, rest: str, method: str) -> None:
    kind = factories.own_type(cast.project)
    assert getattr(cast.client(cast.administrator), method)(f"/types/{kind.pk}/{rest}").status_code == 405


def test_types_of_the_portal_are_looked_at_and_not_changed_here(cast: Cast) -> None:
    portal = DeviceType.objects.get(slug="own-lora")
    found = page(cast, f"/types/{portal.pk}/")
    assert portal.name in found
    assert "/edit/" not in found
    for rest in ("edit/", "offer/", "remove/"):
        assert post(cast, f"/types/{portal.pk}/{rest}", form()).status_code == 404


def test_managed_type_is_known_to_those_who_have_devices_of_it(cast: Cast) -> None:
    kind = DeviceType.objects.get(slug="kpn-filltag")
    page(cast, f"/types/{kind.pk}/", status=404)
    factories.device(cast.elsewhere, kind.slug)
    page(cast, f"/types/{kind.pk}/", status=404)
    factories.device(cast.project, kind.slug)
    found = page(cast, f"/types/{kind.pk}/", "viewer")
    assert "Managed by KPN" in found
    assert "count_LidOpen" in found
    assert f'href="/devices/?type={kind.pk}">1 device<' in found
    assert "FillTag" in page(cast, "/types/")
    factories.device(cast.elsewhere, kind.slug)
    assert ">1 device<" in page(cast, f"/types/{kind.pk}/"), "the others' are not counted"


# --- an own type is its Project's alone ---


def test_own_type_is_offered_in_its_project_only(cast: Cast) -> None:
    kind = factories.own_type(cast.project, "Secret prototype")
    assert "Secret prototype" in page(cast, "/devices/add/", "operator")
    assert "Secret prototype" in page(cast, f"/devices/import/?project={cast.project.pk}", "operator")
    for url in ("/devices/add/", "/devices/import/", "/devices/", f"/devices/?type={kind.pk}", "/types/"):
        assert "Secret prototype" not in page(cast, url, "stranger"), url
    with scopes_disabled():
        facts: dict[str, Any] = {"device_type": kind, "actor": cast.stranger}
        with pytest.raises(DeviceError):
            services.add_device(project=cast.elsewhere, name="A", **facts)
        with pytest.raises(DeviceError):
            services.add_device(project=cast.elsewhere, name="A", by_support=True, **facts)
        with pytest.raises(DeviceError):
            imports.upload(project=cast.elsewhere, name="a.csv", content=b"Name\nA\n", **facts)
        assert services.add_device(project=cast.project, device_type=kind, name="A", actor=cast.operator).pk


def test_person_of_two_projects_is_offered_it_in_one(cast: Cast) -> None:
    factories.own_type(cast.project, "Prototype")
    Membership.objects.create(user=cast.administrator, project=cast.elsewhere, role=Role.ADMINISTRATOR)
    assert "Prototype" in page(cast, f"/devices/add/?project={cast.project.pk}")
    assert "Prototype" not in page(cast, f"/devices/add/?project={cast.elsewhere.pk}")


def test_list_costs_the_same_for_two_and_for_twenty(cast: Cast) -> None:
    client, counts = cast.client(cast.viewer), []
    for number in (2, 18):
        for _each in range(number):
            factories.own_type(cast.project, codec=codec_of(cast))
        with CaptureQueriesContext(connection) as queries:
            client.get("/types/")
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6


def codec_of(cast: Cast) -> Codec:
    with scopes_disabled():
        return Codec.objects.get_or_create(project=cast.project, name="One")[0]


# --- making one ---


def test_first_it_is_asked_what_for(cast: Cast) -> None:
    found = page(cast, "/types/add/")
    assert re.findall(r'name="connectivity" value="(\w+)"', found) == ["lora", "m2m", "internet"]
    assert 'name="project"' not in found, "there is one"
    Membership.objects.create(user=cast.administrator, project=cast.elsewhere, role=Role.ADMINISTRATOR)
    assert 'name="project"' in page(cast, "/types/add/")
    assert "Choose a Project" in page(cast, "/types/add/?connectivity=lora", status=422)


def test_connectivity_that_was_not_bought_makes_no_type(cast: Cast) -> None:
    """P3: a Project without M2M in its subscription cannot go round it by a type of its own."""
    small = factories.project("Small", subscription="freemium")
    cast_of = factories.member(small, Role.ADMINISTRATOR, "small@example.com")
    client = cast.client(cast_of)
    assert 'value="m2m"' not in text_of(client.get("/types/add/"))
    assert client.get("/types/add/?connectivity=m2m").status_code == 422
    assert client.post("/types/add/?connectivity=m2m", form()).status_code == 422
    assert not DeviceType.objects.filter(project=small).exists()


def test_type_is_made_with_all_that_the_form_says(cast: Cast) -> None:
    response = post(cast, ADD, form())
    kind = made()
    assert response["Location"] == f"/types/{kind.pk}/"
    assert (kind.name, kind.category, kind.project_id, kind.addable) == (
        "Pole light",
        Category.OWN,
        cast.project.pk,
        True,
    )
    assert kind.decoders == ["thingsml-lora", "raw-lora"]
    assert kind.encoders == ["raw-lora", "commands"]
    assert kind.measurements == [{"name": "current", "unit": "A"}, {"name": "interval", "unit": "min"}]
    way = {"by": "bytes", "fport": 11, "confirmed": True, "template": "01{value:u8}"}
    choices = [{"value": 0, "label": "Off"}, {"value": 1, "label": "On", "bytes": "07 FF"}]
    assert kind.commands == [
        {"name": "light", "label": "Light", "help": "On the pole.", "choices": choices, "way": way}
    ]
    (control,) = kind.controls
    assert control["way"] == {"by": "bytes", "fport": 10, "confirmed": False, "template": "{value:u16}"}
    assert {key: control[key] for key in ("kind", "minimum", "maximum", "tolerance", "reported", "tries")} == {
        "kind": "number",
        "minimum": 1.0,
        "maximum": 600.0,
        "tolerance": 0.5,
        "reported": "interval",
        "tries": 5,
    }
    assert (control["wait_seconds"], control["give_up_seconds"]) == (5400, 172800)
    with scopes_disabled():
        assert AuditEntry.objects.get(action="type.added").after["name"] == "Pole light"
    found = page(cast, f"/types/{kind.pk}/", "viewer")
    for said in ("Light", "On", "FPort 10", "1 – 600</span> min", "Waits 1 h 30 min, sends 5 times", "current"):
        assert said in found


def test_saved_type_opens_in_its_form_as_it_was_written(cast: Cast) -> None:
    post(cast, ADD, form())
    kind = made()
    found = page(cast, f"/types/{kind.pk}/edit/")
    assert "0; Off\n1; On; 07 FF" in found
    for name, value in (("controls-0-wait", "1 h 30 min"), ("controls-0-template", "{value:u16}")):
        assert re.search(rf'name="{name}" value="{re.escape(value)}"', found)
    before = (kind.commands, kind.controls, kind.measurements)
    assert post(cast, f"/types/{kind.pk}/edit/", form(version="1")).status_code == 302
    kind = made()
    assert (kind.commands, kind.controls, kind.measurements) == before
    assert kind.version == 1, "nothing was changed"


def test_type_for_devices_that_speak_senml(cast: Cast) -> None:
    data = {"name": "Station", "raw": "on"}
    data |= rows("controls", {"name": "mode", "sort": "enum", "choices": 'day\n"1"; One\ntrue; Yes'})
    assert post(cast, "/types/add/?connectivity=internet", data).status_code == 302
    kind = made()
    assert (kind.decoders, kind.encoders) == (["senml"], ["raw-senml", "commands"])
    (control,) = kind.controls
    assert control["way"] == {"by": "senml"}
    assert [each["value"] for each in control["choices"]] == ["day", "1", True]
    assert '"1"; One' in page(cast, f"/types/{kind.pk}/edit/")


# --- what cannot be ---


def field_of(found: str, name: str) -> str:
    match = re.search(rf'<div class="field">(?:(?!class="field").)*name="{name}".*?</div>\s*</div>', found, re.DOTALL)
    assert match, name
    return match[0]


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"name": ""}, "name", "This field is required"),
        ({"measurements-0-name": "interval"}, "measurements-1-name", "Each name can stand once."),
        ({"measurements-0-unit": "x" * 21}, "measurements-0-unit", "at most 20 characters"),
        ({"commands-0-fport": "224"}, "commands-0-fport", "less than or equal to 223"),
        ({"commands-0-fport": ""}, "commands-0-fport", "The FPort is a number from 1 to 223."),
        ({"commands-0-template": "0G"}, "commands-0-template", "two hexadecimal digits"),
        ({"commands-0-choices": "1; a; 00; x"}, "commands-0-choices", "more than value, label and bytes"),
        ({"commands-0-choices": "1\n1"}, "commands-0-choices", "Each value can stand once."),
        ({"commands-0-by": "codec"}, "commands-0-choices", "Bytes of a value belong to fixed bytes."),
        ({"commands-0-by": "codec", "commands-0-choices": "1"}, "commands-0-by", "Choose a codec for the type first."),
        ({"controls-0-maximum": "0"}, "controls-0-minimum", "smallest value is larger"),
        ({"controls-0-maximum": "70000"}, "controls-0-by", "70000 does not fit in its bytes."),
        ({"controls-0-sort": "enum"}, "controls-0-choices", "Write the values that can be chosen."),
        ({"controls-0-wait": "soon"}, "controls-0-wait", "Write a time such as"),
        ({"controls-0-wait": "5 s"}, "controls-0-wait", "A whole number from 10"),
        ({"controls-0-tries": "21"}, "controls-0-tries", "less than or equal to 20"),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_errors_stand_beside_their_field_and_nothing_is_lost(
    cast: Cast, changes: dict[str, str], field: str, says: str, part: bool
) -> None:
    sent = form(**changes)
    response = post(cast, ADD, sent, part=part)
    assert response.status_code == 422
    found = text_of(response)
    assert says in (field_of(found, field) if field != "controls-0-by" or "fit" not in says else found)
    assert not DeviceType.objects.filter(project__isnull=False).exists()
    for name in ("description", "commands-0-choices", "controls-0-give_up"):
        assert sent[name].replace("\r", "") in found
    assert found.lstrip().startswith("<form") == part


def test_name_stands_once_in_a_project(cast: Cast) -> None:
    factories.own_type(cast.project, "POLE LIGHT")
    response = post(cast, ADD, form())
    assert response.status_code == 422
    assert "has a device type of this name already" in field_of(text_of(response), "name")
    DeviceType.objects.filter(project__isnull=False).update(project=cast.elsewhere)
    assert post(cast, ADD, form()).status_code == 302, "another Project's name is nobody's business"


@pytest.mark.parametrize("chosen", ["theirs", "portal"])
def test_codec_of_somebody_else_is_no_choice(cast: Cast, chosen: str) -> None:
    other = codec(cast, project=cast.elsewhere if chosen == "theirs" else None)
    assert "Pole codec" not in page(cast, ADD)
    assert post(cast, ADD, form(codec=str(other.pk))).status_code == 422


# --- rows come and go, with all that is typed ---


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize(
    ("change", "kind", "numbers"),
    [
        ("add-measurements", "measurements", ["0", "1", "2"]),
        ("remove-measurements-0", "measurements", ["1"]),
        ("add-commands", "commands", ["0", "1"]),
        ("remove-controls-0", "controls", []),
        ("remove-controls-9", "controls", ["0"]),
        ("add-nonsense", "controls", ["0"]),
        ("", "commands", ["0"]),
    ],
)
def test_button_adds_or_takes_away_a_row_and_keeps_the_rest(
    cast: Cast, change: str, kind: str, numbers: list[str], part: bool
) -> None:
    response = post(cast, ADD, form(change=change, name="", **{"measurements-1-unit": "wrong" * 9}), part=part)
    assert response.status_code == 200
    found = text_of(response)
    assert re.findall(rf'name="{kind}" value="(\d+)"', found) == numbers
    assert "errorlist" not in found, "nothing is looked at yet"
    assert "wrong" * 9 in found
    assert "1; On; 07 FF" in found
    assert re.search(r'name="commands-0-confirmed"[^>]* checked', found)
    assert re.search(r'value="raw-lora"[^>]* checked', found)
    assert not DeviceType.objects.filter(project__isnull=False).exists()


def test_new_row_has_the_focus_and_a_number_of_its_own(cast: Cast) -> None:
    sent = form() | rows("commands", COMMAND, start=4) | {"change": "add-commands"}
    found = text_of(post(cast, ADD, sent, part=True))
    assert re.findall(r'name="commands" value="(\d+)"', found) == ["4", "5"]
    assert re.search(r'name="commands-5-name"[^>]* autofocus', found)
    assert found.count(" autofocus") == 1


def test_rows_have_a_limit(cast: Cast) -> None:
    sent = form() | rows("commands", *[COMMAND] * 45) | {"change": "add-commands"}
    found = text_of(post(cast, ADD, sent))
    assert len(re.findall(r'name="commands" value="\d+"', found)) == 40


# --- what is sent ---


def sent_lines(found: str) -> list[str]:
    lines = re.findall(r'<div class="sent-line">(.*?)</div>', found, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", line).split()) for line in lines]


@pytest.mark.parametrize("part", [False, True])
def test_bytes_of_each_value_are_shown_before_it_is_saved(cast: Cast, part: bool) -> None:
    found = text_of(post(cast, ADD, form(change="show-commands-0", name=""), part=part))
    assert sent_lines(found) == ["Off FPort 11 confirmed 01 00", "On FPort 11 confirmed 07 FF"]
    assert "errorlist" not in found
    again = text_of(post(cast, ADD, form(change="add-controls", **{"commands-0-show": "1"}), part=part))
    assert sent_lines(again) == sent_lines(found), "what is shown stays so"


def test_value_of_a_control_is_tried(cast: Cast) -> None:
    found = text_of(post(cast, ADD, form(change="show-controls-0", **{"controls-0-sample": "15"})))
    assert sent_lines(found) == ["15 FPort 10 00 0F", "1 FPort 10 00 01", "600 FPort 10 02 58"]
    found = text_of(post(cast, ADD, form(change="show-controls-0", **{"controls-0-sample": "601"})))
    assert "600 at most." in field_of(found, "controls-0-sample")


def test_row_that_cannot_be_shown_says_why(cast: Cast) -> None:
    found = text_of(post(cast, ADD, form(change="show-commands-0", **{"commands-0-template": "0G"})))
    assert "two hexadecimal digits" in field_of(found, "commands-0-template")
    assert found.count("errorlist") == 1, "the others are not looked at"


def test_codec_is_asked_what_it_sends(cast: Cast) -> None:
    made_codec = codec(cast)
    by_codec = {"name": "light", "by": "codec", "choices": "on; On\nnever; Never"}
    sent = form(codec=str(made_codec.pk), change="show-commands-7") | rows("commands", by_codec, start=7)
    assert sent_lines(text_of(post(cast, ADD, sent))) == [
        "On FPort 15 01 01",
        "Never The codec refuses: This device cannot be dark.",
    ]
    sent.pop("change")
    assert post(cast, ADD, sent).status_code == 302
    assert made().codec_id == made_codec.pk


def test_codec_without_a_version_in_use_is_said(cast: Cast) -> None:
    made_codec = codec(cast, in_use=False)
    sent = form(codec=str(made_codec.pk), change="show-commands-7")
    sent |= rows("commands", {"name": "light", "by": "codec"}, start=7)
    found = text_of(post(cast, ADD, sent))
    assert sent_lines(found) == ["light The codec of this device type has no version in use."]


# --- changing ---


def test_change_says_how_many_devices_it_touches_and_is_recorded(cast: Cast) -> None:
    kind = factories.own_type(cast.project, "Ours")
    for _each in range(3):
        factories.device(cast.project, kind.slug)
    assert "3 devices are of this type." in page(cast, f"/types/{kind.pk}/edit/")
    assert post(cast, f"/types/{kind.pk}/edit/", form(version="1")).status_code == 302
    kind = made()
    assert (kind.name, kind.version, kind.connectivity) == ("Pole light", 2, "lora")
    with scopes_disabled():
        entry = AuditEntry.objects.get(action="type.changed")
    assert (entry.before["name"], entry.after["name"]) == ("Ours", "Pole light")
    assert "connectivity" not in entry.after


def test_second_of_two_editors_is_told_and_decides(cast: Cast) -> None:
    kind = factories.own_type(cast.project, "Ours")
    url = f"/types/{kind.pk}/edit/"
    assert 'name="version" value="1"' in page(cast, url)
    assert post(cast, url, form(version="1", name="First")).status_code == 302
    response = post(cast, url, form(version="1", name="Second"))
    assert response.status_code == 422
    found = text_of(response)
    assert "Somebody has changed this type since you opened it." in found
    assert 'value="Second"' in found
    assert made().name == "First"
    assert 'name="version" value="2"' in found
    assert post(cast, url, form(version="2", name="Second")).status_code == 302
    assert made().name == "Second"


@pytest.mark.parametrize("version", ["", "x", "99999999999999999999", "-1"])
def test_version_that_makes_no_sense_changes_nothing(cast: Cast, version: str) -> None:
    kind = factories.own_type(cast.project, "Ours")
    assert post(cast, f"/types/{kind.pk}/edit/", form(version=version)).status_code == 422
    assert made().name == "Ours"


# --- withdrawing, removing ---


def test_withdrawn_type_keeps_its_devices_and_takes_no_new_ones(cast: Cast) -> None:
    kind = factories.own_type(cast.project, "Ours")
    factories.device(cast.project, kind.slug)
    url = f"/types/{kind.pk}/offer/"
    assert post(cast, url, {"addable": "0"}).status_code == 302
    assert "Ours" not in page(cast, "/devices/add/")
    assert "Withdrawn" in page(cast, f"/types/{kind.pk}/")
    response = cast.client(cast.administrator).post(url, {"addable": "0"}, follow=True)
    assert "somebody else was first" in text_of(response)
    post(cast, url, {"addable": "1"})
    assert "Ours" in page(cast, "/devices/add/")
    with scopes_disabled():
        actions = AuditEntry.objects.filter(action__startswith="type.").order_by("pk").values_list("action", flat=True)
        assert list(actions) == ["type.withdrawn", "type.offered"]


def test_type_without_devices_is_removed(cast: Cast) -> None:
    kind = factories.own_type(cast.project, "Ours")
    assert "Ours has no devices" in page(cast, f"/types/{kind.pk}/remove/")
    response = cast.client(cast.administrator).post(f"/types/{kind.pk}/remove/", follow=True)
    assert "The device type Ours is removed." in text_of(response)
    assert not DeviceType.objects.filter(pk=kind.pk).exists()
    with scopes_disabled():
        assert AuditEntry.objects.get(action="type.removed").target == "Ours"


def test_type_with_devices_stays(cast: Cast) -> None:
    kind = factories.own_type(cast.project, "Ours")
    factories.device(cast.project, kind.slug)
    assert "/remove/" not in page(cast, f"/types/{kind.pk}/")
    assert "There are devices of this type." in page(cast, f"/types/{kind.pk}/remove/")
    response = cast.client(cast.administrator).post(f"/types/{kind.pk}/remove/", follow=True)
    assert "Withdraw it instead" in text_of(response)
    assert made().pk == kind.pk
