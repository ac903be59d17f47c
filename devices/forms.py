"""The forms of the device screens: step 1 of the wizard, the Device tab, linking to a Flow."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, cast

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Project
from flows.models import Flow

from . import capabilities, connectivity
from .capabilities import Capability
from .models import Device, DeviceType

FLOWS_TO_CHOOSE = 1000


def _text(name: str, **options: Any) -> forms.Field:
    """A form field with the label, length and requirement of the model's field."""
    field: Any = Device._meta.get_field(name)
    return cast("forms.Field", field.formfield(**options))


class ProjectField(forms.TypedChoiceField):
    """One of the person's Projects, by name; gives the Project."""

    def __init__(self, projects: Iterable[Project], **options: Any) -> None:
        self.projects = {project.pk: project for project in projects}
        super().__init__(
            label=_("Project"),
            choices=[("", _("Choose a Project")), *((key, project.name) for key, project in self.projects.items())],
            coerce=lambda value: self.projects[int(value)],
            **options,
        )


class DetailsForm(forms.Form):
    """What a person says of a device: in the wizard's step 1, and in a row of a file (D12)."""

    name = _text("name", help_text=gettext_lazy("What you call it, or the thing that it is on."))
    barcode = _text("barcode", help_text=gettext_lazy("The serial number or code on its outside."))
    description = _text("description", widget=forms.Textarea(attrs={"rows": 3}))


class AddDeviceForm(DetailsForm):
    """Step 1 of the wizard (D5). With one Project it is not asked; the types follow the Project (P3).

    ``token`` makes the step idempotent: the same token gives the same device.
    """

    token = forms.UUIDField(widget=forms.HiddenInput, required=False)
    # What a QR code said, on its way to the network step (codes.CARRIED).
    dev_eui = forms.CharField(widget=forms.HiddenInput, required=False)
    app_eui = forms.CharField(widget=forms.HiddenInput, required=False)

    field_order = ["token", "project", "device_type", "name", "barcode", "description"]

    def __init__(
        self,
        data: Any = None,
        *,
        projects: list[Project],
        chosen: str = "",
        filled: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """``filled``: what the form shows without being checked (field → value)."""
        initial = {"token": uuid.uuid4(), "project": chosen, **(filled or {})}
        super().__init__(data, initial=initial, **options)
        self.one_project = projects[0] if len(projects) == 1 else None
        if self.one_project is None:
            self.fields["project"] = ProjectField(projects)
        project = self.one_project or self._chosen(projects)
        self.types = {str(row.pk): row for row in self._offered(project)}
        self.fields["device_type"] = forms.ChoiceField(
            label=_("Device type"),
            choices=self._grouped() if project else [("", _("Choose a Project first"))],
            help_text="" if project else _("Which types there are depends on the Project's subscription."),
        )
        self.order_fields(self.field_order)

    def _chosen(self, projects: list[Project]) -> Project | None:
        value = str(self["project"].value() or "")
        return next((project for project in projects if str(project.pk) == value), None)

    @staticmethod
    def _offered(project: Project | None) -> list[DeviceType]:
        if project is None:
            return []
        rows = DeviceType.objects.offered_in(project).order_by("connectivity", "category", "name", "pk").distinct()
        return list(rows)

    def _grouped(self) -> list[Any]:
        """Types by connectivity, as option groups."""
        groups = [
            (str(connectivity.by_slug(slug).label), [(row.pk, row.name) for row in rows])
            for slug, rows in groupby(self.types.values(), key=lambda row: row.connectivity)
        ]
        return [("", _("Choose a device type")), *groups]

    def clean_device_type(self) -> DeviceType:
        return self.types[self.cleaned_data["device_type"]]

    @property
    def project_field(self) -> forms.BoundField | None:
        return None if self.one_project else self["project"]

    @property
    def project(self) -> Project:
        """The chosen Project of a valid form."""
        return self.one_project or self.cleaned_data["project"]


class DeviceForm(forms.Form):
    """The Device tab (D10): managed devices have no barcode to edit."""

    name = _text("name")
    barcode = _text("barcode")
    description = _text("description", widget=forms.Textarea(attrs={"rows": 3}))

    def __init__(self, data: Any = None, *, device: Device) -> None:
        initial = {"name": device.name, "barcode": device.barcode, "description": device.description}
        super().__init__(data, initial=initial)
        if not capabilities.has(device, Capability.EDIT_BARCODE):
            del self.fields["barcode"]


class LinkFlowForm(forms.Form):
    """Which Flow to link the device to, or the name of a new one (F2).

    A device's data goes to Flows of its own Project and of others that the person operates; the Project is
    asked only where there are several.
    """

    def __init__(self, data: Any = None, *, device: Device, projects: list[Project], chosen: str = "") -> None:
        super().__init__(data, initial={"project": chosen or device.project_id})
        self.one_project = projects[0] if len(projects) == 1 else None
        if self.one_project is None:
            self.fields["project"] = ProjectField(projects)
        value = str(self["project"].value() or "") if self.one_project is None else ""
        project = self.one_project or next((one for one in projects if str(one.pk) == value), None)
        offered = Flow.objects.filter(project=project, deletion_asked_at=None)
        rows = offered.exclude(device_links__device=device).order_by("name", "pk")
        self.flows = {str(row.pk): row for row in rows[:FLOWS_TO_CHOOSE]} if project else {}
        self.fields["flow"] = forms.ChoiceField(
            label=_("Flow"),
            required=False,
            choices=[("", _("Choose a Flow") if self.flows else _("There is no other Flow")), *self._choices()],
        )
        self.fields["new_flow"] = forms.CharField(
            label=_("New Flow"),
            max_length=100,
            required=False,
            help_text=_("Or give a name, and a new Flow is made with this device in it."),
        )

    def _choices(self) -> list[tuple[str, str]]:
        return [(key, row.name if row.enabled else _("%s (disabled)") % row.name) for key, row in self.flows.items()]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        data["new_flow"] = data.get("new_flow", "").strip()
        if "flow" in data and bool(data["flow"]) == bool(data["new_flow"]):
            self.add_error("flow", _("Choose a Flow or name a new one, not both."))
        return data

    @property
    def project_field(self) -> forms.BoundField | None:
        return None if self.one_project else self["project"]

    @property
    def project(self) -> Project:
        """The chosen Project of a valid form."""
        return self.one_project or self.cleaned_data["project"]

    @property
    def flow(self) -> Flow | None:
        """The chosen Flow; None: ``new_flow`` names the one to make."""
        return self.flows.get(self.cleaned_data["flow"])


class ViewForm(forms.Form):
    """The name of a view of All Devices, and whom it is for; the Project is asked where there are several."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    shared = forms.BooleanField(
        label=gettext_lazy("For everybody in the Project"),
        required=False,
        help_text=gettext_lazy("Otherwise you alone have it."),
    )

    field_order = ["project", "name", "shared"]

    def __init__(self, data: Any = None, *, projects: list[Project], **options: Any) -> None:
        super().__init__(data, **options)
        self.one_project = projects[0] if len(projects) == 1 else None
        if self.one_project is None:
            self.fields["project"] = ProjectField(projects)
        self.order_fields(self.field_order)

    @property
    def project(self) -> Project:
        """The chosen Project of a valid form."""
        return self.one_project or self.cleaned_data["project"]
