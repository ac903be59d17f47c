"""The Internet tab of the detail page (I2)."""

from django.utils.translation import gettext_lazy as _

from devices.models import ConnectivityKind, Device
from devices.tabs import Tab


def is_internet(device: Device) -> bool:
    return device.type.connectivity == ConnectivityKind.INTERNET


TABS = [Tab(slug="internet", label=_("Internet"), url_name="internet:tab", order=50, shown=is_internet)]
