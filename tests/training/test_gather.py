"""Batches over several processes: losses and gradients equal those of one process with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gather_processes import launched, one_step
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.objectives.merl import merl_losses
from medfm.training.gather import gathered, gradient_factor

PROGRAM = Path(__file__).with_name("gather_processes.py")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 100))
def test_shares_of_the_gradient_add_up_to_that_of_the_whole_batch(world: int, batch: int, seed: int) -> None:
    """Every process in turn, without a network between them."""
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 4, generator=source, dtype=torch.float64).float().requires_grad_()
    inputs = [torch.randn(world * batch, 6, generator=source) for _ in range(4)]
    whole = merl_losses(*(x @ weight for x in inputs)).total
    whole.backward()
    wanted, weight.grad = weight.grad.clone(), None
    for rule, factor in (("full", 1.0), ("local_gradient", 1 / world)):
        mean = torch.zeros_like(wanted)
        for rank in range(world):
            rows = slice(rank * batch, (rank + 1) * batch)
            parts = [
                gathered(x[rows] @ weight, rank, lambda own, x=x: (x @ weight).detach().view(world, batch, -1))
                for x in inputs
            ]
            loss = merl_losses(*parts).total
            assert torch.allclose(loss, whole, rtol=1e-4)
            (loss * gradient_factor(rule, world)).backward()  # type: ignore[arg-type]
            mean += weight.grad / world
            weight.grad = None
        assert torch.allclose(mean, wanted * factor, rtol=1e-3, atol=1e-4)


def test_only_the_own_rows_carry_a_gradient() -> None:
    own = torch.ones(2, 3, requires_grad=True)
    rows = gathered(own, 1, lambda t: torch.stack([t * 0, t, t * 2]))
    assert rows.shape == (6, 3)
    assert rows[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    rows.sum().backward()
    assert torch.equal(own.grad, torch.ones(2, 3))


def test_half_precision_is_gathered_as_float32() -> None:
    assert gathered(torch.ones(1, 2, dtype=torch.bfloat16), 0, lambda t: t[None]).dtype == torch.float32


@pytest.mark.slow
def test_two_real_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    out = tmp_path / "two.json"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "2", str(out), "full", "local_gradient", "none"],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = one_step(launched(1), "full"), json.loads(out.read_text())
    full, published, apart = two["full"], two["local_gradient"], two["none"]
    for name, change in one["change"].items():
        wanted = np.array(change)
        assert np.abs(wanted).max() > 1e-3
        assert np.allclose(full["change"][name], wanted, atol=1e-5), name
        assert np.allclose(published["change"][name], wanted / 2, atol=1e-5), name
        assert not np.allclose(apart["change"][name], wanted, atol=1e-3), name
    for name in ("total", "cma", "uma", "top1", "top5"):
        assert full["terms"][name] == pytest.approx(one["terms"][name], abs=1e-5)
        assert published["terms"][name] == pytest.approx(one["terms"][name], abs=1e-5)
    assert apart["terms"]["total"] < one["terms"]["total"]  # four candidates instead of eight
