"""The system check that walks all addresses: a view without an access mark stops the start (STYLE, net c)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.urls import URLPattern, URLResolver, get_resolver

from .access import Access

# Django's admin guards itself: every view of it passes AdminSite.has_permission (is_staff).
SELF_GUARDED = ("admin",)


def addresses(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """All (route, pattern) of the project without those of the self-guarded namespaces."""
    for entry in (resolver or get_resolver()).url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            if entry.namespace not in SELF_GUARDED:
                yield from addresses(entry, route)
        else:
            yield route, entry


def access_of(pattern: URLPattern) -> Access | None:
    return getattr(pattern.callback, "access", None)


@register("security")
def every_address_declares_its_access(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"The view of “{route}” does not declare its access.",
            hint="Put one of the marks of accounts.access on it.",
            id="accounts.E001",
        )
        for route, pattern in addresses()
        if access_of(pattern) is None
    ]
