"""Diffusion: the schedule against its definition and MONAI, noise and back, and the losses against loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.objectives.diffusion import (
    add_noise,
    betas,
    clean_from_noise,
    draw_timesteps,
    for_items,
    make_schedule,
    noise_loss,
    posterior_mean,
    shifted_loss,
)

SCHEDULE = make_schedule()
Z, NOISE = torch.randn(2, 5, 2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0, 1, 300, 700, 999])


def test_checksums_of_the_published_schedule():
    assert float(SCHEDULE.betas.double().sum()) == pytest.approx(10.05, rel=1e-6)
    assert float(SCHEDULE.alphas_cumprod.double().sum()) == pytest.approx(275.5132333, rel=1e-7)
    assert float(SCHEDULE.weight.double().sum()) == pytest.approx(492.6742060, rel=1e-7)
    assert int(SCHEDULE.weight.argmax()) == 475 and float(SCHEDULE.weight.max()) == pytest.approx(0.7224666, abs=1e-6)
    assert float(SCHEDULE.shift_coef[0]) == 0 and float(SCHEDULE.shift_coef[100]) == pytest.approx(-0.31769, abs=1e-5)


@pytest.mark.parametrize("t", [1, 2, 100, 999])
def test_one_timestep_from_its_definition(t):
    beta = [1e-4 + (2e-2 - 1e-4) * i / 999 for i in range(1000)]
    abar = math.prod(1 - b for b in beta[: t + 1])
    before = math.prod(1 - b for b in beta[:t])
    snr = abar / (1 - abar)
    expected = {
        "betas": beta[t],
        "alphas_cumprod": abar,
        "alphas_cumprod_prev": before,
        "posterior_variance": beta[t] * (1 - before) / (1 - abar),
        "posterior_log_variance_clipped": math.log(beta[t] * (1 - before) / (1 - abar)),
        "shift_coef": -math.sqrt(1 - beta[t]) * (1 - before) / math.sqrt(1 - abar),
        "weight": (1 / (1 + snr)) ** 0.9 * (snr / (1 + snr)) ** 0.1,
    }
    for name, value in expected.items():
        assert float(getattr(SCHEDULE, name)[t]) == pytest.approx(value, rel=1e-6), name


def test_ends():
    assert float(SCHEDULE.alphas_cumprod_prev[0]) == 1 and float(SCHEDULE.alphas_cumprod_next[-1]) == 0
    assert float(SCHEDULE.posterior_variance[0]) == 0
    assert torch.equal(SCHEDULE.posterior_log_variance_clipped[0], SCHEDULE.posterior_log_variance_clipped[1])
    assert len(SCHEDULE) == 1000 and len(make_schedule("linear", 50)) == 50


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [2, 10, 1000])
def test_any_schedule_is_sound(kind, steps):
    schedule = make_schedule(kind, steps)
    assert np.all((betas(kind, steps) > 0) & (betas(kind, steps) < 1))
    for name in schedule.__dataclass_fields__:
        values = getattr(schedule, name)
        assert values.shape == (steps,) and bool(torch.isfinite(values).all()), name
    assert bool((schedule.alphas_cumprod.diff() < 0).all())


def test_monais_scheduler_is_nearly_the_same():
    from monai.networks.schedulers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=1000, schedule="linear_beta", beta_start=1e-4, beta_end=2e-2)
    torch.testing.assert_close(theirs.alphas_cumprod, SCHEDULE.alphas_cumprod, rtol=1e-6, atol=0)
    ours = add_noise(SCHEDULE, Z, T, NOISE)
    torch.testing.assert_close(
        theirs.add_noise(original_samples=Z, noise=NOISE, timesteps=T), ours, atol=1e-5, rtol=1e-5
    )


def test_the_mean_of_the_noise_loss_in_monais_words():
    """The MSE of stage 2 is torch's own."""
    loss = noise_loss(SCHEDULE, lambda z, t: z.sin(), Z, T, NOISE)
    expected = torch.nn.functional.mse_loss(add_noise(SCHEDULE, Z, T, NOISE).sin(), NOISE)
    torch.testing.assert_close(loss, expected)


@given(st.integers(0, 999), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_noise_and_back(t, seed):
    z, noise = torch.randn(2, 1, 2, 2, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    at = torch.tensor([t])
    again = clean_from_noise(SCHEDULE, add_noise(SCHEDULE, z, at, noise), at, noise)
    # The float32 tables are not exact inverses; sqrt(1/abar) reaches 157 at t = 999.
    torch.testing.assert_close(again, z, atol=2e-4, rtol=2e-4)


def test_the_variance_stays_one():
    z, noise = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(1))
    for t in (0, 500, 999):
        noisy = add_noise(SCHEDULE, z[None], torch.tensor([t]), noise[None])
        assert float(noisy.var()) == pytest.approx(1, abs=0.02)


def test_posterior_mean_from_bayes():
    """Product of two normal densities: q(z_t | z_{t-1}) and q(z_{t-1} | z_0)."""
    z_t = add_noise(SCHEDULE, Z, T, NOISE)
    ours = posterior_mean(SCHEDULE, Z, z_t, T)
    for i, t in enumerate(T.tolist()):
        if t == 0:
            torch.testing.assert_close(ours[i], Z[i])
            continue
        alpha, beta = float(SCHEDULE.alphas[t]), float(SCHEDULE.betas[t])
        before = float(SCHEDULE.alphas_cumprod[t - 1])
        precision = alpha / beta + 1 / (1 - before)
        expected = (math.sqrt(alpha) / beta * z_t[i] + math.sqrt(before) / (1 - before) * Z[i]) / precision
        torch.testing.assert_close(ours[i], expected, atol=1e-4, rtol=1e-3)


def test_the_shifted_loss_as_loops():
    def model(z, t):
        return z.tanh(), z.cos()

    ours = shifted_loss(SCHEDULE, model, Z, T, NOISE)
    assert ours.shape == (5,)
    z_t = add_noise(SCHEDULE, Z, T, NOISE)
    for i, t in enumerate(T.tolist()):
        total = 0.0
        for z, noise in zip(z_t[i].flatten().tolist(), NOISE[i].flatten().tolist(), strict=True):
            total += (noise - (math.tanh(z) + float(SCHEDULE.shift_coef[t]) * math.cos(z))) ** 2
        expected = float(SCHEDULE.weight[t]) * total / Z[i].numel()
        assert float(ours[i]) == pytest.approx(expected, rel=1e-4)


def test_the_shift_learns_nothing_at_the_first_timestep():
    gain = torch.ones(2, requires_grad=True)
    t = torch.tensor([0, 500])
    shifted_loss(SCHEDULE, lambda z, t: (z, for_items(gain, z) * z), Z[:2], t, NOISE[:2]).sum().backward()
    assert float(gain.grad[0]) == 0 and float(gain.grad[1]) != 0


def test_a_perfect_shift_has_no_loss():
    def model(z, t):
        return torch.zeros_like(z), NOISE / SCHEDULE.at("shift_coef", t, z)

    at = torch.tensor([1, 2, 300, 700, 999])
    assert float(shifted_loss(SCHEDULE, model, Z, at, NOISE).max()) < 1e-9


def test_losses_are_computed_in_float32():
    half = shifted_loss(SCHEDULE, lambda z, t: (z.half(), z.half()), Z, T, NOISE)
    assert (
        half.dtype == torch.float32 and noise_loss(SCHEDULE, lambda z, t: z.half(), Z, T, NOISE).dtype == torch.float32
    )


def test_drawing_timesteps():
    before = torch.random.get_rng_state()
    drawn = draw_timesteps(20_000, 10, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, draw_timesteps(20_000, 10, torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.random.get_rng_state())
    counts = torch.bincount(drawn, minlength=10)
    assert len(counts) == 10 and bool((counts - 2000).abs().max() < 250)
