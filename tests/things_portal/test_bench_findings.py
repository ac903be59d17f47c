"""The bench of the diagnosis runs, and leaves nothing behind."""

from __future__ import annotations

import pytest

from lora.models import Frame, Radio
from things_portal.bench import findings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


def test_the_bench_runs_and_leaves_nothing_behind() -> None:
    made = list(findings.measure(2, (300, 100), 10))
    assert [one.p50 > 0 for one in made] == [True] * 3
    assert not Frame.objects.exists()
    assert not Radio.objects.exists()
