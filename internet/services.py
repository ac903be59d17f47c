"""The only writer of Internet secrets after registration (I2)."""

from __future__ import annotations

from accounts.models import User
from devices import shared_secret
from devices.models import Device

from .models import InternetIdentity


def new_secret(*, device: Device, actor: User) -> str:
    """A new shared secret in place of the old one. Raises DeviceError, NotAllowedForType."""
    return shared_secret.replace(
        InternetIdentity.objects.all(), device=device, actor=actor, action="internet.secret_replaced"
    )
