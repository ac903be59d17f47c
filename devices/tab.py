"""The tabs of the detail page that every device has: Device and Flows (D10, F2, F3)."""

from django.utils.translation import gettext_lazy

from . import flow_problems
from .models import Device
from .tabs import Tab


def flows_warning(device: Device) -> str:
    """The sentence behind the warning sign on the Flows tab (F3); "" where all is well."""
    found = (problem for flow in flow_problems.of_device(device) for problem in flow_problems.of(flow, device))
    return next((problem.text for problem in found), "")


TABS = [
    Tab(slug="device", label=gettext_lazy("Device"), url_name="devices:device", order=20),
    Tab(slug="flows", label=gettext_lazy("Flows"), url_name="devices:flows", order=40, warning=flows_warning),
]
