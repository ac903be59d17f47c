"""The shared secret with which M2M and Internet devices sign their messages (M1, I1): its input, and a new one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit
from accounts.models import User
from codec import tokens
from common import crypto

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


class SecretHolder(models.Model):
    """A device's shared secret, encrypted, and the one before it for as long as that is accepted as well (M3)."""

    secret = models.BinaryField(gettext_lazy("shared secret"))
    secret_at = models.DateTimeField(gettext_lazy("secret made"), default=timezone.now)
    old_secret = models.BinaryField(gettext_lazy("old shared secret"), default=b"", editable=False)
    old_secret_until = models.DateTimeField(gettext_lazy("old secret accepted until"), null=True, editable=False)
    old_secret_used_at = models.DateTimeField(gettext_lazy("old secret last used"), null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def secret_purpose(self) -> str:
        """What the secrets are bound to: in another row they cannot be read."""
        raise NotImplementedError

    def set_secret(self, secret: str) -> None:
        self.secret = crypto.encrypt(secret.encode(), purpose=self.secret_purpose)

    def get_secret(self) -> str:
        return crypto.decrypt(self.secret, purpose=self.secret_purpose).decode()

    def get_old_secret(self, now: datetime) -> str:
        """The secret before this one; "" where it is not accepted any more."""
        if not self.old_secret or self.old_secret_until is None or self.old_secret_until <= now:
            return ""
        return crypto.decrypt(self.old_secret, purpose=self.secret_purpose).decode()


@dataclass(frozen=True, slots=True)
class OldSecret:
    """What a page says of an old secret that is accepted still; the secret itself is not in it."""

    until: datetime
    used_at: datetime | None


def old_secret(identity: SecretHolder | None, now: datetime) -> OldSecret | None:
    if identity is None or identity.old_secret_until is None or identity.old_secret_until <= now:
        return None
    return OldSecret(identity.old_secret_until, identity.old_secret_used_at)


class GraceForm(forms.Form):
    """How long the old secret stays valid beside the new one."""

    grace = forms.ChoiceField(
        label=gettext_lazy("The present secret"),
        choices=[
            ("0", gettext_lazy("Is refused at once")),
            ("3600", gettext_lazy("Stays valid for 1 hour")),
            ("86400", gettext_lazy("Stays valid for 1 day")),
            ("604800", gettext_lazy("Stays valid for 7 days")),
        ],
        initial="0",
        required=False,
        help_text=gettext_lazy("Until then the device may send with either of the two."),
    )

    @property
    def chosen(self) -> timedelta:
        return timedelta(seconds=int(self.cleaned_data["grace"] or 0))


@transaction.atomic
def replace(
    identities: QuerySet[Any], *, device: Device, actor: User, action: str, grace: timedelta = timedelta(0)
) -> str:
    """A new shared secret in place of the old one, which is accepted for ``grace`` longer; recorded as ``action``.

    One that was old already is refused from now on. ``identities``: the rows of a SecretHolder, keyed by device.
    Raises DeviceError where there is no network info, NotAllowedForType.
    """
    require(device, Capability.SECRETS)
    identity = identities.select_for_update().filter(device=device).first()
    if identity is None:
        raise DeviceError(_("This device has no network info yet."))
    secret, now = tokens.new_secret(), timezone.now()
    kept, until = (identity.secret, now + grace) if grace else (b"", None)
    identity.set_secret(secret)
    identities.filter(pk=identity.pk).update(
        secret=identity.secret, secret_at=now, old_secret=kept, old_secret_until=until, old_secret_used_at=None
    )
    told = {"secret_at": now.isoformat()} | ({"old_secret_until": until.isoformat()} if until else {})
    _record(device, actor, action, told)
    return secret


@transaction.atomic
def revoke_old(identities: QuerySet[Any], *, device: Device, actor: User, action: str) -> None:
    """Refuse the old secret from now on. Raises DeviceError where none is accepted, NotAllowedForType."""
    require(device, Capability.SECRETS)
    rows = identities.filter(device=device, old_secret_until__gt=timezone.now())
    if not rows.update(old_secret=b"", old_secret_until=None, old_secret_used_at=None):
        raise DeviceError(_("No old secret of this device is accepted."))
    _record(device, actor, action, {"old_secret": "revoked"})


def _record(device: Device, actor: User, action: str, after: dict[str, str]) -> None:
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action=action,
        target=device.name,
        device_id=device.pk,
        after=after,
    )
