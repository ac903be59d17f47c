"""Y2: every text has its Dutch, with the same placeholders, and the pages are shown in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils.translation.template import templatize
from django_scopes import scopes_disabled

from tests import factories
from tests.cast import Cast
from things_portal.management.commands.translations import CONTEXT, PLURAL, mo_bytes, read_po

PO = Path(settings.LOCALE_PATHS[0]) / "nl" / "LC_MESSAGES" / "django.po"
APPS = ["things_portal", "api", "ingest", "twin", "downlinks", "lora", "m2m", "internet", "devices", "flows"]
APPS += ["accounts", "codec", "common"]
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w+\}|</?\w+>")
LITERAL = r"""u?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
CALL = re.compile(rf"\b(n?p?gettext|pgettext|_)\(\s*{LITERAL}(?:\s*,\s*{LITERAL})?")


def key(call: str, texts: list[str]) -> str:
    """The key in the catalogue of a call such as ``ngettext`` with its literal arguments."""
    name = call.removesuffix("_lazy")
    if name == "ngettext":
        return texts[0] + PLURAL + texts[1]
    return texts[0] + CONTEXT + texts[1] if name == "pgettext" else texts[0]


def texts_of_python(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
        literals = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if re.fullmatch(r"_|[np]?gettext(_lazy)?", name) and literals:
            yield key(name, literals)


def texts_of_template(source: str) -> Iterator[str]:
    for call in CALL.finditer(templatize(source)):
        yield key(call[1], [ast.literal_eval(text) for text in call.groups()[1:] if text])


def texts_of_the_code() -> set[str]:
    root = Path(settings.BASE_DIR)
    python = {
        text
        for app in APPS
        for path in (root / app).rglob("*.py")
        if "migrations" not in path.parts
        for text in texts_of_python(path.read_text())
    }
    return python | {
        text for path in (root / "templates").rglob("*.html") for text in texts_of_template(path.read_text())
    }


@pytest.fixture(scope="module")
def dutch() -> dict[str, str]:
    return read_po(PO.read_text(encoding="utf-8"))


def test_every_text_of_the_code_has_its_dutch(dutch: dict[str, str]) -> None:
    found = texts_of_the_code()
    assert len(found) > 600
    assert sorted(found - dutch.keys()) == [], (
        "add them to django.po (makemessages -l nl --no-location), then `manage.py translations`"
    )


def test_compiled_texts_are_those_of_the_po(dutch: dict[str, str]) -> None:
    assert PO.with_suffix(".mo").read_bytes() == mo_bytes(dutch), "run `manage.py translations`"


def test_placeholders_are_kept_in_every_form(dutch: dict[str, str]) -> None:
    for original, translated in dutch.items():
        wanted = sorted(PLACEHOLDER.findall(original.split(PLURAL)[-1]))
        for form in translated.split(PLURAL) if original else []:
            assert sorted(PLACEHOLDER.findall(form)) == wanted, original


def test_fuzzy_and_empty_entries_do_not_count() -> None:
    assert read_po('#, fuzzy\nmsgid "a"\nmsgstr "b"\n\nmsgid "c"\nmsgstr ""\n\nmsgid "d"\nmsgstr "e"\n') == {"d": "e"}


def test_sign_in_is_dutch_for_a_dutch_browser(client: Client, db: None) -> None:
    page = client.get("/account/sign-in/", headers={"accept-language": "nl"}).content.decode()
    assert "Inloggen" in page
    assert "Sign in" not in page


def test_pages_are_dutch_for_a_dutch_person(cast: Cast) -> None:
    cast.viewer.language = "nl"
    cast.viewer.save(update_fields=["language"])
    page = cast.client(cast.viewer).get("/devices/").content.decode()
    assert "Apparaten" in page
    assert "Uitloggen" in page
    assert "Sign out" not in page


@pytest.mark.parametrize("tab", ["device/", "flows/"])
def test_tabs_of_a_device_are_dutch(cast: Cast, tab: str) -> None:
    cast.operator.language = "nl"
    cast.operator.save(update_fields=["language"])
    with scopes_disabled():
        device = factories.internet_device(cast.project)
    page = cast.client(cast.operator).get(f"/devices/{device.pk}/{tab}").content.decode()
    assert "Apparaat" in page
    assert "Preferences" not in page
