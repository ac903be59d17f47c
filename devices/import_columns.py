"""Which column of a file is which field of a device (D12): the fields, a guess from the names, what was chosen."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import orjson
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User

from . import connectivity
from .connectivity import ImportField
from .forms import DetailsForm
from .import_file import ERROR_COLUMN
from .models import DeviceType, ImportFile, ImportMapping

DETAILS: Final = (
    ImportField(
        "name",
        gettext_lazy("Name"),
        ("Name", "Device name", "Label"),
        required=True,
        example="North field 12",
        help=DetailsForm.base_fields["name"].help_text,
    ),
    ImportField(
        "barcode",
        gettext_lazy("Barcode"),
        ("Barcode", "Serial", "Serial number", "SN"),
        example="A-000123",
        help=DetailsForm.base_fields["barcode"].help_text,
    ),
    ImportField("description", gettext_lazy("Description"), ("Description", "Remark", "Note"), example="By the gate"),
)
# Looks like a key: not shown as an example of what a column holds.
_KEY: Final = re.compile(r"[0-9A-Za-z\s:\-.]{30,}")
MASK: Final = "••••••••"


def fields(device_type: DeviceType) -> list[ImportField]:
    """The fields of a device of this type, in the order of the template."""
    return [*DETAILS, *connectivity.by_slug(device_type.connectivity).import_fields(device_type)]


def template_columns(device_type: DeviceType) -> list[str]:
    return [field.aliases[0] for field in fields(device_type)]


def plain(name: str) -> str:
    """A column's name without case and separators."""
    return re.sub(r"[\W_]", "", name).lower()


def guess(header: list[str], device_type: DeviceType) -> dict[str, int]:
    """Key of the field → index of the column, as far as the names tell. Each column is used once."""
    names = [plain(name) for name in header]
    found: dict[str, int] = {}
    for field in fields(device_type):
        for alias in (*field.aliases, field.key, str(field.label)):
            if plain(alias) in names and names.index(plain(alias)) not in found.values():
                found[field.key] = names.index(plain(alias))
                break
    return found


def digest(header: list[str]) -> str:
    """Names the header; a mended file of refused rows, which has one column more, has the same."""
    names = [name for name in header if name != ERROR_COLUMN]
    return hashlib.sha256(orjson.dumps(names)).hexdigest()


def preselected(upload: ImportFile, user: User) -> dict[str, int]:
    """What was chosen for this file, else for the last one with the same header, else a guess."""
    if upload.mapping:
        return dict(upload.mapping)
    kept = ImportMapping.objects.filter(
        project=upload.project_id, type=upload.type_id, user=user, header=digest(upload.header)
    ).first()
    # A field may have gone since, and the file may have lost a column.
    known = {field.key for field in fields(upload.type)}
    if kept is not None:
        return {key: at for key, at in kept.mapping.items() if key in known and at < len(upload.header)}
    return guess(upload.header, upload.type)


def remember(upload: ImportFile, user: User) -> None:
    ImportMapping.objects.update_or_create(
        project=upload.project,
        type=upload.type,
        user=user,
        header=digest(upload.header),
        defaults={"mapping": upload.mapping},
    )


class ColumnsForm(forms.Form):
    """One choice for each column of the file: a field, or to leave it out. ``samples``: cells of the first rows."""

    def __init__(self, data: Any = None, *, upload: ImportFile, chosen: dict[str, int], samples: list[str]) -> None:
        super().__init__(data)
        self.known = {field.key: field for field in fields(upload.type)}
        choices = [("", _("Leave out"))]
        choices += [(key, f"{one.label} *" if one.required else str(one.label)) for key, one in self.known.items()]
        self.samples = samples
        by_column = {column: key for key, column in chosen.items()}
        for index, name in enumerate(upload.header):
            key = by_column.get(index, "")
            self.fields[f"column-{index}"] = forms.ChoiceField(
                label=name or _("Column %(number)d") % {"number": index + 1},
                choices=choices,
                required=False,
                initial=key,
            )

    def rows(self) -> list[tuple[forms.BoundField, str]]:
        """Each column with an example of what it holds; keys are not shown."""
        return [
            (bound, MASK if sample and self._hidden(str(bound.value() or ""), sample) else sample)
            for bound, sample in zip(self, self.samples, strict=True)
        ]

    def _hidden(self, key: str, sample: str) -> bool:
        return (key in self.known and self.known[key].secret) or bool(_KEY.fullmatch(sample))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        self.mapping: dict[str, int] = {}
        for index in range(len(self.samples)):
            key = data.get(f"column-{index}", "")
            if key and key in self.mapping:
                text = _("%(field)s is chosen for another column already.") % {"field": self.known[key].label}
                self.add_error(f"column-{index}", text)
            elif key:
                self.mapping[key] = index
        for key, field in self.known.items():
            if field.required and key not in self.mapping:
                text = _("No column is chosen for %(field)s, which every device needs.") % {"field": field.label}
                self.add_error(None, text)
        return data
