"""The Device Twin for programs (W8): ``GET`` reads it, ``PATCH`` is a JSON merge patch on what can be written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import orjson
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from accounts.access import PersonRequest
from common.problems import Problem
from common.states import StateConflict
from devices.access import device_resource
from devices.models import Device
from twin import document

MEDIA_TYPE: Final = "application/merge-patch+json"
MOST_BYTES: Final = 64 * 1024
# The list of tags in If-Match and If-None-Match (RFC 9110, section 8.8.3).
TAG: Final = re.compile(r'(W/)?"([^"]*)"')
# The version is the tag's beginning: what follows tells apart what changes without it.
VERSION: Final = re.compile(r"v(\d{1,18})(?:\.[0-9a-f]{8})?")


@device_resource("GET", "PATCH")
def twin(request: PersonRequest, device: Device) -> HttpResponse:
    """A PATCH answers with the twin as it is after it, as a GET does."""
    if request.method == "PATCH":
        _patch(request, device)
    said = document.read(device)
    headers = {"ETag": said.tag}
    if request.method != "PATCH" and _unchanged(request, said.tag):
        return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    # Not orjson: a number that a device reports may be larger than 64 bits.
    body = json.dumps(said.content, ensure_ascii=False)
    return HttpResponse(body, content_type="application/json", headers=headers)


def _patch(request: PersonRequest, device: Device) -> None:
    """Raises Problem."""
    asked = _asked(request)
    try:
        document.patch(device=device, document=asked, matches=_expected(request), actor=request.user)
    except document.Outdated as error:
        problem = Problem(HTTPStatus.PRECONDITION_FAILED, str(error), version=error.version)
        problem.headers["ETag"] = document.read(device).tag
        raise problem from error
    except StateConflict as error:
        raise Http404 from error
    except document.PatchRefused as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), error.wrong) from error


def _asked(request: HttpRequest) -> dict[str, Any]:
    """The patch of the body. Raises Problem."""
    if request.content_type != MEDIA_TYPE:
        problem = Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _("Send a %(kind)s document.") % {"kind": MEDIA_TYPE})
        problem.headers["Accept-Patch"] = MEDIA_TYPE
        raise problem
    length = request.headers.get("Content-Length", "")
    if (length.isdecimal() and int(length) > MOST_BYTES) or len(request.body) > MOST_BYTES:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _("A patch has %(size)d KB at most.") % {"size": MOST_BYTES // 1024}
        )
    try:
        asked = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, _("This is no JSON: %(error)s") % {"error": error}) from error
    if not isinstance(asked, dict):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _("A patch of the Device Twin is an object."))
    return asked


def _expected(request: HttpRequest) -> Callable[[int], bool]:
    """Whether a version is one of those in If-Match; without it, or with ``*``, every one is. Weak tags match none."""
    given = request.headers.get("If-Match", "").strip()
    if given in {"", "*"}:
        return lambda _version: True
    tags = [VERSION.fullmatch(tag) for weak, tag in TAG.findall(given) if not weak]
    versions = {int(match[1]) for match in tags if match}
    return versions.__contains__


def _unchanged(request: HttpRequest, tag: str) -> bool:
    given = request.headers.get("If-None-Match", "").strip()
    return given == "*" or tag.strip('"') in {opaque for _weak, opaque in TAG.findall(given)}
