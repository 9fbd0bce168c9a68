"""Schedules: shape, ends, freezing."""

from __future__ import annotations

import numpy as np
import pytest

from medfm.training.schedules import CosineSchedule, warmup_only


def test_the_three_phases_follow_each_other() -> None:
    schedule = CosineSchedule(base=1.0, final=0.0, total=20, warmup=4, start=0.2, freeze=3)
    values = [schedule(i) for i in range(20)]
    assert values[:3] == [0.0, 0.0, 0.0]
    assert values[3] == 0.2
    # The base stands at the end of the warm-up and again at the start of the cosine.
    assert values[6] == values[7] == 1.0
    assert np.all(np.diff(values[7:]) < 0)
    assert values[-1] > 0
    assert schedule(20) == schedule(10_000) == 0.0


def test_a_schedule_that_is_all_warm_up() -> None:
    schedule = warmup_only(0.04, 0.07, 3)
    assert [schedule(i) for i in range(5)] == pytest.approx([0.04, 0.055, 0.07, 0.07, 0.07])
    assert warmup_only(0.04, 0.07, 0)(0) == 0.07


def test_zero_until_leaves_the_rest_and_the_original_alone() -> None:
    schedule = CosineSchedule(base=1.0, final=0.5, total=6)
    frozen = schedule.zero_until(2)
    assert [frozen(i) for i in range(2)] == [0.0, 0.0]
    assert [frozen(i) for i in range(2, 8)] == [schedule(i) for i in range(2, 8)]
    assert schedule(0) == 1.0


def test_phases_longer_than_the_schedule_are_refused() -> None:
    with pytest.raises(ValueError, match=r"freeze \(2\) and warm-up \(9\) are longer than the schedule \(10\)"):
        CosineSchedule(base=1.0, final=0.0, total=10, warmup=9, freeze=2)
