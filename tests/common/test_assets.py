"""Addresses of assets come out as the framework's own tag gives them, and are found when the template is read."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.template import Context, Engine
from django.template.base import TextNode

FRAMEWORK = Engine(libraries={"assets": "django.templatetags.static"})
OURS = Engine(libraries={"assets": "common.templatetags.assets"})


@pytest.mark.parametrize(
    "text",
    [
        "{% static 'a.css' %}",
        "{% static 'a & b.css' %}",
        "{% static name %}",
        "{% static 'A.CSS'|lower %}",
        "{% static 'a.css' as address %}[{{ address }}]",
    ],
)
def test_same_as_the_framework(text: str) -> None:
    rendered = [
        engine.from_string("{% load assets %}" + text).render(Context({"name": "<b>.css"}))
        for engine in (FRAMEWORK, OURS)
    ]
    assert "css" in rendered[0]
    assert rendered[0] == rendered[1]


def test_constant_address_is_text() -> None:
    nodes = OURS.from_string("{% load assets %}{% static 'a.css' %}").nodelist
    assert type(nodes[-1]) is TextNode


def test_templates_use_it() -> None:
    """One way to do it: a template that loads the framework's would be the slower one."""
    others = [
        path.name
        for path in (settings.BASE_DIR / "templates").rglob("*.html")
        if re.search(r"{% load [^%]*\bstatic\b", path.read_text())
    ]
    assert others == []
