"""Schedules of fine-tuning against PyTorch's, and against the sheet of the published procedure."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.training.rates import Constant, Cosine, OneCycle, SlantedTriangular

# Share of the peak at the start of epochs 0 to 19 of a run of 20 epochs with 17 batches each.
PUBLISHED = [
    0.040, 0.106, 0.284, 0.527, 0.769, 0.942, 1.00, 0.986, 0.948, 0.887,
    0.807, 0.711, 0.605, 0.493, 0.382, 0.277, 0.183, 0.105, 0.047, 0.011,
]  # fmt: skip


def test_the_published_factors_at_the_start_of_every_epoch() -> None:
    cycle = OneCycle()
    assert [cycle.factor(17 * epoch, 340) for epoch in range(20)] == pytest.approx(PUBLISHED, abs=5e-4)


@settings(max_examples=12, deadline=None)
@given(steps=st.integers(10, 120), rise=st.sampled_from([0.25, 0.3, 0.5]))
def test_one_cycle_is_that_of_pytorch_step_by_step(steps: int, rise: float) -> None:
    peaks = [1e-3, 2.5e-4]
    optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in peaks], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peaks, total_steps=steps, pct_start=rise)
    ours = OneCycle(rise=rise)
    for step in range(steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            assert group["lr"] == pytest.approx(peak * ours.factor(step, steps), rel=1e-9, abs=1e-15)
            assert group["betas"][0] == pytest.approx(ours.beta1(step, steps), rel=1e-12)
        optimizer.step()
        if step < steps - 1:
            reference.step()


def test_the_first_moment_runs_the_other_way() -> None:
    cycle = OneCycle()
    values = [cycle.beta1(step, 340) for step in range(340)]
    assert values[0] == 0.95 and values[-1] == pytest.approx(0.95)
    assert min(values) == pytest.approx(0.85, abs=1e-4) and values.index(min(values)) in (101, 102)
    assert OneCycle(momentum=None).beta1(3, 340) is None


def test_the_slanted_triangle_by_its_formula() -> None:
    """Howard and Ruder, equation 3, computed apart."""
    rule, steps = SlantedTriangular(), 200
    cut = math.floor(steps * 0.1)
    for step in range(steps):
        p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / 0.1 - 1))
        assert rule.factor(step, steps) == pytest.approx((1 + p * 31) / 32)
    assert rule.factor(0, steps) == pytest.approx(1 / 32) and rule.factor(20, steps) == 1.0


@pytest.mark.parametrize("rule", [Constant(), Cosine(), OneCycle(), SlantedTriangular()], ids=lambda r: r.kind)
@pytest.mark.parametrize("steps", [4, 10, 77])
def test_factors_stay_between_nought_and_one(rule, steps: int) -> None:
    values = [rule.factor(step, steps) for step in range(steps)]
    assert all(0 <= v <= 1 + 1e-12 for v in values)
    if rule.kind == "constant":
        assert set(values) == {1.0} and rule.beta1(0, 3) is None
    else:
        top = values.index(max(values))
        assert values[: top + 1] == sorted(values[: top + 1]) and values[top:] == sorted(values[top:], reverse=True)


@pytest.mark.parametrize("rule", [Constant(), Cosine(), OneCycle(), SlantedTriangular()], ids=lambda r: r.kind)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_of_a_few_steps_has_rates(rule, steps: int) -> None:
    assert all(math.isfinite(rule.factor(step, steps)) and rule.factor(step, steps) >= 0 for step in range(steps))


def test_a_cosine_ends_where_it_should() -> None:
    rule = Cosine(warmup=0.0, final=0.1)
    assert rule.factor(0, 50) == 1.0 and rule.factor(49, 50) == pytest.approx(0.1)
    assert Cosine(warmup=0.2).factor(0, 50) == pytest.approx(1 / 11)


# Rates of the published procedure at the first step of chosen epochs (20 epochs of 17 batches): share of the
# peaks 1e-3, 2.5e-4, 5e-4 and 1e-4 of head, layer3, layer4 and layer2.
@pytest.mark.parametrize("epoch", [0, 2, 6, 12, 19])
def test_the_published_rates_of_every_group(epoch: int) -> None:
    share = OneCycle().factor(17 * epoch, 340)
    rates = {
        name: peak * share for name, peak in (("head", 1e-3), ("layer3", 2.5e-4), ("layer4", 5e-4), ("layer2", 1e-4))
    }
    assert rates["head"] == pytest.approx(1e-3 * PUBLISHED[epoch], abs=5e-7)
    assert rates["layer4"] == pytest.approx(2 * rates["layer3"]) and rates["layer4"] == pytest.approx(
        5 * rates["layer2"]
    )


def test_the_first_and_last_rate_of_a_cycle() -> None:
    cycle = OneCycle()
    assert cycle.factor(0, 340) == pytest.approx(1 / 25)
    assert cycle.factor(339, 340) == pytest.approx(1 / 25 / 1e4)
    peak = max(range(340), key=lambda step: cycle.factor(step, 340))
    assert peak in (101, 102)  # 0.3 x 340 - 1, between steps only by rounding


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 300), rise=st.floats(0.05, 0.95))
def test_moment_and_rate_move_against_each_other(steps: int, rise: float) -> None:
    cycle = OneCycle(rise=rise)
    for step in range(steps - 1):
        if step < rise * steps - 1 < step + 1:
            continue  # the turn lies between the two, on slopes of different steepness
        up = cycle.factor(step + 1, steps) - cycle.factor(step, steps)
        moment = (cycle.beta1(step + 1, steps) or 0) - (cycle.beta1(step, steps) or 0)
        assert up * moment <= 1e-15
