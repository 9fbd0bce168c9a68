"""DDIM: grids, steps against the formula, round trips, and what happens without the clamp."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError
from medfm.core.progress import Progress
from medfm.objectives.ddim import (
    blended,
    inversion_step,
    invert,
    make_grid,
    reverse_step,
    sample,
    shifted_noise,
)
from medfm.objectives.diffusion import for_items, make_schedule

SCHEDULE = make_schedule()
Z = torch.randn(4, 2, 2, 3, 2, generator=torch.Generator().manual_seed(0))


def ideal(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The best guess of the noise for standard normal latents: sqrt(1 - abar) z."""
    return for_items((1 - SCHEDULE.alphas_cumprod[t]).sqrt(), z) * z


def test_grids_begin_and_end_with_the_schedule():
    assert make_grid(SCHEDULE, 10).timesteps.tolist() == [0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999]
    assert make_grid(SCHEDULE, 1).timesteps.tolist() == [0, 999]
    assert make_grid(SCHEDULE, 999).timesteps.tolist() == list(range(1000))


@given(st.integers(1, 999))
@settings(max_examples=20, deadline=None)
def test_any_grid(steps):
    grid = make_grid(SCHEDULE, steps)
    assert grid.steps == steps and len(grid.timesteps) == steps + 1
    assert bool((grid.timesteps.diff() > 0).all())
    # Rebuilt in float32 from differences to 1, as published: the last entry, 4e-5, loses four digits at one step.
    torch.testing.assert_close(grid.alphas_cumprod, SCHEDULE.alphas_cumprod[grid.timesteps], rtol=1e-3, atol=0)
    assert torch.equal(grid.alphas_cumprod_prev[1:], grid.alphas_cumprod[:-1])
    assert torch.equal(grid.alphas_cumprod_next[:-1], grid.alphas_cumprod[1:])
    assert float(grid.alphas_cumprod_prev[0]) == 1 and float(grid.alphas_cumprod_next[-1]) == 0


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_impossible_numbers_of_steps(steps):
    with pytest.raises(ConfigError, match="1 to 999"):
        make_grid(SCHEDULE, steps)


def test_monais_grid_is_another():
    """The reason for our own: MONAI has S points, ends at abar 1 and keeps the noise after clipping."""
    from monai.networks.schedulers import DDIMScheduler

    theirs = DDIMScheduler(num_train_timesteps=1000, schedule="linear_beta", beta_start=1e-4, beta_end=2e-2)
    theirs.set_timesteps(10)
    assert (
        len(theirs.timesteps) == 10 and sorted(theirs.timesteps.tolist()) != make_grid(SCHEDULE, 10).timesteps.tolist()
    )


@pytest.mark.parametrize("clip", [None, 1.0, 0.5])
@pytest.mark.parametrize("forwards", [True, False])
def test_a_step_number_by_number(clip, forwards):
    grid = make_grid(SCHEDULE, 20)
    index = 7
    noise, gradient = Z.sin(), Z.cos()
    step = inversion_step if forwards else reverse_step
    ours = step(grid, Z, index, noise, gradient, clip)
    abar, goal = (float(grid.alphas_cumprod[i]) for i in (index, index + 1 if forwards else index - 1))
    for z, value in zip(Z.flatten().tolist(), ours.flatten().tolist(), strict=True):
        eps = math.sin(z) - math.sqrt(1 - abar) * math.cos(z)
        clean = (z - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
        if clip is not None:
            clean = max(-clip, min(clip, clean))
            eps = (z / math.sqrt(abar) - clean) / math.sqrt(1 / abar - 1)
        assert value == pytest.approx(math.sqrt(goal) * clean + math.sqrt(1 - goal) * eps, abs=1e-4)


def test_every_latent_may_have_its_own_index():
    grid = make_grid(SCHEDULE, 50)
    at = torch.tensor([1, 10, 30, 50])
    ours = reverse_step(grid, Z, at, Z.sin(), Z.cos())
    for i, index in enumerate(at.tolist()):
        alone = reverse_step(grid, Z[i : i + 1], index, Z[i : i + 1].sin(), Z[i : i + 1].cos())
        assert torch.equal(alone[0], ours[i])


@pytest.mark.parametrize(
    ("step", "index"), [(reverse_step, 0), (reverse_step, 11), (inversion_step, -1), (inversion_step, 10)]
)
def test_steps_outside_the_grid(step, index):
    with pytest.raises(ConfigError, match="outside the grid"):
        step(make_grid(SCHEDULE, 10), Z, index, Z)


def test_a_step_and_back_is_the_same_latent():
    """With the same noise a step is undone by the other, with and without the clamp."""
    grid = make_grid(SCHEDULE, 40)
    noise = Z.roll(1)
    for clip in (None, 1.0):
        there = inversion_step(grid, Z, 12, noise, clip=clip)
        clean = (Z - (1 - grid.alphas_cumprod[12]).sqrt() * noise) / grid.alphas_cumprod[12].sqrt()
        if clip is not None:
            clean = clean.clamp(-clip, clip)
        same = (Z - grid.alphas_cumprod[12].sqrt() * clean) / (1 - grid.alphas_cumprod[12]).sqrt()
        torch.testing.assert_close(reverse_step(grid, there, 13, same, clip=clip), Z, atol=1e-4, rtol=1e-4)


def test_without_the_clamp_the_ideal_denoiser_keeps_a_normal_distribution():
    z = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(3))
    grid = make_grid(SCHEDULE, 100)
    code = invert(grid, ideal, z, clip=None)
    assert float(code.std()) == pytest.approx(1, abs=0.05)
    again = sample(grid, ideal, code, clip=None)
    assert float((again - z).square().mean()) < 2e-3
    drawn = sample(grid, ideal, torch.randn(z.shape, generator=torch.Generator().manual_seed(4)), clip=None)
    assert float(drawn.std()) == pytest.approx(1, abs=0.05)


def test_what_the_published_clamp_does_to_latents_beyond_one():
    """Codes far from normal, a good round trip all the same, and samples from noise held within about one."""
    z = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(3))
    losses = []
    for steps in (10, 20, 50, 100):
        grid = make_grid(SCHEDULE, steps)
        code = invert(grid, ideal, z)
        losses.append(float((sample(grid, ideal, code) - z).square().mean()))
    assert float(code.std()) > 10 and float(code.abs().max()) > 100
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1e-3 < losses[0] < 0.05
    drawn = sample(grid, ideal, torch.randn(z.shape, generator=torch.Generator().manual_seed(4)))
    assert float(drawn.abs().max()) < 1.2 and float(drawn.std()) < 0.85


def test_more_steps_bring_the_code_back_better():
    z = Z.clamp(-0.9, 0.9)

    def model(x, t):
        return 0.3 * ideal(x, t), 0.2 * x

    gaps = []
    for steps in (5, 20, 100):
        grid = make_grid(SCHEDULE, steps)
        gaps.append(float((sample(grid, model, invert(grid, model, z)) - z).square().mean()))
    assert gaps[0] > gaps[1] > gaps[2]


def test_shifted_noise():
    grid = make_grid(SCHEDULE, 10)
    at = torch.tensor([0, 3, 7, 10])
    assert shifted_noise(grid, at, Z, None) is Z
    ours = shifted_noise(grid, at, Z, torch.ones_like(Z))
    for i, index in enumerate(at.tolist()):
        torch.testing.assert_close(ours[i], Z[i] - (1 - grid.alphas_cumprod[index]).sqrt())


@pytest.mark.parametrize(("share", "shifted"), [(0.0, 10), (0.3, 7), (0.35, 7), (1.0, 0)])
def test_the_last_steps_may_run_without_the_shift(share, shifted):
    grid = make_grid(SCHEDULE, 10)

    def model(z, t):
        return torch.zeros_like(z), torch.ones_like(z)

    ours = sample(grid, model, Z, stop_percent=share, clip=None)
    expected = Z
    for index in range(10, 0, -1):
        gradient = torch.ones_like(Z) if 10 - index < shifted else None
        expected = reverse_step(grid, expected, index, torch.zeros_like(Z), gradient, None)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_impossible_shares(share):
    with pytest.raises(ConfigError, match="stop_percent"):
        sample(make_grid(SCHEDULE, 2), ideal, Z, stop_percent=share)


def test_the_network_gets_original_timesteps():
    seen: list[list[int]] = []

    def model(z, t):
        seen.append(t.tolist())
        return torch.zeros_like(z)

    sample(make_grid(SCHEDULE, 4), model, Z)
    invert(make_grid(SCHEDULE, 4), model, Z)
    assert seen == [[t] * 4 for t in (999, 749, 499, 249, 0, 249, 499, 749)]


def test_steps_are_computed_in_the_type_of_the_latent():
    grid = make_grid(SCHEDULE, 3)
    ours = sample(grid, lambda z, t: (ideal(z, t).half(), z.bfloat16()), Z)
    assert ours.dtype == torch.float32


def test_progress_counts_every_step():
    made: list[Progress] = []

    class Counting(Progress):
        def __init__(self, title: str, total: int | None, unit: str = "records") -> None:
            super().__init__(title, total, unit)
            made.append(self)

    grid = make_grid(SCHEDULE, 7)
    sample(grid, ideal, Z, progress=Counting)
    invert(grid, ideal, Z, progress=Counting)
    assert [(bar.title, bar.total, bar.done, bar.unit) for bar in made] == [
        ("sampling", 7, 7, "steps"),
        ("inverting", 7, 7, "steps"),
    ]


def test_blending():
    def first(z, t):
        return z, torch.ones_like(z)

    def second(z, t):
        return 5 * z, 3 * torch.ones_like(z)

    noise, gradient = blended(first, second, 0.25)(Z, torch.zeros(4))
    assert torch.equal(noise, Z) and bool((gradient == 1.5).all())
    assert bool((blended(first, second, 0)(Z, torch.zeros(4))[1] == 1).all())
    with pytest.raises(ConfigError, match="without a gradient"):
        blended(first, ideal, 0.5)(Z, torch.tensor([1, 2, 3, 4]))
