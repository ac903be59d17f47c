"""A device's QR code in the Add Device wizard (D12): the text that a page posts, and what it fills in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext, gettext_lazy

from codec.lorawan import qr
from codec.lorawan.qr import DeviceCode

EUI: Final = re.compile(r"[0-9A-F]{16}\Z")
# What one step hands to the next: identifiers, never a key (a code has none) nor the owner's token.
CARRIED: Final = ("dev_eui", "app_eui")


class CodeForm(forms.Form):
    """The field beside the camera. A valid form has ``code``."""

    qr = forms.CharField(
        label=gettext_lazy("QR code text"),
        required=False,
        max_length=qr.LONGEST,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=gettext_lazy("It begins with LW:D0. The code has no AppKey: you enter that yourself."),
        error_messages={"max_length": qr.Problem.LONG.value},
    )

    code: DeviceCode

    def clean_qr(self) -> str:
        text: str = self.cleaned_data["qr"]
        if not text:
            raise ValidationError(gettext("Enter the text of the QR code."))
        try:
            self.code = qr.parse(text)
        except qr.QrError as error:
            raise ValidationError(gettext(error.problem.value)) from None
        return text

    def fills(self) -> dict[str, str]:
        """Form field → value, of a valid form."""
        return {"dev_eui": self.code.dev_eui, "app_eui": self.code.join_eui, "barcode": self.code.serial}


def asked(data: Mapping[str, str]) -> bool:
    """True where a POST is to read a code: its button was pressed, or a text waits to be read."""
    return "read" in data or bool(data.get("qr", "").strip())


def carried(data: Mapping[str, str]) -> dict[str, str]:
    """The well-formed EUIs among what a step was handed."""
    return {name: data[name] for name in CARRIED if EUI.match(data.get(name, ""))}
