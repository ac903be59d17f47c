"""Addresses come out as the framework would make them, for every page of the portal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.template import Context, Engine
from django.template.defaulttags import URLNode
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from common import addresses
from common.addresses import MARK, address
from common.templatetags.addresses import AddressNode

FRAMEWORK = Engine()
OURS = Engine(builtins=["common.templatetags.addresses"])


def pages(resolver: Any = None, space: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and arguments of each page of the portal, made up."""
    for one in (resolver or get_resolver()).url_patterns:
        if isinstance(one, URLResolver):
            if one.namespace != "admin":
                yield from pages(one, f"{space}{one.namespace}:" if one.namespace else space)
        elif isinstance(one, URLPattern) and one.name:
            found = one.pattern.converters.items()
            kinds = {key: type(converter).__name__ for key, converter in found}
            yield f"{space}{one.name}", {key: 7 if kind != "StringConverter" else "csv" for key, kind in kinds.items()}


PAGES = sorted(pages(), key=lambda page: page[0])


@pytest.mark.parametrize(("name", "kwargs"), PAGES, ids=[name for name, _kwargs in PAGES])
def test_same_as_the_framework(name: str, kwargs: dict[str, Any]) -> None:
    for _ in range(2):
        assert address(name, **kwargs) == reverse(name, kwargs=kwargs)


def test_pages_with_numbers_are_put_together() -> None:
    assert len(PAGES) > 80
    numbered = [(name, kwargs) for name, kwargs in PAGES if kwargs and set(map(type, kwargs.values())) == {int}]
    assert len(numbered) > 40
    assert all(addresses._pattern(name, tuple(kwargs)) for name, kwargs in numbered)


@pytest.mark.parametrize("number", [0, 1, 10**9, 2**63 - 1, MARK - 1, MARK, MARK + 1])
def test_every_number(number: int) -> None:
    assert address("devices:device", device_id=number) == f"/devices/{number}/device/"


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("devices:device", {"device_id": -1}),
        ("devices:device", {"device_id": "x"}),
        ("devices:device", {"device_id": None}),
        ("devices:device", {"device_id": 1, "other": 2}),
        ("devices:device", {}),
        ("devices:no_such_page", {}),
        ("devices:no_such_page", {"device_id": 1}),
    ],
)
def test_what_is_no_address(name: str, kwargs: dict[str, Any]) -> None:
    for _ in range(2):
        with pytest.raises(NoReverseMatch):
            address(name, **kwargs)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("{% url 'devices:list' %}", True),
        ('{% url "devices:list" as to %}[{{ to }}]', True),
        ("{% url 'devices:device' device_id=pk %}", True),
        ("{% url 'devices:device' device_id='5' %}", True),
        ("{% url 'devices:device' device_id=word as to %}[{{ to }}]", True),
        ("{% url 'devices:device' device_id=missing as to %}[{{ to }}]", True),
        ("{% url 'devices:no_such_page' as to %}[{{ to }}]", True),
        ("{% url 'devices:device' pk %}", False),
        ("{% url name %}", False),
        ("{% url 'DEVICES:LIST'|lower %}", False),
        ("{% autoescape off %}{% url 'devices:list' %}{% endautoescape %}", True),
    ],
)
def test_tag_is_the_framework_s(text: str, short: bool) -> None:
    given = {"pk": 5, "word": "x", "name": "devices:list"}
    rendered = [engine.from_string(text).render(Context(given)) for engine in (FRAMEWORK, OURS)]
    assert rendered[0] == rendered[1]
    nodes = OURS.from_string(text).nodelist
    assert bool(nodes.get_nodes_by_type(AddressNode)) == short
    assert bool(nodes.get_nodes_by_type(URLNode)) != short


def test_tag_tells_of_a_page_that_is_not_there() -> None:
    with pytest.raises(NoReverseMatch):
        OURS.from_string("{% url 'devices:no_such_page' %}").render(Context())
