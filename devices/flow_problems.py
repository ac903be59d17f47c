"""Why a Flow may not do what its device expects of it (F3), as sentences; from rows that are there already."""

from __future__ import annotations

from django.utils.translation import gettext as _

from flows.models import Flow

from .models import ConnectivityKind, Device


def of(flow: Flow, device: Device) -> list[str]:
    problems = []
    if not flow.enabled:
        problems.append(_("This Flow is disabled: it processes no data."))
    # Decoders read LoRa payloads; M2M and Internet devices send SenML, which needs none.
    is_lora = device.type.connectivity == ConnectivityKind.LORA
    if is_lora and flow.decoder and flow.decoder not in device.type.decoders:
        problems.append(_("The decoding of this Flow does not fit the device type."))
    return problems
