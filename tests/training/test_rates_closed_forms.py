"""Schedules of fine-tuning against their closed forms, group by group."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from medfm.training.local import Session
from medfm.training.rates import Constant, Cosine, OneCycle, Schedule, SlantedTriangular

PEAKS = {"head": 1e-3, "stage4": 5e-4, "stage3": 2.5e-4}


def session(schedule: Schedule) -> Any:
    """What ``Session.rates`` looks at: a schedule, and groups of an optimiser."""
    groups = [{"name": name, "peak": peak, "lr": 1.0, "betas": (0.9, 0.999)} for name, peak in PEAKS.items()]
    return SimpleNamespace(
        stage=SimpleNamespace(schedule=schedule),
        optimizer=SimpleNamespace(optimizer=SimpleNamespace(param_groups=groups)),
    )


def groups_at(schedule: Schedule, step: int, steps: int) -> list[dict[str, Any]]:
    made = session(schedule)
    Session.rates(made, step, steps)
    return made.optimizer.optimizer.param_groups  # type: ignore[no-any-return]


@pytest.mark.parametrize("steps", [10, 100, 340, 510])
def test_every_group_starts_peaks_and_ends_its_own_cycle(steps: int) -> None:
    top = round(0.3 * steps) - 1
    for step, share, moment in ((0, 1 / 25, 0.95), (top, 1.0, 0.85), (steps - 1, 1 / 25e4, 0.95)):
        for group in groups_at(OneCycle(), step, steps):
            assert group["lr"] == pytest.approx(PEAKS[group["name"]] * share, rel=1e-6), (step, group["name"])
            assert group["betas"] == (pytest.approx(moment, abs=1e-6), 0.999)


@pytest.mark.parametrize("step", [0, 7, 29, 30, 64, 99])
def test_one_cycle_is_two_half_cosines(step: int) -> None:
    steps, top = 100, 29
    if step <= top:
        share = 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / top)) / 2
        moment = 0.95 - 0.10 * (1 - math.cos(math.pi * step / top)) / 2
    else:
        past = (step - top) / (steps - 1 - top)
        share = 1 / 25e4 + (1 - 1 / 25e4) * (1 + math.cos(math.pi * past)) / 2
        moment = 0.85 + 0.10 * (1 - math.cos(math.pi * past)) / 2
    assert OneCycle().factor(step, steps) == pytest.approx(share, rel=1e-9)
    assert OneCycle().beta1(step, steps) == pytest.approx(moment, rel=1e-12)


def test_a_cycle_with_settings_of_its_own() -> None:
    cycle = OneCycle(rise=0.5, start_divisor=10, final_divisor=100, momentum=(0.9, 0.8))
    assert cycle.factor(0, 20) == pytest.approx(0.1) and cycle.factor(19, 20) == pytest.approx(0.001)
    assert cycle.factor(9, 20) == pytest.approx(1.0) and cycle.beta1(9, 20) == pytest.approx(0.8)


def test_a_cycle_that_leaves_the_moment_alone_leaves_it_in_the_groups() -> None:
    assert {group["betas"] for group in groups_at(OneCycle(momentum=None), 3, 10)} == {(0.9, 0.999)}
    assert {group["betas"] for group in groups_at(Constant(), 3, 10)} == {(0.9, 0.999)}


def test_the_rates_told_are_the_rates_set() -> None:
    made = session(Cosine(warmup=0.0))
    told = Session.rates(made, 5, 11)  # the middle of the cosine
    assert told == {name: pytest.approx(peak / 2) for name, peak in PEAKS.items()}
    assert told == {group["name"]: group["lr"] for group in made.optimizer.optimizer.param_groups}


@pytest.mark.parametrize(("rise", "ratio"), [(0.1, 32.0), (0.25, 8.0), (0.5, 2.0)])
@pytest.mark.parametrize("steps", [20, 40, 200])
def test_the_slanted_triangle_rises_and_falls_on_straight_lines(rise: float, ratio: float, steps: int) -> None:
    rule, cut = SlantedTriangular(rise=rise, ratio=ratio), math.floor(steps * rise)
    low = 1 / ratio
    found = [rule.factor(step, steps) for step in range(steps)]
    assert found[:cut] == pytest.approx([low + (1 - low) * step / cut for step in range(cut)])
    # The fall would reach the lowest rate one step after the last.
    assert found[cut:] == pytest.approx([1 - (1 - low) * (s - cut) / (steps - cut) for s in range(cut, steps)])
    assert max(found) == found[cut] == 1.0


def test_a_triangle_never_falls_under_its_lowest_rate() -> None:
    # 13 steps of 0.1 cut at 1, not 1.3: the line would end early.
    found = [SlantedTriangular().factor(step, 13) for step in range(13)]
    assert min(found) >= 1 / 32 and found[-1] == pytest.approx(1 / 32)


@pytest.mark.parametrize("steps", [30, 31, 90])
def test_a_warm_cosine_by_its_two_pieces(steps: int) -> None:
    rule, rise = Cosine(warmup=0.2, final=0.05), 0.2 * steps
    for step in range(steps):
        found = rule.factor(step, steps)
        if step < rise:
            assert found == pytest.approx((step + 1) / (rise + 1))
        else:
            past = (step - rise) / (steps - 1 - rise)
            assert found == pytest.approx(0.05 + 0.95 * math.cos(math.pi * past / 2) ** 2)  # half-angle form
    assert rule.factor(steps - 1, steps) == pytest.approx(0.05)


@pytest.mark.parametrize("rule", [Constant(), Cosine(), SlantedTriangular(), OneCycle()], ids=lambda r: r.kind)
def test_a_rate_depends_on_its_step_alone(rule: Schedule) -> None:
    """A resumed run begins in the middle."""
    forward = [rule.factor(step, 17) for step in range(17)]
    assert [rule.factor(step, 17) for step in reversed(range(17))] == forward[::-1]
