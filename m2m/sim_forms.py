"""What a person fills in about SIM cards: a new one, a file of them, the device of a free one, a text message."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Project
from devices.forms import ProjectField
from devices.models import Category, Device

from .forms import ICCID_PROBLEMS
from .models import SimCard
from .numbers import e164, iccid_problem, only_digits

DEVICES_TO_CHOOSE = 500
MAX_FILE = 5 * 1024 * 1024


class InProjectForm(forms.Form):
    """Asks for the Project where there are several."""

    def __init__(self, *args: Any, projects: list[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.one_project = projects[0] if len(projects) == 1 else None
        if self.one_project is None:
            self.fields["project"] = ProjectField(projects)
            self.order_fields(["project"])

    @property
    def project(self) -> Project:
        """The chosen Project of a valid form."""
        return self.one_project or self.cleaned_data["project"]


class EarlyAccessForm(InProjectForm):
    iccid = forms.CharField(label="ICCID", max_length=28, help_text=gettext_lazy("19 or 20 digits, on the card."))
    msisdn = forms.CharField(
        label="MSISDN",
        max_length=24,
        required=False,
        help_text=gettext_lazy("The phone number with its country code. The carrier says it otherwise."),
    )

    def clean_iccid(self) -> str:
        iccid = only_digits(self.cleaned_data["iccid"])
        problem = iccid_problem(iccid)
        if problem:
            raise ValidationError(ICCID_PROBLEMS[problem])
        return iccid

    def clean_msisdn(self) -> str:
        given: str = self.cleaned_data["msisdn"].strip()
        number = e164(given)
        if given and not number:
            raise ValidationError(_("This is not a phone number with its country code, such as +31970123456."))
        return number


class FileForm(InProjectForm):
    file = forms.FileField(label=gettext_lazy("CSV file"), help_text=gettext_lazy("Up to 20,000 rows, 5 MB."))

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MAX_FILE:
            raise ValidationError(_("The file is larger than 5 MB. Divide it into several files."))
        return file


class DeviceForm(forms.Form):
    """An M2M device of the card's Project that has no SIM card, and whose SIM card may be changed (T3)."""

    device = forms.ModelChoiceField(
        queryset=Device.objects.none(),
        label=gettext_lazy("Device"),
        help_text=gettext_lazy("Devices of the Project with an IMEI and without a SIM card."),
        empty_label=gettext_lazy("Choose a device"),
    )

    def __init__(self, *args: Any, card: SimCard, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = Device.objects.filter(project=card.project_id, m2m__isnull=False, sim=None)
        rows = rows.exclude(type__category=Category.MANAGED).select_related("type", "project")
        ids = list(rows.order_by("name", "pk").values_list("pk", flat=True)[:DEVICES_TO_CHOOSE])
        field: Any = self.fields["device"]
        field.queryset = Device.objects.filter(pk__in=ids).select_related("type", "project").order_by("name", "pk")
        field.label_from_instance = lambda device: f"{device.name}  {device.identifier}"
        self.nothing_to_choose = not ids


class SmsForm(forms.Form):
    text = forms.CharField(
        label=gettext_lazy("Text"), max_length=160, help_text=gettext_lazy("Up to 160 characters. It may cost money.")
    )
