"""The LoRa tabs of the detail page (L2, L3)."""

from django.utils.translation import gettext_lazy as _

from devices.models import ConnectivityKind, Device
from devices.tabs import Tab


def is_lora(device: Device) -> bool:
    return device.type.connectivity == ConnectivityKind.LORA


TABS = [
    Tab(slug="lora", label=_("LoRa"), url_name="lora:tab", order=50, shown=is_lora),
    Tab(slug="lora-history", label=_("LoRa data history"), url_name="lora:history", order=60, shown=is_lora),
]
