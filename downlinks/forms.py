"""The forms of the Send instruction tab, one per encoder (S2). Ranges and sizes are checked by the service."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from devices import capabilities, connectivity
from devices.capabilities import Capability
from devices.models import Device, Encoder

from . import encoding
from .errors import InstructionRefused


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


FORMS: tuple[type[InstructionForm], ...] = (RawLoraForm, RawSenmlForm)


def forms_for(device: Device) -> list[type[InstructionForm]]:
    """The forms of the device's encoders; none where its type takes no raw instructions."""
    if not capabilities.has(device, Capability.RAW):
        return []
    return [form for form in FORMS if form.encoder in device.type.encoders]
