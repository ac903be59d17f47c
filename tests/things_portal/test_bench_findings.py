"""The bench of the diagnosis runs, and leaves nothing behind."""

from __future__ import annotations

import os

import pytest

from lora.models import Frame, Radio
from things_portal.bench import findings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


def test_the_bench_runs_and_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    full = "THINGS_BENCH_FINDINGS" in os.environ
    made = list(findings.measure() if full else findings.measure(2, (300, 100), 10))
    with capsys.disabled():
        for one in made if full else ():
            print(f"\n{one.name}: p50 {one.p50:.1f} ms, p95 {one.p95:.1f} ms")
    assert len(made) == 3
    assert not Frame.objects.exists()
    assert not Radio.objects.exists()
