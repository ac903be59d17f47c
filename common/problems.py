"""Why a program's request was not done, as a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from django.http import HttpResponse

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Wrong:
    """One member of the request that cannot be. ``pointer``: where it stands (RFC 6901), "" for the whole."""

    pointer: str
    detail: str


class Problem(Exception):
    """Raised inside a view of programs, it is the answer. ``detail`` is a sentence; ``more``: members beside it."""

    def __init__(self, status: HTTPStatus, detail: str, errors: Sequence[Wrong] = (), **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.more = status, detail, list(errors), more
        self.headers: dict[str, str] = {}

    def response(self) -> HttpResponse:
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [{"pointer": f"#{one.pointer}", "detail": one.detail} for one in self.errors]
        content = orjson.dumps(document | self.more)
        headers = {"Cache-Control": "private, no-store"} | self.headers
        return HttpResponse(content, status=self.status.value, content_type=MEDIA_TYPE, headers=headers)


def pointer(*names: str) -> str:
    """The JSON pointer of a member, from the names on the way to it."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
