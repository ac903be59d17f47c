"""Fixtures of the device tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devices import bulk
from tests.devices.recorded import Recorder


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    bulk.register(recorder.action)
    yield recorder
    bulk._registered.pop("recorded")
