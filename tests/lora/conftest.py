"""What the tests of the LoRa pages share: a LoRa device and a moment with milliseconds."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.utils import timezone

from devices.models import Device
from tests import factories
from tests.cast import Cast


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, app_key=bytes.fromhex("0F" * 16))


@pytest.fixture
def now() -> datetime:
    return timezone.now().replace(microsecond=123_000)
