"""The forms of the Send instruction tab, one per encoder (S2). Ranges and sizes are checked by the service."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Final

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from codec import senml_check
from codec.senml_check import Checked
from common import hexadecimal
from devices import capabilities, controls
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
        # Not stripped: an error tells which character it is about.
        super().__init__(label=gettext_lazy("Payload"), max_length=4000, strip=False, widget=widget, **options)

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


AT: Final = "at"
VALID: Final = {
    "": gettext_lazy("No limit"),
    "3600": gettext_lazy("1 hour from now"),
    "86400": gettext_lazy("1 day from now"),
    "604800": gettext_lazy("1 week from now"),
    AT: gettext_lazy("A moment"),
}
# A form that was shown or looked at longer ago than this counts from when it is sent.
FRESH: Final = timedelta(minutes=10)


class InstructionForm(forms.Form):
    """``token`` names this showing of the page: sent twice with the same content it asks once. ``shown``: when it was
    shown or looked at last, in seconds since 1970; "1 hour from now" counts from then, so that what is sent twice has
    one end. ``part``: the part of the page that tells what would be sent (``look``)."""

    encoder: ClassVar[Encoder]
    icon: ClassVar[str]
    part: ClassVar[str]
    template: ClassVar[str] = "downlinks/_raw.html"
    token = forms.UUIDField(widget=forms.HiddenInput, required=False)
    valid_until = forms.ChoiceField(
        label=gettext_lazy("Valid until"),
        choices=list(VALID.items()),
        required=False,
        help_text=gettext_lazy("If it has not begun by then, it is not sent any more and fails."),
    )
    valid_at = forms.DateTimeField(
        label=gettext_lazy("Moment"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, data: QueryDict | None = None, *, device: Device) -> None:
        super().__init__(data, initial={"token": uuid.uuid4()}, auto_id=f"{self.encoder}-%s")
        self.device = device
        self.now = timezone.now()

    @property
    def title(self) -> str:
        return str(self.encoder.label)

    @property
    def shown(self) -> int:
        return int(self.now.timestamp())

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        chosen = data.get("valid_until", "")
        if chosen == AT and not data.get("valid_at") and "valid_at" not in self.errors:
            self.add_error("valid_at", _("Choose a moment."))
        if chosen != AT:
            self.errors.pop("valid_at", None)
        data["until"] = data.get("valid_at") if chosen == AT else self._from_now(chosen)
        if data["until"] and data["until"] <= self.now:
            self.add_error("valid_at", _("Choose a moment that is still to come."))
        return data

    def _from_now(self, seconds: str) -> datetime | None:
        if not seconds:
            return None
        text = self.data.get("shown", "")
        shown = datetime.fromtimestamp(int(text), UTC) if text.isascii() and text.isdigit() and len(text) < 12 else None
        fresh = shown is not None and self.now - FRESH <= shown <= self.now
        return (shown if fresh and shown else self.now) + timedelta(seconds=int(seconds))

    @property
    def problems(self) -> list[str]:
        """What is wrong with what is filled in, for a look while it is still written."""
        return [
            str(error)
            for name, errors in self.errors.items()
            if name not in self.fields or self.data.get(self.add_prefix(name), "").strip()
            for error in errors
        ]

    def instruction(self) -> dict[str, Any]:
        """What ``services.request`` takes, of a valid form."""
        return {"token": self.cleaned_data["token"], "valid_until": self.cleaned_data["until"]}


@dataclass(frozen=True, slots=True)
class LoraLook:
    """What is written in the raw form so far. ``wrong``: the text before, at and after what cannot be read."""

    payload: bytes | None
    wrong: tuple[str, str, str] | None
    confirmed: bool

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        """Sixteen bytes in each: place of the first, hexadecimal, and as ASCII with dots for what is not printable."""
        payload = self.payload or b""
        chunks = [(start, payload[start : start + 16]) for start in range(0, len(payload), 16)]
        return [(f"{start:04X}", chunk.hex(" ").upper(), "".join(map(_printable, chunk))) for start, chunk in chunks]


def _printable(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else "."


class RawLoraForm(InstructionForm):
    encoder = Encoder.RAW_LORA
    icon = "broadcast"
    part = "lora-check"

    fport = FPortField()
    payload = HexadecimalField(help_text=gettext_lazy("Hexadecimal, such as 01 0A FF."))
    confirmed = ConfirmedField()

    @cached_property
    def room(self) -> encoding.Room | None:
        return encoding.room_of(self.device)

    @property
    def written(self) -> list[forms.BoundField]:
        return [self["fport"], self["payload"], self["confirmed"]]

    @property
    def look(self) -> LoraLook:
        text = self.data.get("payload", "")
        confirmed = bool(self.data.get("confirmed"))
        try:
            return LoraLook(hexadecimal.read(text), None, confirmed)
        except hexadecimal.NotHexadecimal as error:
            place = error.place
            before, after = text[max(0, place - 24) : place], text[place + 1 : place + 25]
            return LoraLook(None, (before, text[place], after), confirmed)

    @property
    def problems(self) -> list[str]:
        found = super().problems
        payload = self.look.payload
        if payload and self.room:
            try:
                encoding.check_lora(encoding.FPORTS[0], payload, self.room.size)
            except InstructionRefused as error:
                found.append(str(error))
        return found

    def instruction(self) -> dict[str, Any]:
        return super().instruction() | {key: self.cleaned_data[key] for key in ("fport", "payload", "confirmed")}


class RawSenmlForm(InstructionForm):
    encoder = Encoder.RAW_SENML
    icon = "code"
    part = "senml-check"

    payload = SenmlField()

    def __init__(self, data: QueryDict | None = None, *, device: Device) -> None:
        super().__init__(data, device=device)
        name = encoding.base_name(device)
        self.fields["payload"].help_text = _("A list of measurements in JSON.") + (
            " " + _("The portal adds the base name %s") % name if name else ""
        )

    @property
    def written(self) -> list[forms.BoundField]:
        return [self["payload"]]

    @cached_property
    def look(self) -> Checked | None:
        text = self.data.get("payload", "")
        return senml_check.check(text, encoding.base_name(self.device)) if text.strip() else None

    def clean_payload(self) -> str:
        if self.look and self.look.errors:
            raise forms.ValidationError([str(error) for error in self.look.errors])
        return str(self.cleaned_data["payload"])

    def instruction(self) -> dict[str, Any]:
        return super().instruction() | {"payload": self.cleaned_data["payload"].encode()}


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
    part = "command-bytes"
    template = "downlinks/_commands.html"

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
    def problems(self) -> list[str]:
        return [str(error) for errors in self.errors.values() for error in errors]

    @property
    def made(self) -> Made:
        """What is sent, of a valid form."""
        made: Made = self.cleaned_data["made"]
        return made

    def instruction(self) -> dict[str, Any]:
        made = self.made
        facts = {"payload": made.payload, "fport": made.fport, "confirmed": made.confirmed}
        return super().instruction() | facts | {"label": self.cleaned_data["label"]}


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
