"""The network step for M2M (M1): IMEI, a free SIM of the Project or an early access SIM, shared secret."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from codec import tokens
from codec.senml_records import DEVICE_BASE, NAME
from devices.connectivity import NetworkForm, Secret
from devices.errors import IdentifierInUse
from devices.services import claim_identifier
from devices.shared_secret import SharedSecretField

from . import services
from .models import M2mIdentity, SimCard
from .numbers import iccid_problem, imei_problem, only_digits

EARLY_ACCESS = "early-access"

IMEI_PROBLEMS = {
    "digits": _("An IMEI has digits only."),
    "length": _("An IMEI has 15 digits."),
    "check": _("The last digit does not fit the others: a digit is mistyped."),
}
ICCID_IN_USE = _("This ICCID cannot be used: it is in use already.")
ICCID_PROBLEMS = {
    "digits": _("An ICCID has digits only."),
    "length": _("An ICCID has 19 or 20 digits."),
    "prefix": _("An ICCID starts with 89."),
    "check": _("The last digit does not fit the others: a digit is mistyped."),
}


class M2mNetworkForm(NetworkForm):
    imei = forms.CharField(label="IMEI", max_length=24, help_text=_("15 digits, on the device or its box."))
    sim = forms.ChoiceField(label=_("SIM card"), help_text=_("The ICCID of the SIM card in the device."))
    iccid = forms.CharField(
        label=_("ICCID of the early access SIM"),
        max_length=28,
        required=False,
        help_text=_("19 or 20 digits."),
    )
    secret = SharedSecretField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer_sims()

    def offer_sims(self) -> None:
        # A device whose network info is corrected may keep its SIM.
        offered = SimCard.objects.filter(Q(device=None) | Q(device=self.device), project=self.device.project_id)
        sims = offered.order_by("iccid")[:500]
        choices = [("", str(_("Choose a SIM card")))]
        choices += [(str(sim.pk), f"{sim.iccid}  {sim.rate_plan}".strip()) for sim in sims]
        choices.append((EARLY_ACCESS, str(_("Add early access SIM"))))
        self.fields["sim"] = forms.ChoiceField(
            label=self.fields["sim"].label, help_text=self.fields["sim"].help_text, choices=choices
        )

    def clean_imei(self) -> str:
        imei = only_digits(self.cleaned_data["imei"])
        problem = imei_problem(imei)
        if problem:
            raise ValidationError(IMEI_PROBLEMS[problem])
        return imei

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("sim") == EARLY_ACCESS and "iccid" not in self.errors:
            iccid = only_digits(data.get("iccid", ""))
            problem = iccid_problem(iccid) if iccid else "length"
            if problem:
                self.add_error("iccid", ICCID_PROBLEMS[problem])
            data["iccid"] = iccid
        return data

    def claims(self) -> dict[str, str]:
        imei = self.cleaned_data.get("imei")
        return {"imei": f"IMEI:{imei}"} if imei else {}

    def save(self, *, actor: User) -> list[Secret]:
        data = self.cleaned_data
        claim_identifier(device=self.device, kind="IMEI", value=data["imei"], primary=True)
        secret = data["secret"] or tokens.new_secret()
        identity = M2mIdentity(device=self.device, imei=data["imei"])
        identity.set_secret(secret)
        earlier = M2mIdentity.objects.filter(device=self.device)
        identity.own_name = earlier.values_list("own_name", flat=True).first()
        earlier.delete()
        identity.save(force_insert=True)
        self._link_sim()
        return [] if data["secret"] else [Secret(str(_("Shared secret")), secret)]

    def _link_sim(self) -> None:
        """One SIM, one device (M4): the free row is taken by one conditional update. Raises DeviceError."""
        data = self.cleaned_data
        services.take_out(self.device)
        if data["sim"] == EARLY_ACCESS:
            try:
                with transaction.atomic():
                    SimCard.objects.create(
                        project=self.device.project,
                        iccid=data["iccid"],
                        early_access=True,
                        device=self.device,
                    )
            except IntegrityError as error:
                raise IdentifierInUse(ICCID_IN_USE, "iccid") from error
        elif not SimCard.objects.filter(pk=data["sim"], device=None).update(device=self.device):
            raise IdentifierInUse(_("This SIM card has just been linked to another device. Choose another one."), "sim")


class OwnNameForm(forms.Form):
    """The base name that the firmware writes, where it cannot be told to write that of the IMEI."""

    own_name = forms.CharField(
        label=_("Base name of the firmware"),
        max_length=80,
        required=False,
        help_text=_("Letters, digits and - : . / _, as in “bn” of its messages. Leave it empty for none."),
    )

    def clean_own_name(self) -> str:
        name: str = self.cleaned_data["own_name"]
        if name and NAME.fullmatch(name) is None:
            raise ValidationError(_("It starts with a letter or digit and has only letters, digits and - : . / _"))
        if DEVICE_BASE.match(name):
            raise ValidationError(_("This is the base name of a device by its number: it needs none beside it."))
        return name


class M2mRowForm(M2mNetworkForm):
    """The step for a row of a file (D12): a SIM by its ICCID. A free one of the Project is taken; one that the
    portal does not know is an early access SIM, typed in."""

    def offer_sims(self) -> None:
        del self.fields["sim"]
        self.fields["iccid"].required = True

    def clean(self) -> dict[str, Any]:
        self.cleaned_data["sim"] = EARLY_ACCESS
        return super().clean()

    def claims(self) -> dict[str, str]:
        iccid = self.cleaned_data.get("iccid")
        return super().claims() | ({"iccid": f"ICCID:{iccid}"} if iccid and "iccid" not in self.errors else {})

    def save(self, *, actor: User) -> list[Secret]:
        free = SimCard.objects.filter(iccid=self.cleaned_data["iccid"], project=self.device.project_id, device=None)
        self.cleaned_data["sim"] = free.values_list("pk", flat=True).first() or EARLY_ACCESS
        return super().save(actor=actor)
