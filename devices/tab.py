"""The tabs of the detail page that every device has: Device and Flows (D10, F2, F3)."""

from django.utils.translation import gettext_lazy

from flows.models import Flow

from . import flow_problems
from .models import Device
from .tabs import Tab


def flows_warning(device: Device) -> str:
    """The sentence behind the warning sign on the Flows tab (F3); "" where all is well."""
    for flow in Flow.objects.filter(device_links__device=device).order_by("pk"):
        problems = flow_problems.of(flow, device)
        if problems:
            return problems[0]
    return ""


TABS = [
    Tab(slug="device", label=gettext_lazy("Device"), url_name="devices:device", order=20),
    Tab(slug="flows", label=gettext_lazy("Flows"), url_name="devices:flows", order=40, warning=flows_warning),
]
