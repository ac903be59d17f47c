"""The bulk action that sets metadata of many devices (D4, W6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django import forms
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.bulk import ActionForm, Asked, BulkAction, Refusal, Result
from devices.capabilities import ALLOWED, Capability
from devices.models import Outcome

from . import content, services
from .errors import TwinFull, TwinRefused

ROWS: Final = 5


class PropertyRow(forms.MultiWidget):
    """Key, value and "remove" beside each other."""

    def __init__(self, row: str) -> None:
        super().__init__([forms.TextInput, forms.TextInput, forms.CheckboxInput])
        self.row = row

    def decompress(self, value: Any) -> list[Any]:
        return list(value) if value else ["", "", False]

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        return render_to_string("twin/_property_row.html", self.get_context(name, value, attrs) | {"row": self.row})


class PropertyField(forms.MultiValueField):
    """One line: (key, text), (key, None) to remove it, or None where it is empty and may be."""

    def __init__(self, *, label: str, **options: Any) -> None:
        fields = (
            forms.CharField(required=False, max_length=content.LONGEST_KEY),
            forms.CharField(required=False, max_length=content.LONGEST_TEXT),
            forms.BooleanField(required=False),
        )
        super().__init__(fields, label=label, widget=PropertyRow(label), require_all_fields=False, **options)

    def compress(self, data_list: Sequence[Any]) -> tuple[str, str | None] | None:
        key, text, remove = data_list or ("", "", False)
        if not (key or text or remove):
            if self.required:
                raise forms.ValidationError(_("Write one property at least."))
            return None
        if key and not text and not remove:
            raise forms.ValidationError(_("Write a value, or choose Remove."))
        try:
            content.check_texts({key: text})
        except TwinRefused as error:
            raise forms.ValidationError(str(error)) from error
        return key, None if remove else text


class MetadataForm(ActionForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in range(1, ROWS + 1):
            self.fields[f"property{number}"] = PropertyField(label=_("Property %d") % number, required=number == 1)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        keys = [row[0] for row in cleaned.values() if row]
        if len(set(keys)) < len(keys):
            raise forms.ValidationError(_("Each key can be named once."))
        return cleaned

    def parameters(self) -> dict[str, Any]:
        return {"changes": dict(row for row in self.cleaned_data.values() if row)}


def summary(parameters: Mapping[str, Any]) -> str:
    return "; ".join(
        _("“%(key)s” is removed") % {"key": key} if text is None else f"{key} = {text}"
        for key, text in parameters["changes"].items()
    )


def refusals(asked: Asked) -> Sequence[Refusal]:
    allowed = Q(type__category__in=ALLOWED[Capability.TWIN_METADATA])
    return [Refusal(~allowed, gettext_lazy("The portal keeps no metadata for a managed device."))]


def apply(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    changes = asked.parameters["changes"]
    try:
        services.set_metadata(ids, changes, actor=asked.actor)
    except TwinFull as error:
        services.set_metadata(set(ids) - error.device_ids, changes, actor=asked.actor)
        return dict.fromkeys(error.device_ids, Result(Outcome.FAILED, str(error)))
    return {}


METADATA = BulkAction(
    slug="metadata",
    label=gettext_lazy("Set metadata"),
    icon="tag",
    question=gettext_lazy("Set metadata of these devices?"),
    explanation=gettext_lazy(
        "A property that a device has already gets the new value; its other properties stay as they are."
    ),
    order=60,
    form=MetadataForm,
    refusals=refusals,
    apply=apply,
    summary=summary,
)
