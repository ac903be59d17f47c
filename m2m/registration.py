"""M2M as a connectivity: its network form, card, SIM activation at the carrier, instructions that are fetched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django_scopes import scopes_disabled

from accounts.models import Project
from devices import shared_secret
from devices.capabilities import Capability, has
from devices.connectivity import Card, Connectivity, ImportField, Instruction
from devices.errors import NetworkRefused
from devices.models import Device, DeviceType

from . import cards, carriers, forms, services
from .models import M2mIdentity, SimCard, SimStatus

# Fewer digits are in too many numbers to be meant.
SHORTEST = 4


class M2m(Connectivity):
    slug = "m2m"
    label = _("M2M")
    identifier_label = "IMEI"
    step_template = "m2m/network_step.html"

    def network_form(self, device: Device, data: Mapping[str, Any] | None = None) -> forms.M2mNetworkForm:
        return forms.M2mNetworkForm(data, device=device)

    def import_fields(self, device_type: DeviceType) -> list[ImportField]:
        return [
            ImportField(
                "imei",
                "IMEI",
                ("IMEI",),
                required=True,
                example="356938035643809",
                help=forms.M2mNetworkForm.base_fields["imei"].help_text,
            ),
            ImportField(
                "iccid",
                "ICCID",
                ("ICCID", "SIM", "SIM card"),
                required=True,
                example="8931080000000000017",
                help=_("A free SIM card of the Project, or that of an early access SIM."),
            ),
            shared_secret.import_field(),
        ]

    def import_form(self, device: Device, data: Mapping[str, Any] | None = None) -> forms.M2mNetworkForm:
        return forms.M2mRowForm(data, device=device)

    def taken(self, claims: Collection[str], project: Project) -> dict[str, str]:
        iccids = [claim.removeprefix("ICCID:") for claim in claims if claim.startswith("ICCID:")]
        # The SIM cards of all Projects: an ICCID is on one card only.
        with scopes_disabled():
            known = SimCard.objects.filter(iccid__in=iccids).exclude(project=project, device=None)
            used = {f"ICCID:{iccid}": str(forms.ICCID_IN_USE) for iccid in known.values_list("iccid", flat=True)}
        return super().taken(claims, project) | used

    def has_network_info(self, device: Device) -> bool:
        return M2mIdentity.objects.filter(device=device).exists()

    def card(self, device: Device) -> Card:
        identity: M2mIdentity | None = getattr(device, "m2m", None)
        sim: SimCard | None = getattr(device, "sim", None)
        action: dict[str, Any] = {}
        if identity and has(device, Capability.SECRETS):
            # M2, M3; the card of a managed device stays in it.
            label, name = (_("Unlink"), "m2m:unlink") if sim else (_("Link connectivity"), "m2m:sim")
            action = {"action": label, "action_url": reverse(name, args=[device.pk])}
        return Card(
            title=_("M2M"),
            lines=[
                {"label": "IMEI", "kind": "identifier", "value": identity.imei if identity else ""},
                {"label": "ICCID", "kind": "identifier", "value": sim.iccid if sim else ""} | action,
                {"label": "MSISDN", "kind": "identifier", "value": sim.msisdn if sim else ""},
                {"label": _("SIM activated"), "kind": "moment", "value": sim.activated_at if sim else None},
                {"label": _("Rate plan"), "kind": "text", "value": sim.rate_plan if sim else ""},
            ],
        )

    def search(self, text: str, projects: Iterable[int], limit: int) -> list[int]:
        """By ICCID and MSISDN; a phone number may be written with its plus."""
        digits = text.removeprefix("+")
        if len(digits) < SHORTEST or not digits.isdecimal():
            return []
        rows = SimCard.objects.filter(Q(iccid__contains=digits) | Q(msisdn__contains=digits))
        rows = rows.filter(device__isnull=False, device__project_id__in=projects)
        return list(rows.values_list("device_id", flat=True)[:limit])

    def moved(self, device_ids: Sequence[int], project: Project) -> None:
        """The SIM stays in its device."""
        SimCard.objects.filter(device__in=device_ids).update(project=project)

    def register(self, device: Device) -> None:
        """Switch the SIM card on at its carrier. One that is still being switched off waits for that."""
        card = self._card(device)
        cards.stop_release(card)
        cards.note(card, carriers.of(card).set_active(card, active=True))

    def activate(self, device: Device) -> None:
        self.register(device)

    def deactivate(self, device: Device) -> None:
        card = self._card(device)
        cards.note(card, carriers.of(card).set_active(card, active=False))

    def deregister(self, device: Device) -> None:
        card = SimCard.objects.select_related("carrier").filter(device=device).first()
        if card is None:
            return
        if card.status == SimStatus.ACTIVE:
            carriers.of(card).set_active(card, active=False)
        SimCard.objects.filter(pk=card.pk).update(status=SimStatus.INVENTORY)

    def forget(self, device: Device) -> None:
        services.release(device)

    def send(self, device: Device, instruction: Instruction) -> bool:
        """The device fetches it in the answer to its own next message (M5)."""
        return False

    @staticmethod
    def _card(device: Device) -> SimCard:
        card = SimCard.objects.select_related("carrier").filter(device=device).first()
        if card is None:
            raise NetworkRefused(str(_("No SIM card is linked to this device.")))
        return card
