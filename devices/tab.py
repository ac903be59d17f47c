"""The tabs of the detail page that every device has: Device and Flows (D10, F2, F3)."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .models import Device
from .tabs import Tab


def flows_warning(device: Device) -> str:
    """The sentence behind the warning sign on the Flows tab (F3); "" where all is well."""
    if device.flow_links.filter(flow__enabled=False).exists():
        return _("A Flow of this device is disabled.")
    return ""


TABS = [
    Tab(slug="device", label=gettext_lazy("Device"), url_name="devices:device", order=20),
    Tab(slug="flows", label=gettext_lazy("Flows"), url_name="devices:flows", order=40, warning=flows_warning),
]
