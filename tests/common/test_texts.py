"""Texts of templates come out as the framework's own tags would give them, in each language."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.template import Context, Engine
from django.utils import translation

from common.templatetags.texts import TextNode

FRAMEWORK = Engine(libraries={"i18n": "django.templatetags.i18n"})
OURS = Engine(libraries={"i18n": "common.templatetags.texts"})
TEXTS = [
    '{% translate "Device" %}',
    "{% translate 'Device' %}",
    '{% trans "Cancel" %}',
    '{% translate "Cancel" as word %}[{{ word }}|{{ word|upper }}]',
    '{% translate "100 % & <b>" %}',
    '{% translate "" %}.',
    '{% translate "Device"|upper %}',
    '{% translate "Device" noop %}',
    '{% translate "May" context "month" %}',
    "{% translate name %}",
    "{% translate missing %}.",
    "{% blocktranslate %}Times in {{ name }}{% endblocktranslate %}",
    "{% get_current_language as language %}{{ language }}",
]


@pytest.mark.parametrize("language", ["en", "nl"])
@pytest.mark.parametrize("text", TEXTS)
def test_same_as_the_framework(text: str, language: str) -> None:
    given = {"name": "<Cancel>"}
    with translation.override(language):
        rendered = [engine.from_string("{% load i18n %}" + text).render(Context(given)) for engine in (FRAMEWORK, OURS)]
    assert rendered[0] == rendered[1]


def test_plain_texts_are_taken_the_short_way() -> None:
    short = [len(OURS.from_string("{% load i18n %}" + text).nodelist.get_nodes_by_type(TextNode)) for text in TEXTS]
    assert short == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_one_compiled_template_speaks_the_language_of_each_person() -> None:
    template = OURS.from_string('{% load i18n %}{% translate "Cancel" %}')
    said = []
    for language in ("en", "nl", "en"):
        with translation.override(language):
            said.append(template.render(Context()))
    assert said == ["Cancel", "Annuleren", "Cancel"]


def test_templates_use_them() -> None:
    """One way to do it: a template that loads the framework's would be the slower one."""
    others = [
        path.name
        for path in (settings.BASE_DIR / "templates").rglob("*.html")
        if re.search(r"{% load [^%]*\bi18n\b", path.read_text())
    ]
    assert others == []
