"""The M2M tab of the detail page (M3)."""

from devices.models import ConnectivityKind, Device
from devices.tabs import Tab


def is_m2m(device: Device) -> bool:
    return device.type.connectivity == ConnectivityKind.M2M


TABS = [Tab(slug="m2m", label="M2M", url_name="m2m:tab", order=50, shown=is_m2m)]
