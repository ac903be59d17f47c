"""A Flow: its name, what it is for, how the payloads of LoRa devices are read, whether it works."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Project
from codec import decoders

from .models import Flow


def decoder_choices() -> list[tuple[str, str]]:
    """The codec of the type is also what "as the type says" begins with; named here, nothing else is tried."""
    return [
        ("", _("As the device type says")),
        (decoders.CODEC, decoder_label(decoders.CODEC)),
        *((slug, decoders.LABELS[slug]) for slug in decoders.DECODERS),
    ]


def decoder_label(slug: str) -> str:
    """The names of the built-in decoders are the same in all languages."""
    return (
        _("The codec of the device type, and nothing else")
        if slug == decoders.CODEC
        else decoders.LABELS.get(slug, slug)
    )


class FlowForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)
    description = forms.CharField(
        label=gettext_lazy("Description"), max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 3})
    )
    decoder = forms.ChoiceField(
        label=gettext_lazy("Decoding"),
        required=False,
        choices=decoder_choices,
        help_text=gettext_lazy("How the payload of LoRa devices is read. SenML needs none."),
    )
    enabled = forms.BooleanField(
        label=gettext_lazy("Enabled"), required=False, help_text=gettext_lazy("A disabled Flow processes no data.")
    )

    def __init__(self, data: Any = None, *, flow: Flow | None = None, projects: list[Project] | None = None) -> None:
        names = ("name", "description", "decoder")
        super().__init__(data, initial={name: getattr(flow, name) for name in names} if flow else {"enabled": True})
        if flow is not None:
            # Its page enables and disables it, and says first what that means.
            del self.fields["enabled"]
        self.projects = {str(project.pk): project for project in projects or []}
        if flow is None and len(self.projects) > 1:
            choices = [("", _("Choose a Project")), *((key, row.name) for key, row in self.projects.items())]
            self.fields["project"] = forms.ChoiceField(label=_("Project"), choices=choices)
            self.order_fields(["project"])

    @property
    def project(self) -> Project:
        """The Project of a valid form for a new Flow."""
        return self.projects[self.cleaned_data.get("project") or next(iter(self.projects))]
