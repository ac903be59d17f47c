"""The portal's side of the simulated network: what a network server's API would be, on its own tables.

The simulation's process reads these tables; it may be away for a while, as a real network may.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from devices.connectivity import Instruction
from devices.errors import NetworkRefused
from lora.networks import LoraNetwork

if TYPE_CHECKING:
    from lora.models import LoraIdentity

ENQUEUE = """
INSERT INTO lora_simulateddownlink (correlation_id, dev_eui, fport, payload, confirmed, created_at)
SELECT %(id)s, dev_eui, %(fport)s, %(payload)s, %(confirmed)s, now()
FROM lora_simulateddevice WHERE dev_eui = %(dev_eui)s AND registered AND enabled
ON CONFLICT DO NOTHING
"""


def place(dev_eui: str) -> tuple[float, float]:
    """Where a device stands that somebody adds: always the same spot for a DevEUI, in reach of the gateways."""
    digest = hashlib.sha256(dev_eui.encode()).digest()
    return 51.895 + digest[0] / 255 * 0.05, 4.43 + digest[1] / 255 * 0.10


class SimulatedNetwork(LoraNetwork):
    locates = True

    def register(self, identity: LoraIdentity) -> None:
        from lora.models import SimulatedDevice

        key = identity.get_app_key()
        latitude, longitude = place(identity.dev_eui)
        device = SimulatedDevice(
            dev_eui=identity.dev_eui,
            app_eui=identity.app_eui,
            interval_seconds=settings.SIMULATED_INTERVAL,
            latitude=latitude,
            longitude=longitude,
            version=1,
        )
        device.set_app_key(key)
        try:
            with transaction.atomic():
                device.save(force_insert=True)
            return
        except IntegrityError:
            known = SimulatedDevice.objects.get(pk=identity.dev_eui)
        if known.app_eui != identity.app_eui or known.get_app_key() != key:
            raise NetworkRefused(
                _("The network knows this DevEUI already, with another AppEUI or AppKey: it is in use elsewhere.")
            )
        SimulatedDevice.objects.filter(pk=known.pk).update(
            registered=True, enabled=True, powered=True, version=F("version") + 1
        )

    def deregister(self, identity: LoraIdentity) -> None:
        from lora.models import SimulatedDevice

        SimulatedDevice.objects.filter(pk=identity.dev_eui).update(
            registered=False, powered=False, version=F("version") + 1
        )

    def set_enabled(self, identity: LoraIdentity, *, enabled: bool) -> None:
        from lora.models import SimulatedDevice

        if not SimulatedDevice.objects.filter(pk=identity.dev_eui, registered=True).update(
            enabled=enabled, version=F("version") + 1
        ):
            raise NetworkRefused(_("The network does not know this DevEUI."))

    def send(self, identity: LoraIdentity, instruction: Instruction) -> None:
        from lora.models import SimulatedDevice

        values: dict[str, Any] = {
            "id": instruction.correlation_id,
            "dev_eui": identity.dev_eui,
            "fport": instruction.fport or 1,
            "payload": instruction.payload,
            "confirmed": instruction.confirmed,
        }
        with connection.cursor() as cursor:
            cursor.execute(ENQUEUE, values)
            if cursor.rowcount:
                return
        # It has it already, or does not take it.
        if not SimulatedDevice.objects.filter(pk=identity.dev_eui, registered=True, enabled=True).exists():
            raise NetworkRefused(_("The network does not accept this device."))

    def has(self, identity: LoraIdentity, correlation_id: UUID) -> bool:
        from lora.models import SimulatedDownlink

        return SimulatedDownlink.objects.filter(pk=correlation_id, dev_eui=identity.dev_eui).exists()
