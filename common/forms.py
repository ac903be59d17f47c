"""Forms that several rooms share."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _


class TypedNameForm(forms.Form):
    """The name of what is deleted, typed exactly (D9)."""

    typed = forms.CharField(max_length=200, strip=True)

    def __init__(self, data: Any = None, *, name: str) -> None:
        super().__init__(data)
        self.name = name
        field = self.fields["typed"]
        field.label = _("Type its name: %(name)s") % {"name": name}
        field.widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}

    def clean_typed(self) -> str:
        if self.cleaned_data["typed"] != self.name.strip():
            raise forms.ValidationError(_("This is not its name. Capitals and spaces count."))
        return self.name
