"""What a view is given by its access mark (P1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from accounts.access import InProject, Person, in_projects
from devices.models import Device
from tests import factories
from tests.cast import Cast


def test_object_takes_the_place_of_its_id_and_other_arguments_stay(cast: Cast) -> None:
    device = factories.device(cast.project)

    def resolve(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
        return "device", Device.objects.get(pk=kwargs["device_id"])

    @in_projects(resolve=resolve, names="device")
    def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        given.update(kwargs)
        return HttpResponse()

    given: dict[str, Any] = {}
    request = RequestFactory().get("/")
    request.user = cast.operator
    request.person = Person(cast.operator)  # type: ignore[attr-defined]
    assert view(request, device_id=device.pk, when=5, seq="7").status_code == 200
    assert given == {"device": device, "when": 5, "seq": "7"}
