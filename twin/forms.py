"""The forms of one metadata property (W6) and of one desired value (W3)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from common import written
from devices.controls import Control, ControlError, Kind, text_of

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


class AsItWasForm(forms.Form):
    """A desired value as a person saw it. ``seen``: its request; empty: none was made."""

    name = forms.CharField(max_length=content.LONGEST_KEY)
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)


class DesiredForm(AsItWasForm):
    """The value of one control: a drop-down for choices and for on and off, else a field. The control itself checks
    it. Cleaned, ``value`` is what is desired."""

    value = forms.CharField(required=False, strip=False)

    def __init__(self, data: Any = None, *, control: Control, **options: Any) -> None:
        super().__init__(data, auto_id="desired-%s", **options)
        self.control = control
        self.fields["name"].widget = forms.HiddenInput()
        field = self.fields["value"]
        field.label, field.help_text = control.label, range_of(control)
        choices = [(text_of(choice.value), choice.label) for choice in control.choices]
        if control.kind is Kind.BOOLEAN:
            choices = choices or [("true", control.label_of(True)), ("false", control.label_of(False))]
        if choices:
            # A value that is none of the choices any more chooses nothing.
            given = self["value"].value()
            if given not in dict(choices):
                choices.insert(0, (given or "", gettext("Choose…")))
            field.widget = forms.Select(choices=choices)
        elif control.kind is Kind.NUMBER:
            field.widget.attrs["inputmode"] = "decimal"
        else:
            field.widget.attrs["maxlength"] = control.longest
        field.widget.attrs |= {"autofocus": True, "autocomplete": "off"}

    def clean_value(self) -> Any:
        try:
            return self.control.clean(self.cleaned_data["value"])
        except ControlError as error:
            raise forms.ValidationError(str(error)) from error


def range_of(control: Control) -> str:
    """What a number may be, in words; "" where anything goes."""
    least, most = (None if one is None else written.number(one) for one in (control.minimum, control.maximum))
    values = {"least": least, "most": most}
    if least is not None and most is not None:
        return gettext("From %(least)s to %(most)s.") % values
    if least is not None:
        return gettext("%(least)s at least.") % values
    return gettext("%(most)s at most.") % values if most is not None else ""
