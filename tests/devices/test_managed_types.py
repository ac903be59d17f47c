"""T2: the managed types of the source's list of reported values, as data; what they send is what their pages say."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps

from codec.senml_records import UNITS
from devices import controls, making, types
from devices.models import Category, DeviceType
from tests.cast import Cast

pytestmark = pytest.mark.django_db

# The source's list in its order: what it names beside the values that all devices have.
LIST = {
    "kpn-conditionsensor-co2": "BatteryVoltage CO2Concentration Humidity Illuminance Motion Temperature",
    "kpn-conditionsensor-co2-iii": "BatteryVoltage CO2Concentration Humidity Pressure Temperature VOC",
    "kpn-filltag": "BatteryLevelLow BatteryLevelLow_beacon Count_LidOpen DetectedBeacon Distance "
    "DistanceMeasurementIsValid LidOpenedSincePreviousTransmission Temperature",
    "kpn-locationtag-i": "BatteryLevelLow Sabotaged Temperature",
    "kpn-locationtag-ii": "BatteryVoltage FirmwareCRC FirmwareVersion Mode SettingsCRC",
    "kpn-locationtag-ii-v2": "AcceleratorActive AlarmMode BatteryVoltage MotionTime MovementIndication "
    "NfcFieldDetected Sabotaged Temperature",
    "kpn-locationtag-iii": "",
    "kpn-locationtag-iii-gps": "AccX AccY AccZ CompX CompY CompZ DvLat DvLon GpsFix Heading Io31 IoButt IoMot IoRxd "
    "Speed Temp VBat",
    "kpn-locationtag-v": "MovementIndication",
    "kpn-locationtag-vi": "BatteryVoltage FirmwareVersion Altitude GpsTime Heading Latitude Longitude Radius Status "
    "Temperature Velocity",
}
COMMON = "TimeOrigin Interval Latitude Longitude LocAccuracy LocOrigin LocPrecision LocTime Radius"


def managed(slug: str) -> DeviceType:
    return DeviceType.objects.get(slug=slug)


@pytest.mark.parametrize("slug", LIST)
def test_managed_type_reports_what_the_list_says(cast: Cast, slug: str) -> None:
    kind = managed(slug)
    names = [each["name"] for each in kind.measurements]
    assert {name[:1].upper() + name[1:] for name in names} == {*LIST[slug].split(), *COMMON.split()}
    assert len(set(names)) == len(names)
    assert {each["unit"] for each in kind.measurements} <= UNITS | {""}


def test_every_managed_type_is_in_the_list_and_can_be_read(cast: Cast) -> None:
    rows = DeviceType.objects.filter(category=Category.MANAGED)
    assert {row.slug for row in rows} == set(LIST)
    for row in rows:
        types.check(row)
        assert (row.project_id, row.codec_id, row.encoders) == (None, None, ["commands"])
        assert "KPN" not in row.name, "the operator's name is a setting"


def test_managed_types_cannot_be_added_by_projects(cast: Cast) -> None:
    assert not DeviceType.objects.offered_in(cast.project).filter(category=Category.MANAGED).exists()


@pytest.mark.parametrize(
    ("slug", "name", "value", "sent"),
    [
        ("kpn-conditionsensor-co2", "interval", 15, (10, "00 0F")),
        ("kpn-locationtag-v", "interval", 1440, (10, "05 A0")),
        ("kpn-locationtag-ii", "mode", 1, (11, "01")),
        ("kpn-locationtag-ii-v2", "alarmMode", False, (11, "00")),
    ],
)
def test_commands_and_controls_send_the_documented_bytes(
    cast: Cast, slug: str, name: str, value: Any, sent: tuple[int, str]
) -> None:
    kind = managed(slug)
    for asked in (*controls.commands_of(kind.commands), *controls.controls_of(kind.controls)):
        if asked.name == name:
            made = making.make(kind, asked, asked.clean(value))
            assert (made.fport, made.text, made.confirmed) == (*sent, True)


def test_mobile_tag_is_told_in_senml(cast: Cast) -> None:
    kind = managed("kpn-locationtag-vi")
    (control,) = controls.controls_of(kind.controls)
    made = making.make(kind, control, control.clean("30"))
    assert (made.text, made.fport) == ('[{"n": "interval", "u": "min", "v": 30}]', None)


def test_migration_leaves_what_support_staff_changed(cast: Cast) -> None:
    DeviceType.objects.filter(slug="kpn-filltag").update(name="Bin tag")
    import_module("devices.migrations.0012_managed_types").make(apps, None)
    assert managed("kpn-filltag").name == "Bin tag"
    assert DeviceType.objects.filter(category=Category.MANAGED).count() == len(LIST)
