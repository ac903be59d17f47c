"""The pieces of every page: what they say to eyes and to screen readers, and that no template breaks the policy."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django import forms
from django.conf import settings
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone, translation

from common.templatetags import portal
from things_portal.assets import ICONS

NOON = datetime(2026, 7, 1, 12, 0, 0, 93_000, tzinfo=UTC)
TEMPLATES = sorted(Path(settings.BASE_DIR).glob("templates/**/*.html"))


def render(source: str, address: str = "/", **context: object) -> str:
    request = RequestFactory().get(address)
    return Template(source).render(Context({"request": request, **context}))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (9, "just now"),
        (10, "10 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 d ago"),
        (40 * 86_400, "40 d ago"),
    ],
)
def test_ago_counts_in_the_largest_whole_unit(seconds: int, text: str) -> None:
    assert portal.ago(NOON, portal.Here("en", UTC, NOON + timedelta(seconds=seconds))) == text


def test_moment_shows_the_zone_and_milliseconds() -> None:
    with timezone.override("Europe/Amsterdam"):
        html = portal.moment(NOON, precision="ms", note="Still <underway>.")
    assert '1 Jul 2026 <span class="clock">14:00:00.093</span>' in html
    assert '<span class="zone">CEST</span><br>Still &lt;underway&gt;.' in html
    assert 'datetime="2026-07-01T14:00:00.093+02:00"' in html
    assert 'tabindex="0"' in html


def test_moment_ago_swaps_what_is_shown_and_what_pops_up() -> None:
    html = portal.moment(timezone.now() - timedelta(minutes=3), show="ago")
    shown, popup = html.split('class="tip-body"')
    assert ">3 min ago<" in shown
    assert "clock" in popup


def test_moment_of_nothing_says_never() -> None:
    assert "Never" in portal.moment(None)
    assert "No message" in portal.moment(None, never="No message")


@pytest.mark.parametrize(
    ("esp", "bars", "word"),
    [(-80, 5, "excellent"), (-100, 5, "excellent"), (-100.1, 4, "good"), (-125, 3, "fair"),
     (-125.1, 2, "weak"), (-130, 2, "weak"), (-130.1, 1, "very weak")],
)  # fmt: skip
def test_signal_has_bars_number_and_word(esp: float, bars: int, word: str) -> None:
    html = portal.signal(esp)
    assert html.count('class="on"') == bars
    assert f'aria-label="{word}"' in html
    assert f"{round(esp)} dBm" in html


def test_signal_without_strength_has_no_bars() -> None:
    assert 'class="on"' not in portal.signal(None)
    assert "no signal strength" in portal.signal(None)


def test_status_has_colour_symbol_and_word_for_every_state() -> None:
    for kind, looks in portal.STATES.items():
        for value, look in looks.items():
            html = portal.status(kind, value)
            assert f'data-tone="{look.tone}"' in html
            assert 'class="pulse"' in html or f"#i-{look.icon}" in html
            assert f'<span class="state-word">{look.label}</span>' in html


def test_status_shows_an_unknown_value_as_it_is() -> None:
    assert "<b>" not in portal.status("processing", "<b>")
    assert "&lt;b&gt;" in portal.status("processing", "<b>")


def test_every_symbol_that_is_used_is_in_the_sprite() -> None:
    used = {look.icon for looks in portal.STATES.values() for look in looks.values()} - {"pulse"}
    used |= {"copy", "check", "lock", "arrow-up", "arrow-down", "arrows-sort", portal.UNKNOWN.icon}
    for template in TEMPLATES:
        used |= set(re.findall(r"""\{% icon ["']([a-z0-9-]+)["']""", template.read_text()))
        used |= set(re.findall(r"""icon_name=["']([a-z0-9-]+)["']""", template.read_text()))
    assert used <= set(ICONS)


def test_identifier_copies_exactly_and_escapes() -> None:
    html = portal.identifier('"><x>', "DevEUI")
    assert 'data-copy="&quot;&gt;&lt;x&gt;"' in html
    assert 'aria-label="Copy DevEUI"' in html
    assert "data-copy" not in portal.identifier("0059AC00001B2F4E", copy=False)


@pytest.mark.parametrize(
    ("current", "order", "wanted"),
    [("", "none", "name"), ("name", "ascending", "-name"), ("-name", "descending", "name")],
)
def test_sort_head_reverses_and_keeps_the_search_but_not_the_page(current: str, order: str, wanted: str) -> None:
    html = render('{% sort_head "name" "Name" %}', "/?q=a%26b&page=3&sort=x", sort=current)
    assert f'aria-sort="{order}"' in html
    assert f'href="?q=a%26b&amp;sort={wanted}"' in html
    assert "page=" not in html


@pytest.mark.parametrize(
    ("cookie", "theme"), [("dark", "dark"), ("light", "light"), ('"><script>', "auto"), ("", "auto")]
)
def test_theme_comes_from_the_cookie_only_where_it_is_known(cookie: str, theme: str) -> None:
    request = RequestFactory().get("/")
    request.COOKIES["theme"] = cookie
    assert Template("{% theme %}").render(Context({"request": request})) == theme


class ExampleForm(forms.Form):
    payload = forms.CharField(help_text="Hexadecimal.")
    kind = forms.ChoiceField(choices=[("a", "A")], widget=forms.RadioSelect)


def test_field_ties_help_and_error_to_the_control() -> None:
    form = ExampleForm({"payload": ""})
    html = render('{% include "_form.html" %}', form=form)
    described = re.search(r'<input type="text"[^>]*aria-describedby="([^"]+)"', html)
    assert described
    for part in described[1].split():
        assert f'id="{part}"' in html
    assert 'aria-invalid="true"' in html
    assert "<legend>" in html


def test_steps_mark_the_present_one() -> None:
    html = portal.steps(2, "Device", "Network", "Done")
    assert html.count('aria-current="step"') == 1
    assert '<li data-step="now" aria-current="step"><span class="step-mark">2</span>Network</li>' in html


def test_the_error_page_needs_no_context() -> None:
    with translation.override("en"):
        assert "<h1>Something went wrong here</h1>" in Template((TEMPLATES[0].parent / "500.html").read_text()).render(
            Context()
        )


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_template_has_nothing_that_the_policy_forbids(template: Path) -> None:
    source = template.read_text()
    assert not re.search(r"\s(style|on[a-z]+|hx-on[:a-z-]*)\s*=", source)
    assert not re.search(r"<style\b|<script(?![^>]*\bsrc=)|javascript:|[\"']js:", source)
