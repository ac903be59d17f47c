"""The rows of the form of a device type (T5): measurements, commands and controls that people add and take away.

Each row is a form of its own with the names ``<kind>-<number>-<field>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from . import controls, making, types
from .controls import By, Command, Control, ControlError, Kind, Scalar
from .models import ConnectivityKind, DeviceType

# Of a command's values, how many are shown with their bytes.
SHOWN: Final = 20
NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
SPAN: Final = re.compile(r"(\d+)\s*(s|min|h|u|d)", re.IGNORECASE)
# "u" is the Dutch hour.
SECONDS: Final = {"d": 86400, "h": 3600, "u": 3600, "min": 60, "s": 1}
WAYS: Final = {
    By.CODEC: gettext_lazy("By the codec"),
    By.BYTES: gettext_lazy("Fixed bytes"),
    By.SENML: gettext_lazy("A SenML record"),
}
KINDS: Final = {
    Kind.ENUM: gettext_lazy("A choice"),
    Kind.NUMBER: gettext_lazy("A number"),
    Kind.BOOLEAN: gettext_lazy("On or off"),
    Kind.TEXT: gettext_lazy("A text"),
}
HEX: Final = {"class": "hex", "autocomplete": "off", "spellcheck": "false"}


class UnitInput(forms.TextInput):
    """A unit; the page has a list of the known ones."""

    def __init__(self) -> None:
        super().__init__({"list": "units", "autocomplete": "off", "spellcheck": "false"})


class SpanField(forms.CharField):
    """A length of time as people write it ("90 s", "30 min", "6 h", "2 d", "1 h 30 min"); gives whole seconds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=30, required=False, **options)

    def clean(self, value: Any) -> int | None:
        text = super().clean(value)
        if not text:
            return None
        parts = SPAN.findall(text)
        if not parts or SPAN.sub("", text).strip():
            raise forms.ValidationError(_("Write a time such as 90 s, 30 min, 6 h or 2 d."))
        return sum(int(count) * SECONDS[unit.lower()] for count, unit in parts)


def span(seconds: int | timedelta) -> str:
    """Exactly so many seconds, as SpanField reads them."""
    rest = int(seconds.total_seconds()) if isinstance(seconds, timedelta) else seconds
    parts = []
    for text, size in ((_("%d d"), 86400), (_("%d h"), 3600), (_("%d min"), 60), (_("%d s"), 1)):
        count, rest = divmod(rest, size)
        parts += [text % count] if count else []
    return " ".join(parts) or _("%d s") % 0


class ChoicesField(forms.CharField):
    """Values to choose, one in a line: the value, and after semicolons its label and its own bytes; gives
    descriptions of choices."""

    def __init__(self) -> None:
        super().__init__(
            label=gettext_lazy("Values"),
            required=False,
            max_length=20_000,
            help_text=gettext_lazy(
                "One in a line: value; label; bytes. Label and bytes may be left out: 5; Every 5 minutes"
            ),
            widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        )

    def clean(self, value: Any) -> list[dict[str, Any]]:
        lines = [line.strip() for line in super().clean(value).splitlines()]
        return [_choice(line) for line in lines if line]


def _choice(line: str) -> dict[str, Any]:
    value, *others = (part.strip() for part in line.split(";"))
    if len(others) > 2:
        raise forms.ValidationError(_("“%(line)s” has more than value, label and bytes."), params={"line": line})
    made = {"value": scalar(value), "label": (others[0] if others else "") or value.strip('"')}
    return made | ({"bytes": others[1]} if len(others) == 2 and others[1] else {})


def scalar(text: str) -> Scalar:
    """A value as it stands in a line: true, false, a number, or a text, which may stand in quotes."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if NUMBER.fullmatch(text):
        number = float(text)
        return int(text) if text.lstrip("-").isdigit() else number
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def lines_of(choices: Iterable[Mapping[str, Any]]) -> str:
    """Descriptions of choices as ChoicesField reads them."""
    made = []
    for each in choices:
        value = each["value"]
        text = controls.text_of(value)
        if isinstance(value, str) and not isinstance(scalar(value), str):
            text = f'"{value}"'
        parts = [text, str(each.get("label") or ""), str(each.get("bytes") or "")]
        made.append("; ".join(parts).rstrip("; "))
    return "\n".join(made)


# --- rows ---


@dataclass(frozen=True, slots=True)
class Preview:
    """What is sent for one value. ``made`` None: nothing is, and ``problem`` says why."""

    value: str
    made: making.Made | None
    problem: str = ""


class RowForm(forms.Form):
    """One row. ``number`` names it for as long as the form lives; ``described``: it as a type keeps it; ``shown``: it
    shows what is sent."""

    kind: ClassVar[str]
    shown = False

    def __init__(self, *, number: int, of: ConnectivityKind, data: QueryDict | None = None, **options: Any) -> None:
        self.number, self.of = number, of
        super().__init__(data, prefix=f"{self.kind}-{number}", **options)

    @classmethod
    def initial_of(cls, described: Mapping[str, Any]) -> dict[str, Any]:
        """What the fields show for a description."""
        return dict(described)

    @classmethod
    def as_typed(cls, data: QueryDict, number: int, of: ConnectivityKind) -> RowForm:
        """The row with what is typed in it, not looked at yet."""
        row = cls(number=number, of=of)
        row.initial = {
            name: field.widget.value_from_datadict(data, {}, row.add_prefix(name)) for name, field in row.fields.items()
        }
        row.shown = bool(data.get(row.add_prefix("show")))
        return row

    @property
    def described(self) -> dict[str, Any]:
        raise NotImplementedError

    def take_focus(self) -> None:
        """Have the browser go to the row's first field: it has just been added."""
        next(iter(self.fields.values())).widget.attrs["autofocus"] = True


class MeasurementForm(RowForm):
    kind = "measurements"

    name = forms.CharField(label=gettext_lazy("Name"), max_length=controls.LONGEST_NAME)
    unit = forms.CharField(
        label=gettext_lazy("Unit"),
        max_length=types.LONGEST_UNIT,
        required=False,
        widget=UnitInput,
    )

    def clean_name(self) -> str:
        if not controls.NAME.match(self.cleaned_data["name"]):
            raise forms.ValidationError(_("A name has no line breaks or other control characters."))
        return str(self.cleaned_data["name"])

    @property
    def described(self) -> dict[str, Any]:
        return {"name": self.cleaned_data["name"], "unit": self.cleaned_data["unit"]}


class AskedForm(RowForm):
    """What commands and controls have in common: names, values, and how a value becomes an instruction."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=controls.LONGEST_NAME,
        help_text=gettext_lazy("As the device or the codec knows it, such as interval."),
    )
    label = forms.CharField(
        label=gettext_lazy("Label"),
        max_length=controls.LONGEST_NAME,
        required=False,
        help_text=gettext_lazy("What people read."),
    )
    choices = ChoicesField()
    by = forms.ChoiceField(label=gettext_lazy("How a value is sent"))
    fport = forms.IntegerField(
        label="FPort", required=False, min_value=1, max_value=223, help_text=gettext_lazy("1 to 223.")
    )
    template = forms.CharField(
        label=gettext_lazy("Bytes"),
        required=False,
        max_length=controls.LONGEST_TEMPLATE,
        widget=forms.TextInput(HEX),
        help_text=gettext_lazy(
            "Hexadecimal, with places for the value: {value:u8}, u16 or u32, i8, i16 or i32 with a sign, u16le the"
            " least significant byte first, {value} for a text. For example 01 {value:u16}."
        ),
    )
    confirmed = forms.BooleanField(label=gettext_lazy("Confirmed: the device is to acknowledge it"), required=False)

    lora_only: ClassVar[tuple[str, ...]] = ("by", "fport", "template", "confirmed")
    # field → for which choices the page shows it; style sheets hide it for others
    needs: ClassVar[Mapping[str, str]] = {"template": "bytes"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.of is ConnectivityKind.LORA:
            field = forms.ChoiceField(
                label=self.fields["by"].label,
                choices=[(way.value, WAYS[way]) for way in types.WAYS[self.of]],
                initial=By.BYTES,
            )
            self.fields["by"] = field
        else:
            for name in self.lora_only:
                del self.fields[name]
        self.previews: list[Preview] = []

    @classmethod
    def initial_of(cls, described: Mapping[str, Any]) -> dict[str, Any]:
        way = described.get("way", {})
        known = {key: way.get(key) for key in ("by", "fport", "template", "confirmed")}
        return dict(described) | known | {"choices": lines_of(described.get("choices") or [])}

    @property
    def parts(self) -> list[tuple[forms.BoundField, str]]:
        return [(field, self.needs.get(field.name, "")) for field in self]

    def _way(self) -> dict[str, Any]:
        data = self.cleaned_data
        if self.of is not ConnectivityKind.LORA:
            return {"by": By.SENML.value}
        way: dict[str, Any] = {"by": data["by"], "fport": data["fport"], "confirmed": data["confirmed"]}
        return way | ({"template": data["template"].strip()} if data["by"] == By.BYTES else {})

    @property
    def described(self) -> dict[str, Any]:
        data = self.cleaned_data
        asked = {"name": data["name"], "label": data["label"] or data["name"], "way": self._way()}
        return asked | ({"choices": data["choices"]} if data["choices"] and self.has_choices else {})

    @property
    def has_choices(self) -> bool:
        """Whether there are values to choose; where not, the page does not show their field."""
        return True

    def asked(self) -> Command | Control:
        """Raises ControlError for what is none."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if self.errors:
            return data
        with_bytes = self.has_choices and any("bytes" in each for each in data["choices"])
        if with_bytes and data.get("by") != By.BYTES:
            self.add_error("choices", _("Bytes of a value belong to fixed bytes."))
            return data
        try:
            self.asked()
        except ControlError as error:
            self.add_error(self._field_of(error.where), str(error))
        return data

    def _field_of(self, where: str) -> str | None:
        return {"wait_seconds": "wait", "give_up_seconds": "give_up", "way": "by"}.get(where, where) or None

    def add_error(self, field: str | None, error: Any) -> None:
        super().add_error(field if field in self.fields else None, error)

    def values_to_show(self, asked: Command | Control) -> Sequence[Scalar]:
        return [choice.value for choice in asked.choices[:SHOWN]]

    def look(self, device_type: DeviceType) -> None:
        """Find what is sent, for a row without errors."""
        self.shown = True
        asked = self.asked()
        for value in self.values_to_show(asked):
            self.previews.append(_preview(device_type, asked, value))


def _preview(device_type: DeviceType, asked: Command | Control, value: Scalar) -> Preview:
    label = asked.label_of(value)
    try:
        made = making.make(device_type, asked, value)
    except ControlError as error:
        return Preview(label, None, str(error))
    if not made.senml and made.fport is None:
        return Preview(label, None, _("There is no FPort: the codec names none, so give one here."))
    if not made.payload:
        return Preview(label, None, _("There is nothing to send."))
    return Preview(label, made)


class CommandForm(AskedForm):
    kind = "commands"

    help = forms.CharField(label=gettext_lazy("Explanation"), max_length=controls.LONGEST_TEXT, required=False)

    field_order = ("name", "label", "help", "choices", "by", "fport", "template", "confirmed")

    @property
    def described(self) -> dict[str, Any]:
        return super().described | ({"help": self.cleaned_data["help"]} if self.cleaned_data["help"] else {})

    def asked(self) -> Command:
        return controls.commands_of([self.described])[0]

    def values_to_show(self, asked: Command | Control) -> Sequence[Scalar]:
        return super().values_to_show(asked) or [True]


class ControlForm(AskedForm):
    kind = "controls"

    sort = forms.ChoiceField(
        label=gettext_lazy("Kind"), choices=[(kind.value, label) for kind, label in KINDS.items()], initial=Kind.NUMBER
    )
    unit = forms.CharField(
        label=gettext_lazy("Unit"),
        max_length=types.LONGEST_UNIT,
        required=False,
        widget=UnitInput,
    )
    minimum = forms.FloatField(label=gettext_lazy("Smallest"), required=False)
    maximum = forms.FloatField(label=gettext_lazy("Largest"), required=False)
    longest = forms.IntegerField(
        label=gettext_lazy("Longest text"), required=False, min_value=1, max_value=controls.LONGEST_TEXT
    )
    reported = forms.CharField(
        label=gettext_lazy("Answered by"),
        max_length=controls.LONGEST_NAME,
        required=False,
        help_text=gettext_lazy("The reported value's name. Empty: the device's acknowledgement is enough."),
    )
    tolerance = forms.FloatField(
        label=gettext_lazy("Tolerance"),
        required=False,
        min_value=0,
        help_text=gettext_lazy("A reported number this close is the same."),
    )
    wait = SpanField(
        label=gettext_lazy("Wait for the report"), help_text=gettext_lazy("After the delivery. Empty: 6 h.")
    )
    tries = forms.IntegerField(
        label=gettext_lazy("Send at most"),
        required=False,
        min_value=1,
        max_value=20,
        help_text=gettext_lazy("Times. Empty: 3."),
    )
    give_up = SpanField(label=gettext_lazy("Give up after"), help_text=gettext_lazy("From the request. Empty: 2 d."))
    sample = forms.CharField(label=gettext_lazy("Value to try"), max_length=controls.LONGEST_TEXT, required=False)

    field_order = (
        "name", "label", "sort", "choices", "unit", "minimum", "maximum", "longest", "by", "fport", "template",
        "confirmed", "reported", "tolerance", "wait", "tries", "give_up", "sample",
    )  # fmt: skip

    needs = {
        "template": "bytes",
        "choices": "values",
        "unit": "number",
        "minimum": "number",
        "maximum": "number",
        "tolerance": "number",
        "longest": "text",
        "sample": "typed",
    }

    @classmethod
    def initial_of(cls, described: Mapping[str, Any]) -> dict[str, Any]:
        spans = {
            name: span(described[f"{name}_seconds"]) for name in ("wait", "give_up") if f"{name}_seconds" in described
        }
        return super().initial_of(described) | {"sort": described.get("kind")} | spans

    @property
    def described(self) -> dict[str, Any]:
        data = self.cleaned_data
        given = {
            "reported": data["reported"].strip(),
            "tries": data["tries"],
            "wait_seconds": data["wait"],
            "give_up_seconds": data["give_up"],
        }
        if data["sort"] == Kind.NUMBER:
            given |= {key: data[key] for key in ("unit", "minimum", "maximum", "tolerance")}
        if data["sort"] == Kind.TEXT:
            given |= {"longest": data["longest"]}
        kept = {key: value for key, value in given.items() if value not in {None, ""}}
        return super().described | {"kind": data["sort"]} | kept

    @property
    def has_choices(self) -> bool:
        return self.cleaned_data.get("sort") in {Kind.ENUM, Kind.BOOLEAN}

    def asked(self) -> Control:
        return controls.controls_of([self.described])[0]

    def _field_of(self, where: str) -> str | None:
        return "sort" if where == "kind" else super()._field_of(where)

    def values_to_show(self, asked: Command | Control) -> Sequence[Scalar]:
        assert isinstance(asked, Control)
        if asked.kind is Kind.BOOLEAN:
            return [True, False]
        if asked.kind is Kind.ENUM:
            return super().values_to_show(asked)
        limits = [limit for limit in (asked.minimum, asked.maximum) if limit is not None]
        try:
            typed = [asked.clean(self.cleaned_data["sample"])] if self.cleaned_data["sample"] else []
        except ControlError as error:
            self.add_error("sample", str(error))
            typed = []
        return [*typed, *(asked.clean(limit) for limit in limits)]


ROWS: Final[Mapping[str, type[RowForm]]] = {form.kind: form for form in (MeasurementForm, CommandForm, ControlForm)}
MOST: Final = {"measurements": types.MOST_MEASUREMENTS, "commands": controls.MOST, "controls": controls.MOST}


def numbers_in(data: QueryDict, kind: str) -> list[int]:
    """The numbers of the rows in the order of the page."""
    found = (text for text in data.getlist(kind) if text.isascii() and text.isdecimal() and len(text) < 6)
    return list(dict.fromkeys(int(text) for text in found))[: MOST[kind]]


def names_once(rows: Sequence[RowForm]) -> None:
    """The second of two rows with one name is told, of rows that were looked at."""
    seen: set[str] = set()
    for row in rows:
        name = row.cleaned_data.get("name")
        if name in seen:
            row.add_error("name", _("Each name can stand once."))
        elif name:
            seen.add(name)
