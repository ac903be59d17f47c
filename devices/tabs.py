"""The registry of the detail page's tabs (D6): each has a label, an address of its own, an order, a badge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django_stubs_ext import StrOrPromise

from common.addresses import address

from .models import Device


def _always(device: Device) -> bool:
    return True


def _nothing(device: Device) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """``url_name`` takes ``device_id``. ``warning`` gives a sentence where the tab link carries a warning sign."""

    slug: str
    label: StrOrPromise
    url_name: str
    order: int
    shown: Callable[[Device], bool] = _always
    warning: Callable[[Device], str] = _nothing


@dataclass(frozen=True, slots=True)
class TabLink:
    slug: str
    label: str
    url: str
    active: bool
    warning: str


_registered: dict[str, Tab] = {}


def register(tab: Tab) -> None:
    _registered[tab.slug] = tab


def links(device: Device, active: str) -> list[TabLink]:
    """The device's tabs in order, for the template."""
    return [
        TabLink(
            slug=tab.slug,
            label=str(tab.label),
            url=address(tab.url_name, device_id=device.pk),
            active=tab.slug == active,
            warning=tab.warning(device),
        )
        for tab in sorted(_registered.values(), key=lambda tab: tab.order)
        if tab.shown(device)
    ]


def url(device: Device, slug: str) -> str:
    """The address of one tab; "" where this device has no such tab. Costs no query."""
    tab = _registered.get(slug)
    return address(tab.url_name, device_id=device.pk) if tab and tab.shown(device) else ""
