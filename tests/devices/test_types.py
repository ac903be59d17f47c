"""Own device types as a service (T5): conditional changes, a name once, what may stand in one."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from common.states import StateConflict
from devices import types
from devices.errors import DeviceError
from devices.models import DeviceType
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


def values(**changes: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {field: [] for field in ("decoders", "encoders", "measurements", "commands", "controls")}
    return empty | {"name": "Probe", "description": "", "key_source": "customer", "codec_id": None} | changes


def add(cast: Cast, **changes: Any) -> DeviceType:
    return types.add(project=cast.project, connectivity="lora", actor=cast.administrator, values=values(**changes))


def test_change_from_an_old_page_changes_nothing(cast: Cast) -> None:
    made = add(cast)
    old = DeviceType.objects.get(pk=made.pk)
    types.change(device_type=made, seen=1, actor=cast.administrator, values=values(name="New"))
    with pytest.raises(types.ChangedMeanwhile):
        types.change(device_type=old, seen=1, actor=cast.administrator, values=values(name="Old"))
    assert DeviceType.objects.get(pk=made.pk).name == "New"
    assert AuditEntry.objects.filter(action="type.changed").count() == 1


@pytest.mark.parametrize("connectivity", ["m2m", "lora", "x"])
def test_connectivity_must_be_in_the_subscription(cast: Cast, connectivity: str) -> None:
    cast.project.subscription.device_types.exclude(connectivity="internet").delete()
    with pytest.raises(types.TypeRefused) as refused:
        types.add(project=cast.project, connectivity=connectivity, actor=cast.administrator, values=values())
    assert refused.value.field == "connectivity"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"decoders": ["senml"]}, "decoders"),
        ({"encoders": ["raw-senml"]}, "encoders"),
        ({"measurements": [{"name": ""}]}, "measurements"),
        ({"measurements": [{"name": "a"}] * 101}, "measurements"),
        ({"commands": [{"name": "a", "way": {"by": "senml"}}]}, "commands"),
        ({"controls": [{"name": "a", "kind": "text", "way": {"by": "codec"}}]}, "controls"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(cast: Cast, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(types.TypeRefused) as refused:
        add(cast, **changes)
    assert refused.value.field == field
    assert not AuditEntry.objects.exists()


def test_portals_types_are_not_written_here(cast: Cast) -> None:
    portal = DeviceType.objects.get(slug="own-lora")
    with pytest.raises(StateConflict):
        types.offer(device_type=portal, addable=False, actor=cast.administrator)
    with pytest.raises(DeviceError):
        types.remove(device_type=portal, actor=cast.administrator)
    with pytest.raises(types.ChangedMeanwhile):
        types.change(device_type=portal, seen=1, actor=cast.administrator, values=values())
    assert DeviceType.objects.get(slug="own-lora").addable


def test_slug_tells_nobody_else_what_it_is_called(cast: Cast) -> None:
    first = add(cast)
    second = types.add(project=cast.elsewhere, connectivity="lora", actor=cast.stranger, values=values())
    assert first.slug != second.slug
    assert len(add(cast, name="x" * 100).slug) <= 80


def test_count_stops_where_it_says_so(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = factories.own_type(cast.project)
    monkeypatch.setattr(types, "COUNTED", 2)
    for expected in (1, 2, 3, 3):
        factories.device(cast.project, kind.slug)
        assert types.count_of(kind) == expected


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_with_one_name_one_is_told(cast: Cast) -> None:
    def one(_index: int) -> object:
        with scopes_disabled():
            return add(cast)

    found = at_once(2, one)
    assert sorted(type(each).__name__ for each in found) == ["DeviceType", "ValidationError"]
    assert any("of this name already" in str(each) for each in found if isinstance(each, ValidationError))
