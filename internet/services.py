"""The only writer of Internet secrets after registration (I2)."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from codec import tokens
from devices.capabilities import Capability, require
from devices.errors import DeviceError
from devices.models import Device

from .models import InternetIdentity


@transaction.atomic
def new_secret(*, device: Device, actor: User) -> str:
    """A new shared secret in place of the old one, which is refused from now on. Raises DeviceError where there is
    no network info, NotAllowedForType."""
    require(device, Capability.SECRETS)
    identity = InternetIdentity.objects.select_for_update().filter(device=device).first()
    if identity is None:
        raise DeviceError(_("This device has no network info yet."))
    secret = tokens.new_secret()
    identity.set_secret(secret)
    now = timezone.now()
    InternetIdentity.objects.filter(pk=identity.pk).update(secret=identity.secret, secret_at=now)
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action="internet.secret_replaced",
        target=device.name,
        device_id=device.pk,
        after={"secret_at": now.isoformat()},
    )
    return secret
