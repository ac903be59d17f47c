"""The forms of the codec screens: name, what a text is tried out on, a test case."""

from __future__ import annotations

import json
from typing import Any, Final

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Project
from common import hexadecimal

from . import codec_trial, codec_work
from .forms import ProjectField
from .models import CodecCase, CodecFunction

LONGEST_JSON: Final = codec_trial.LARGEST_CASE


def from_json(text: str) -> Any:
    """Raises ValueError for what is no JSON, with the place. Numbers without end are none."""

    def refuse(word: str) -> Any:
        raise ValueError(_("%s is no number of JSON.") % word)

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(_("This is no JSON: line %(line)d, column %(column)d.") % {
            "line": error.lineno, "column": error.colno,
        }) from error  # fmt: skip
    except RecursionError as error:
        raise ValueError(_("This is nested too deeply.")) from error


class JsonField(forms.CharField):
    """JSON as a person writes it; gives the value."""

    widget = forms.Textarea(attrs={"class": "form-control-mono", "rows": 5, "spellcheck": "false"})

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return from_json(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class CodecForm(forms.Form):
    """A codec's name and what it is for; of a new one the Project too, where there are several."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)
    description = forms.CharField(
        label=gettext_lazy("Description"),
        max_length=1000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Which device it reads, and where its manual is."),
    )

    def __init__(self, data: Any = None, *, projects: list[Project], **options: Any) -> None:
        super().__init__(data, **options)
        self.projects = projects
        if len(projects) > 1:
            self.fields["project"] = ProjectField(projects)
            self.order_fields(["project"])

    @property
    def project(self) -> Project:
        """The Project of a valid form."""
        return self.cleaned_data.get("project") or self.projects[0]


class TrialForm(forms.Form):
    """What a text is tried out on: bytes and FPort, or what encodeDownlink gets. ``given``: as a case keeps it."""

    function = forms.ChoiceField(label=gettext_lazy("Function"), choices=CodecFunction.choices)
    payload = forms.CharField(
        label=gettext_lazy("Bytes"),
        required=False,
        max_length=2000,
        help_text=gettext_lazy("Hexadecimal in any spacing, such as 00 D7 2F."),
        widget=forms.TextInput(
            attrs={
                "class": "form-control-mono",
                "autocomplete": "off",
                "spellcheck": "false",
                "placeholder": "00 D7 2F",
            }
        ),
    )
    fport = forms.IntegerField(
        label="FPort",
        required=False,
        min_value=1,
        max_value=255,
        initial=1,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
    wanted = JsonField(
        label=gettext_lazy("What is to be sent"),
        required=False,
        max_length=LONGEST_JSON,
        help_text=gettext_lazy('JSON, what the codec gets as input.data, such as {"interval": 15}.'),
    )

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if self.errors or not values.get("function"):
            return values
        function = CodecFunction(values["function"])
        if function is CodecFunction.ENCODE_DOWNLINK:
            given: dict[str, Any] = {"data": values.get("wanted")}
            where = "wanted"
        else:
            where = "payload"
            given = {"fPort": values.get("fport")}
            if given["fPort"] is None:
                self.add_error("fport", _("Write the FPort."))
                return values
            try:
                given["bytes"] = hexadecimal.read(values.get("payload", "")).hex()
            except hexadecimal.NotHexadecimal as error:
                self.add_error("payload", str(error))
                return values
            if function is CodecFunction.DECODE_UPLINK:
                given["recvTime"] = timezone.now().isoformat()
        try:
            values["given"] = codec_trial.checked_given(function, given)
        except codec_trial.NotACase as error:
            self.add_error(where, _("Write a JSON object.") if where == "wanted" else str(error))
        return values


class CaseForm(forms.Form):
    """A test case as it is kept. The function of a case that is there stays; ``seen``: as the person found it."""

    seen = forms.CharField(widget=forms.HiddenInput, required=False)
    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)
    function = forms.ChoiceField(label=gettext_lazy("Function"), choices=CodecFunction.choices)
    given = JsonField(
        label=gettext_lazy("Input"),
        max_length=LONGEST_JSON,
        help_text=gettext_lazy(
            'As JSON: {"bytes": "00 D7 2F", "fPort": 1} for what is decoded, {"data": {…}} for what is encoded.'
        ),
    )
    expected = JsonField(
        label=gettext_lazy("Expected"),
        max_length=LONGEST_JSON,
        help_text=gettext_lazy(
            'As JSON, what the codec gives: {"data": {…}} or {"bytes": "00 0F", "fPort": 10}, with "errors" and '
            '"warnings" where there are some.'
        ),
    )

    def __init__(self, data: Any = None, *, case: CodecCase | None = None) -> None:
        initial = {
            "given": codec_trial.as_text({"bytes": "", "fPort": 1}),
            "expected": codec_trial.as_text({"data": {}}),
        }
        if case is not None:
            initial = {
                "seen": codec_work.fingerprint(case),
                "name": case.name,
                "given": codec_trial.as_text(case.given),
            }
            initial["expected"] = codec_trial.as_text(case.expected)
        super().__init__(data, initial=initial)
        for name in ("given", "expected"):
            self.fields[name].widget.attrs["rows"] = 8
        del self.fields["seen" if case is None else "function"]
