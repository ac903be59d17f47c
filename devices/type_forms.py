"""The form of a device type (T5): what it is, with its rows (``type_rows``).

It works without JavaScript: every button sends all that is typed, and the page comes back with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Project
from codec import decoders

from . import connectivity, types
from .controls import By
from .forms import ProjectField
from .models import Codec, ConnectivityKind, DeviceType, Encoder, KeySource
from .type_rows import MOST, ROWS, AskedForm, RowForm, SpanField, names_once, numbers_in, span

CODECS_TO_CHOOSE: Final = 500
# The raw decoders read everything: what stands after them is never tried.
IN_ORDER: Final = ("thingsml-lora", "cayenne-lpp", "raw-lora-extended", "raw-lora")


class StartForm(forms.Form):
    """What a new type is for: the Project (where there are several) and the connectivity, which stay."""

    def __init__(self, data: Any = None, *, projects: list[Project], chosen: Project | None) -> None:
        super().__init__(data)
        if len(projects) > 1:
            self.fields["project"] = ProjectField(projects)
            self.fields["project"].initial = chosen.pk if chosen else ""
        offered = {kind for project in projects for kind in types.connectivities(project)}
        self.fields["connectivity"] = forms.ChoiceField(
            label=_("Connectivity"),
            choices=[(kind.value, kind.label) for kind in ConnectivityKind if kind in offered],
            widget=forms.RadioSelect,
            help_text=_("It cannot be changed later."),
        )


class TypeForm(forms.Form):
    """A type with its rows."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)
    description = forms.CharField(
        label=gettext_lazy("Description"), max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    key_source = forms.ChoiceField(
        label=gettext_lazy("Keys"),
        choices=KeySource.choices,
        initial=KeySource.CUSTOMER,
        help_text=gettext_lazy("DevEUI, AppEUI and AppKey of a new device."),
    )
    codec = forms.ChoiceField(label=gettext_lazy("Codec"), required=False)
    decoders = forms.MultipleChoiceField(
        label=gettext_lazy("Built-in decoding"),
        required=False,
        choices=[(slug, decoders.LABELS[slug]) for slug in IN_ORDER],
        initial=IN_ORDER[:1],
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("What no codec reads is tried with these, in this order; the raw ones read everything."),
    )
    raw = forms.BooleanField(label=gettext_lazy("Raw instructions can be sent"), required=False, initial=True)
    timeout = SpanField(label=gettext_lazy("Time for an instruction"))

    lora_only: ClassVar[tuple[str, ...]] = ("key_source", "codec", "decoders")

    def __init__(
        self, data: QueryDict | None = None, *, project: Project, of: ConnectivityKind, initial: Any = None
    ) -> None:
        super().__init__(data, initial=initial)
        self.of, self.project = of, project
        self.codecs: dict[str, Codec] = {}
        if of is ConnectivityKind.LORA:
            rows = Codec.objects.filter(project=project).order_by("name", "pk")[:CODECS_TO_CHOOSE]
            self.codecs = {str(codec.pk): codec for codec in rows}
            label = _("%s (no version in use yet)")
            choices = [
                ("", _("None")),
                *((key, codec.name if codec.in_use_id else label % codec.name) for key, codec in self.codecs.items()),
            ]
            self.fields["codec"] = forms.ChoiceField(label=_("Codec"), required=False, choices=choices)
            self.order_fields(list(self.base_fields))
        else:
            for name in self.lora_only:
                del self.fields[name]
        self.rows: dict[str, list[RowForm]] = {kind: [] for kind in ROWS}
        self.fields["timeout"].help_text = _(
            "One that is not delivered so long after it began has failed, and the next one goes. Longer than the time "
            "between two messages of the device; such as 90 min or 2 d. Empty: %s. It holds for those that begin from "
            "now on."
        ) % span(connectivity.by_slug(of).downlink_timeout)

    # --- how it comes to be ---

    @classmethod
    def of_type(cls, device_type: DeviceType) -> TypeForm:
        """The form as a saved type fills it."""
        assert device_type.project is not None
        of = ConnectivityKind(device_type.connectivity)
        initial = {name: getattr(device_type, name) for name in ("name", "description", "key_source", "decoders")}
        initial |= {"codec": str(device_type.codec_id or ""), "raw": types.RAW[of] in device_type.encoders}
        initial |= {
            "timeout": span(device_type.downlink_timeout_seconds) if device_type.downlink_timeout_seconds else ""
        }
        form = cls(project=device_type.project, of=of, initial=initial)
        for kind, row in ROWS.items():
            described = [one for one in getattr(device_type, kind) if isinstance(one, Mapping)]
            form.rows[kind] = [
                row(number=number, of=of, initial=row.initial_of(one)) for number, one in enumerate(described)
            ]
        return form

    @classmethod
    def posted(cls, data: QueryDict, *, project: Project, of: ConnectivityKind) -> TypeForm:
        """The form as it was sent, to be checked."""
        form = cls(data, project=project, of=of)
        for kind, row in ROWS.items():
            form.rows[kind] = [row(number=number, of=of, data=data) for number in numbers_in(data, kind)]
        return form

    @classmethod
    def typed(cls, data: QueryDict, change: str, *, project: Project, of: ConnectivityKind) -> TypeForm:
        """The form with all that is typed, nothing looked at, and what the pressed button asks: a row more
        (``add-commands``), a row less (``remove-commands-3``), or what is sent (``show-commands-3``)."""
        form = cls(project=project, of=of)
        form.initial = {name: field.widget.value_from_datadict(data, {}, name) for name, field in form.fields.items()}
        what, kind, number = (*change.split("-"), "", "")[:3]
        device_type = form.sketch(data)
        for each, row in ROWS.items():
            numbers = numbers_in(data, each)
            asked = next((one for one in numbers if kind == each and str(one) == number), None)
            for one in numbers:
                if not (what == "remove" and one == asked):
                    form.rows[each].append(
                        form._typed_row(row, one, data, device_type, what == "show" and one == asked)
                    )
            if what == "add" and kind == each and len(numbers) < MOST[each]:
                fresh = row(number=max(numbers, default=-1) + 1, of=of)
                fresh.take_focus()
                form.rows[each].append(fresh)
        return form

    def _typed_row(
        self, kind: type[RowForm], number: int, data: QueryDict, device_type: DeviceType, asked: bool
    ) -> RowForm:
        """A row that shows what is sent is looked at; its errors are told where a person has just asked for it."""
        typed = kind.as_typed(data, number, self.of)
        row = kind(number=number, of=self.of, data=data)
        if not isinstance(row, AskedForm) or not (asked or typed.shown):
            return typed
        if row.is_valid():
            row.look(device_type)
            return row
        return row if asked else typed

    # --- checking ---

    def clean_timeout(self) -> int | None:
        seconds: int | None = self.cleaned_data["timeout"]
        if seconds is not None and not types.TIMEOUT[0] <= seconds <= types.TIMEOUT[1]:
            raise forms.ValidationError(_("Between 1 minute and 30 days."))
        return seconds

    def is_valid(self) -> bool:
        """All of it: every error is found at once."""
        rows_valid = [row.is_valid() for rows in self.rows.values() for row in rows]
        for rows in self.rows.values():
            names_once(rows)
        good = super().is_valid()
        self._ways_fit()
        return good and all(rows_valid) and not any(row.errors for rows in self.rows.values() for row in rows)

    def _ways_fit(self) -> None:
        """The codec that a row wants is chosen above it."""
        for row in (*self.rows["commands"], *self.rows["controls"]):
            if row.is_valid() and row.cleaned_data.get("by") == By.CODEC and not self.cleaned_data.get("codec"):
                row.add_error("by", _("Choose a codec for the type first."))

    @property
    def has_errors(self) -> bool:
        return bool(self.errors) or any(row.errors for rows in self.rows.values() for row in rows)

    def values(self) -> dict[str, Any]:
        """What ``types.add`` and ``types.change`` take, of a valid form."""
        data = self.cleaned_data
        described = {kind: [row.described for row in rows] for kind, rows in self.rows.items()}
        encoders = [types.RAW[self.of].value] if data["raw"] else []
        if described["commands"] or described["controls"]:
            encoders.append(Encoder.COMMANDS.value)
        lora = self.of is ConnectivityKind.LORA
        return described | {
            "name": data["name"].strip(),
            "description": data["description"].strip(),
            "encoders": encoders,
            "downlink_timeout_seconds": data["timeout"],
            "key_source": data["key_source"] if lora else KeySource.CUSTOMER.value,
            "codec_id": int(data["codec"]) if lora and data["codec"] else None,
            "decoders": data["decoders"] if lora else [types.SENML],
        }

    def sketch(self, data: QueryDict) -> DeviceType:
        """The type as far as it decides what is sent."""
        codec = self.codecs.get(data.get("codec", ""))
        return DeviceType(connectivity=self.of, project=self.project, codec=codec)

    def look(self, data: QueryDict) -> None:
        """Find what is sent in the rows that showed it before."""
        device_type = self.sketch(data)
        for row in (*self.rows["commands"], *self.rows["controls"]):
            if isinstance(row, AskedForm) and data.get(row.add_prefix("show")) and row.is_valid():
                row.look(device_type)
