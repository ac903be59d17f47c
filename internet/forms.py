"""The network step for Internet (I1): a DvnUUID, filled in with a new version 4 one, and a shared secret."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from codec import tokens
from devices.connectivity import NetworkForm, Secret
from devices.services import claim_identifier
from devices.shared_secret import SharedSecretField

from .models import InternetIdentity


class InternetNetworkForm(NetworkForm):
    dvn_uuid = forms.UUIDField(
        label="DvnUUID",
        help_text=_("A new version 4 UUID is filled in; any UUID is accepted."),
        error_messages={"invalid": _("This is not a UUID, such as 0f8fad5b-d9cb-469f-a165-70867728950e.")},
    )
    secret = SharedSecretField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("dvn_uuid", uuid.uuid4())

    def claims(self) -> dict[str, str]:
        dvn_uuid = self.cleaned_data.get("dvn_uuid")
        return {"dvn_uuid": f"DVNUUID:{str(dvn_uuid).upper()}"} if dvn_uuid else {}

    def save(self, *, actor: User) -> list[Secret]:
        data = self.cleaned_data
        claim_identifier(device=self.device, kind="DVNUUID", value=str(data["dvn_uuid"]).upper(), primary=True)
        secret = data["secret"] or tokens.new_secret()
        identity = InternetIdentity(device=self.device, dvn_uuid=data["dvn_uuid"])
        identity.set_secret(secret)
        InternetIdentity.objects.filter(device=self.device).delete()
        identity.save(force_insert=True)
        return [] if data["secret"] else [Secret(str(_("Shared secret")), secret)]


class InternetRowForm(InternetNetworkForm):
    """The step for a row of a file (D12): an empty DvnUUID becomes a new one when the row is saved."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dvn_uuid"].required = False

    def save(self, *, actor: User) -> list[Secret]:
        self.cleaned_data["dvn_uuid"] = self.cleaned_data["dvn_uuid"] or uuid.uuid4()
        return super().save(actor=actor)
