"""The codecs of device types (T5): which text is run for a type now. What people do with them is in ``codec_work``."""

from __future__ import annotations

from .models import CodecVersion, DeviceType


def source_of(device_type: DeviceType) -> str | None:
    """The source of the version in use of the type's codec; None where there is none, or it was stopped."""
    if device_type.codec_id is None:
        return None
    version = CodecVersion.objects.filter(pk__in=DeviceType.objects.filter(pk=device_type.pk).values("codec__in_use"))
    return version.filter(stopped_at=None).values_list("source", flat=True).first()
