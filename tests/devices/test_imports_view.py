"""The pages of devices from a file (D12): who may, what is said in words, nothing secret shown."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django_scopes import scopes_disabled

from devices import import_runner
from devices.import_file import read
from devices.models import Device, DeviceType, ImportFile, ImportState
from tests.cast import Cast

URL = "/devices/import/"
KEY = "2B7E151628AED2A6ABF7158809CF4F3C"
ROWS = f"Name,DevEUI,AppEUI,AppKey\nA,70B3D57ED0000001,70B3D57ED0000001,{KEY}\nB,xyz,70B3D57ED0000001,{KEY}\n"


def kind(slug: str = "own-lora-preset") -> int:
    return DeviceType.objects.get(slug=slug).pk


def send(client: Client, text: str = ROWS, slug: str = "own-lora-preset", **changes: Any) -> Any:
    file = SimpleUploadedFile("probes.csv", text.encode())
    return client.post(URL, {"device_type": kind(slug), "file": file, **changes})


def only() -> ImportFile:
    with scopes_disabled():
        return ImportFile.objects.get()


def names() -> list[str]:
    with scopes_disabled():
        return list(Device.objects.order_by("name").values_list("name", flat=True))


def columns(*keys: str) -> dict[str, str]:
    return {f"column-{index}": key for index, key in enumerate(keys)}


LORA = columns("name", "dev_eui", "app_eui", "app_key")


def test_file_is_sent_mapped_checked_and_added(cast: Cast) -> None:
    client = cast.client(cast.operator)
    response = send(client)
    made = only()
    page = f"{URL}{made.pk}/"
    assert response["Location"] == f"{page}columns/"
    html = client.get(f"{page}columns/").content.decode()
    assert html.count(" selected>") == 4
    assert KEY not in html
    assert client.post(f"{page}columns/", LORA)["Location"] == page
    html = client.get(page).content.decode()
    assert "Add 1 device<" in html
    assert "DevEUI has 16 hexadecimal digits" in html or "Only the digits" in html
    assert html.index("xyz") < html.index(">A<")
    assert KEY not in html
    assert names() == []
    client.post(f"{page}add/", {"count": 1})
    assert names() == []
    import_runner.run(made.pk)
    html = client.get(page).content.decode()
    assert "1 device was added." in html
    assert "Not added" in html
    assert names() == ["A"]
    refused = client.get(f"{page}refused/")
    assert read(refused.content).rows[0][1][0] == "B"


def test_missing_fields_are_said_in_words(cast: Cast) -> None:
    client = cast.client(cast.operator)
    send(client)
    response = client.post(f"{URL}{only().pk}/columns/", columns("", "dev_eui", "dev_eui", "app_key"))
    html = response.content.decode()
    assert response.status_code == 422
    assert "No column is chosen for Name, which every device needs." in html
    assert "No column is chosen for AppEUI" in html
    assert "DevEUI is chosen for another column already." in html
    assert only().state == ImportState.UPLOADED


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        ("Name\n", {}, "There are no rows"),
        ('Name\n"A', {}, "Row 2 (line 2)"),
        (ROWS, {"device_type": ""}, "This field is required"),
        (ROWS, {"file": ""}, "This field is required"),
    ],
)
def test_file_that_is_refused_is_told_beside_the_field(
    cast: Cast, text: str, changes: dict[str, str], sentence: str
) -> None:
    response = send(cast.client(cast.operator), text, **changes)
    assert response.status_code == 422
    assert sentence in response.content.decode()
    with scopes_disabled():
        assert not ImportFile.objects.exists()


def test_number_on_the_button_must_be_true(cast: Cast) -> None:
    client = cast.client(cast.operator)
    send(client)
    page = f"{URL}{only().pk}/"
    client.post(f"{page}columns/", LORA)
    for count in ("2", "", "x"):
        html = client.post(f"{page}add/", {"count": count}, follow=True).content.decode()
        assert "Nothing was added: 1 rows are ready now." in html
    assert only().state == ImportState.CHECKED


def test_secrets_are_downloaded_once(cast: Cast) -> None:
    client = cast.client(cast.operator)
    send(client, "Name\nA\n", "own-lora")
    page = f"{URL}{only().pk}/"
    client.post(f"{page}columns/", columns("name"))
    client.post(f"{page}add/", {"count": 1})
    import_runner.run(only().pk)
    assert "Download keys and secrets once" in client.get(page).content.decode()
    first = client.post(f"{page}secrets/")
    assert first["Cache-Control"] == "no-store"
    assert len(read(first.content).rows) == 1
    assert client.post(f"{page}secrets/")["Location"] == page
    assert "Download keys and secrets once" not in client.get(page).content.decode()


def test_rows_are_filtered_and_paged(cast: Cast) -> None:
    client = cast.client(cast.operator)
    send(client, "Name\n" + "".join(f"Probe {number}\n" for number in range(60)) + "x" * 101, "own-lora")
    page = f"{URL}{only().pk}/"
    client.post(f"{page}columns/", columns("name"))
    assert "1–50 of 61 rows" in client.get(page).content.decode()
    assert "51–60 of 60 rows" in client.get(page, {"show": "ready", "page": 2}).content.decode()
    part = client.get(page, {"show": "errors"}, headers={"HX-Request": "true"}).content.decode()
    assert part.strip().startswith('<div id="import-file"')
    assert "1–1 of 1 rows" in part


def test_template_has_the_columns_of_the_type(cast: Cast) -> None:
    response = cast.client(cast.operator).get(f"{URL}template.csv", {"type": kind()})
    assert response.content == b"\xef\xbb\xbfName,Barcode,Description,DevEUI,AppEUI,AppKey\r\n"
    assert cast.client(cast.operator).get(f"{URL}template.csv", {"type": 0}).status_code == 404


def test_htmx_gets_the_type_with_its_template(cast: Cast) -> None:
    response = cast.client(cast.operator).get(URL, {"device_type": kind("own-m2m")}, headers={"HX-Request": "true"})
    html = response.content.decode()
    assert html.strip().startswith('<div id="import-type">')
    assert f"template.csv?type={kind('own-m2m')}" in html
    assert f'<option value="{kind("own-m2m")}" selected>' in html


def test_strangers_and_read_only_accounts_are_refused(cast: Cast) -> None:
    send(cast.client(cast.operator))
    for path in ("", "columns/", "refused/"):
        assert cast.client(cast.stranger).get(f"{URL}{only().pk}/{path}").status_code == 404
        assert cast.client(cast.viewer).get(f"{URL}{only().pk}/{path}").status_code == 403
    for path in ("add/", "secrets/", "discard/", "columns/"):
        assert cast.client(cast.stranger).post(f"{URL}{only().pk}/{path}").status_code == 404
        assert cast.client(cast.viewer).post(f"{URL}{only().pk}/{path}").status_code == 403
    assert send(cast.client(cast.viewer)).status_code == 403
    assert len(names()) == 0


def test_file_is_dropped_on_request(cast: Cast) -> None:
    client = cast.client(cast.operator)
    send(client)
    page = f"{URL}{only().pk}/"
    client.post(f"{page}columns/", LORA)
    assert client.post(f"{page}discard/")["Location"] == URL
    assert client.get(page).status_code == 404
