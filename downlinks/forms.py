"""The forms of the Send instruction tab, one per encoder (S2). Ranges and sizes are checked by the service."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from devices import capabilities, connectivity, controls
from devices.capabilities import Capability
from devices.controls import Command, ControlError
from devices.models import Device, Encoder

from . import encoding, predefined
from .errors import InstructionRefused
from .predefined import Made


class HexadecimalField(forms.CharField):
    """Bytes as people write them; gives bytes."""

    def __init__(self, **options: Any) -> None:
        widget = forms.TextInput(attrs={"class": "hex", "autocomplete": "off", "spellcheck": "false"})
        super().__init__(label=gettext_lazy("Payload"), max_length=4000, widget=widget, **options)

    def clean(self, value: Any) -> bytes:
        try:
            return encoding.from_hexadecimal(super().clean(value))
        except InstructionRefused as error:
            raise forms.ValidationError(str(error)) from error


class FPortField(forms.IntegerField):
    def __init__(self, **options: Any) -> None:
        ports = encoding.FPORTS
        help_text = gettext_lazy("The device's port, 1 to 223.")
        super().__init__(label="FPort", min_value=ports[0], max_value=ports[-1], help_text=help_text, **options)


class ConfirmedField(forms.BooleanField):
    def __init__(self) -> None:
        super().__init__(label=gettext_lazy("Confirmed: the device is to acknowledge it"), required=False)


class SenmlField(forms.CharField):
    """A list of measurements in JSON, as text; whether it is one, the service says."""

    def __init__(self, **options: Any) -> None:
        attrs = {
            "class": "hex",
            "rows": 6,
            "spellcheck": "false",
            "placeholder": '[{"n": "setpoint", "u": "Cel", "v": 21.5}]',
        }
        super().__init__(label=gettext_lazy("SenML"), strip=False, widget=forms.Textarea(attrs=attrs), **options)


class InstructionForm(forms.Form):
    """``token`` names this showing of the page: sent twice with the same content it asks once."""

    encoder: ClassVar[Encoder]
    icon: ClassVar[str]
    token = forms.UUIDField(widget=forms.HiddenInput, required=False)

    def __init__(self, data: QueryDict | None = None, *, device: Device) -> None:
        super().__init__(data, initial={"token": uuid.uuid4()}, auto_id=f"{self.encoder}-%s")
        self.device = device

    @property
    def title(self) -> str:
        return str(self.encoder.label)

    def instruction(self) -> dict[str, Any]:
        """What ``services.request`` takes, of a valid form."""
        raise NotImplementedError


class RawLoraForm(InstructionForm):
    encoder = Encoder.RAW_LORA
    icon = "broadcast"

    fport = FPortField()
    payload = HexadecimalField()
    confirmed = ConfirmedField()

    def __init__(self, data: QueryDict | None = None, *, device: Device) -> None:
        super().__init__(data, device=device)
        room = connectivity.largest_payloads([device]).get(device.pk)
        self.fields["payload"].help_text = _("Hexadecimal, such as 01 0A FF.") + (
            " " + ngettext("At most %d byte fits now.", "At most %d bytes fit now.", room) % room
            if room is not None
            else ""
        )

    def instruction(self) -> dict[str, Any]:
        return {key: self.cleaned_data[key] for key in ("fport", "payload", "confirmed", "token")}


class RawSenmlForm(InstructionForm):
    encoder = Encoder.RAW_SENML
    icon = "code"

    payload = SenmlField()

    def __init__(self, data: QueryDict | None = None, *, device: Device) -> None:
        super().__init__(data, device=device)
        name = encoding.base_name(device)
        self.fields["payload"].help_text = _("A list of measurements in JSON.") + (
            " " + _("The portal adds the base name %s") % name if name else ""
        )

    def instruction(self) -> dict[str, Any]:
        return {"payload": self.cleaned_data["payload"].encode(), "token": self.cleaned_data["token"]}


@dataclass(frozen=True, slots=True)
class Offered:
    """A command with its fields on the page. ``values`` None: it has no values to choose."""

    command: Command
    index: int
    values: forms.BoundField | None
    chosen: bool


class CommandsForm(InstructionForm):
    """One of the type's predefined commands, and one of its values. ``command`` is its place in the type's list."""

    encoder = Encoder.COMMANDS
    icon = "list-check"

    command = forms.ChoiceField(label=gettext_lazy("Command"))

    def __init__(self, data: QueryDict | None = None, *, device: Device) -> None:
        super().__init__(data, device=device)
        self.commands = controls.commands_of(device.type.commands)
        self.fields["command"] = forms.ChoiceField(
            label=_("Command"), choices=[(str(index), each.label) for index, each in enumerate(self.commands)]
        )
        self.initial["command"] = "0"
        for index, each in enumerate(self.commands):
            if each.choices:
                choices = [(controls.text_of(choice.value), choice.label) for choice in each.choices]
                label = each.label if len(self.commands) == 1 else _("Value of %s") % each.label
                self.fields[f"value-{index}"] = forms.ChoiceField(label=label, choices=choices, required=False)

    @property
    def offered(self) -> list[Offered]:
        value = self["command"].value()
        return [
            Offered(
                each,
                index,
                self[f"value-{index}"] if f"value-{index}" in self.fields else None,
                str(index) == str(value),
            )
            for index, each in enumerate(self.commands)
        ]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if self.errors:
            return data
        index = data["command"]
        command = self.commands[int(index)]
        try:
            data["value"] = command.clean(data.get(f"value-{index}"))
            data["made"] = predefined.make(self.device.type, command, data["value"])
        except (ControlError, InstructionRefused) as error:
            self.add_error(f"value-{index}" if command.choices else None, str(error))
        else:
            data["label"] = command.words(data["value"])
        return data

    @property
    def made(self) -> Made:
        """What is sent, of a valid form."""
        made: Made = self.cleaned_data["made"]
        return made

    def instruction(self) -> dict[str, Any]:
        made = self.made
        facts = {"payload": made.payload, "fport": made.fport, "confirmed": made.confirmed}
        return facts | {"label": self.cleaned_data["label"], "token": self.cleaned_data["token"]}


FORMS: Mapping[Capability, tuple[type[InstructionForm], ...]] = {
    Capability.COMMANDS: (CommandsForm,),
    Capability.RAW: (RawLoraForm, RawSenmlForm),
}


def forms_for(device: Device) -> list[type[InstructionForm]]:
    """The forms of the device's encoders; the raw ones not for managed devices (T3)."""
    return [
        form
        for capability, offered in FORMS.items()
        if capabilities.has(device, capability)
        for form in offered
        if form.encoder in device.type.encoders and (form is not CommandsForm or device.type.commands)
    ]
