"""The form of one metadata property (W6)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from . import content
from .errors import TwinRefused


class SeenForm(forms.Form):
    """A property as a person saw it. ``seen``: the moment of its value; empty: it was not there."""

    key = forms.CharField(label=_("Key"), max_length=content.LONGEST_KEY)
    seen = forms.FloatField(required=False, widget=forms.HiddenInput)


class PropertyForm(SeenForm):
    value = forms.CharField(label=_("Value"), max_length=content.LONGEST_TEXT)

    field_order = ["key", "value"]

    def __init__(self, data: Any = None, *, editing: str = "", **options: Any) -> None:
        """``editing``: the key of the property whose value is edited where it stands; "": a new one."""
        super().__init__(data, auto_id="edit-%s" if editing else "add-%s", **options)
        self.editing = editing
        if editing:
            self.fields["key"].widget = forms.HiddenInput()
            self.fields["value"].widget.attrs["autofocus"] = True
            # A text that was set elsewhere may have lines, which a field of one line would lose.
            if "\n" in str(self["value"].value() or ""):
                attrs = self.fields["value"].widget.attrs
                self.fields["value"].widget = forms.Textarea(attrs=attrs | {"rows": 4})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "key" in cleaned and "value" in cleaned:
            try:
                content.check_texts({cleaned["key"]: cleaned["value"]})
            except TwinRefused as error:
                self.add_error(error.field, str(error))
        return cleaned
