"""The shared secret with which M2M and Internet devices sign their messages (M1, I1): its input, and a new one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit
from accounts.models import User
from codec import tokens

from .capabilities import Capability, require
from .connectivity import ImportField
from .errors import DeviceError
from .models import Device


class SharedSecretField(forms.CharField):
    """A secret in the platform's form, or "": the portal makes one."""

    def __init__(self) -> None:
        super().__init__(
            label=gettext_lazy("Shared secret"),
            max_length=100,
            required=False,
            widget=forms.PasswordInput(attrs={"autocomplete": "off"}, render_value=True),
            help_text=gettext_lazy("30 to 100 letters and digits. Leave it empty and the portal makes one."),
        )

    def clean(self, value: Any) -> str:
        secret: str = super().clean(value)
        if secret and not tokens.SECRET_PATTERN.fullmatch(secret):
            raise ValidationError(_("A shared secret has 30 to 100 letters and digits, nothing else."))
        return secret


def import_field() -> ImportField:
    """The shared secret in a row of a file (D12)."""
    return ImportField(
        "secret",
        gettext_lazy("Shared secret"),
        ("SharedSecret", "Secret"),
        secret=True,
        example="q7Zr2mVx9Kd4Tn8Wb3Hs6Yc1Lp5Gf0Ja",
        help=SharedSecretField().help_text,
    )


@transaction.atomic
def replace(identities: QuerySet[Any], *, device: Device, actor: User, action: str) -> str:
    """A new shared secret in place of the old one, which is refused from now on; recorded as ``action``.

    ``identities``: the rows of a model with ``set_secret``, ``secret`` and ``secret_at``, keyed by device. Raises
    DeviceError where there is no network info, NotAllowedForType.
    """
    require(device, Capability.SECRETS)
    identity = identities.select_for_update().filter(device=device).first()
    if identity is None:
        raise DeviceError(_("This device has no network info yet."))
    secret = tokens.new_secret()
    identity.set_secret(secret)
    now = timezone.now()
    identities.filter(pk=identity.pk).update(secret=identity.secret, secret_at=now)
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action=action,
        target=device.name,
        device_id=device.pk,
        after={"secret_at": now.isoformat()},
    )
    return secret
