"""The codecs of device types (T5): which text is run for a type now. What people do with them is in ``codec_work``."""

from __future__ import annotations

from django.db.models import F

from .models import CodecVersion, DeviceType


def source_of(device_type: DeviceType) -> str | None:
    """The source of the version in use of the type's codec, also where the type is not saved; None where there is none,
    or it was stopped."""
    if device_type.codec_id is None:
        return None
    in_use = CodecVersion.objects.filter(codec=device_type.codec_id, codec__in_use=F("pk"), stopped_at=None)
    return in_use.values_list("source", flat=True).first()
