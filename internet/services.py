"""The only writer of Internet secrets after registration (I2)."""

from __future__ import annotations

from datetime import timedelta

from accounts.models import User
from devices import shared_secret
from devices.models import Device

from .models import InternetIdentity


def new_secret(*, device: Device, actor: User, grace: timedelta = timedelta(0)) -> str:
    """A new shared secret; the old one is accepted for ``grace`` longer. Raises DeviceError, NotAllowedForType."""
    rows = InternetIdentity.objects.all()
    return shared_secret.replace(rows, device=device, actor=actor, action="internet.secret_replaced", grace=grace)


def revoke_old_secret(*, device: Device, actor: User) -> None:
    """Raises DeviceError where no old secret is accepted, NotAllowedForType."""
    rows = InternetIdentity.objects.all()
    shared_secret.revoke_old(rows, device=device, actor=actor, action="internet.old_secret_revoked")
