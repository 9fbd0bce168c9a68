"""Schedule, losses, DDIM steps and loops against golden figures of the published code; never skipped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fill import HERE, filled_input, golden

from medfm.objectives.ddim import Denoiser, blended, inversion_step, invert, make_grid, reverse_step, sample
from medfm.objectives.diffusion import (
    add_noise,
    clean_from_noise,
    make_schedule,
    noise_loss,
    posterior_mean,
    shifted_loss,
)

NAME = "ldae-diffusion"


def schedule_file() -> dict[str, np.ndarray]:
    with np.load(HERE / NAME / "schedule.npz") as data:
        return {key: data[key] for key in data.files}


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_every_array_of_the_schedule_to_the_last_bit(kind):
    expected = {key: value for key, value in schedule_file().items() if key.startswith(f"{kind}_")}
    schedule = make_schedule(kind)
    compared = set()
    for key, value in expected.items():
        name, part = key.removeprefix(f"{kind}_").rsplit("_", 1)
        ours = getattr(schedule, name).numpy()
        assert ours.dtype == np.float32 and ours.shape == (1000,)
        if part in ("first5", "last5"):
            assert np.array_equal(ours[:5] if part == "first5" else ours[-5:], value), key
        else:
            factor = np.arange(1, 1001) if part == "wsum" else np.ones(1000)
            assert (ours.astype(np.float64) * factor).sum() == pytest.approx(float(value), rel=1e-12), key
        compared.add(name)
    assert compared == set(schedule.__dataclass_fields__)


@pytest.mark.parametrize("steps", [10, 20, 50, 100])
def test_grids(steps):
    expected = {key: value for key, value in schedule_file().items() if key.startswith(f"ddim{steps}_")}
    grid = make_grid(make_schedule(), steps)
    ours = {"timestep_map": grid.timesteps}
    for name in ("prev", "next"):
        array = getattr(grid, f"alphas_cumprod_{name}")
        ours |= {f"alphas_cumprod_{name}_first5": array[:5], f"alphas_cumprod_{name}_last5": array[-5:]}
    for key, value in expected.items():
        assert np.array_equal(ours[key.removeprefix(f"ddim{steps}_")].numpy(), value), key
    assert len(expected) == 4


def noise_of(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The stand-in for a denoiser that the golden figures were made with."""
    return torch.tanh(0.5 * x) + 0.1 * torch.cos(t.float() / 100).reshape(-1, 1, 1, 1, 1)


def steered(y: torch.Tensor) -> Denoiser:
    def model(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return noise_of(x, t), 0.3 * torch.sin(x) + 0.5 * y.mean(dim=1).reshape(-1, 1, 1, 1, 1)

    return model


@pytest.mark.parametrize("i", [0, 1])
def test_losses_steps_and_loops(i):
    expected = {key: value for key, value in golden(NAME).items() if key.startswith(f"in{i}_")}
    z, noise = (torch.from_numpy(filled_input(f"{NAME}/{i}{tag}", (4, 3, 2, 4, 6))) for tag in ("", "/noise"))
    model, other = (steered(torch.from_numpy(filled_input(f"{NAME}/{i}/{tag}", (4, 768)))) for tag in ("y", "y2"))
    schedule, t = make_schedule(), torch.tensor([0, 1, 500, 999])
    noisy = add_noise(schedule, z, t, noise)
    per_sample = shifted_loss(schedule, model, z, t, noise)
    ours = {
        "q_sample": noisy,
        "x0_from_eps": clean_from_noise(schedule, noisy, t, noise_of(noisy, t)),
        "posterior_mean": posterior_mean(schedule, z, noisy, t),
        "pretrain_loss": noise_loss(schedule, noise_of, z, t, noise),
        "stage3_loss_per_sample": per_sample,
        "stage3_loss": per_sample.mean(),
    }
    grid = make_grid(schedule, 100)
    at = torch.tensor([1, 2, 50, 100])
    eps, gradient = model(z, grid.timesteps[at])
    ours["ddim100_sample_step"] = ours["ddim100_noshift_sample_step"] = reverse_step(grid, z, at, eps)
    ours["ddim100_shift_sample_step"] = reverse_step(grid, z, at, eps, gradient)
    at = torch.tensor([0, 1, 50, 99])
    eps, gradient = model(z, grid.timesteps[at])
    ours["ddim100_encode_step"] = inversion_step(grid, z, at, eps)
    ours["ddim100_shift_encode_step"] = inversion_step(grid, z, at, eps, gradient)
    ten, twenty = make_grid(schedule, 10), make_grid(schedule, 20)
    code = invert(twenty, model, z)
    ours |= {
        "ddim10_sample_loop": sample(ten, noise_of, noise),
        "ddim10_encode_loop": invert(ten, noise_of, z),
        "ddim20_shift_encode_loop": code,
        "ddim10_shift_sample_loop_from_encoded": sample(ten, model, code),
        "ddim20_autoencoding": sample(twenty, model, code),
        "ddim10_shift_sample_stop30": sample(ten, model, noise, stop_percent=0.3),
        "ddim10_trajectory_interp_0p25": sample(ten, blended(model, other, 0.25), noise),
    }
    for key, value in ours.items():
        wanted = expected.pop(f"in{i}_{key}")
        assert tuple(value.shape) == wanted.shape, key
        # Inversions reach 200 to 300 and are held to the same relative tolerance.
        np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-5, atol=1e-5, err_msg=key)
    assert not expected, f"golden arrays were not compared: {sorted(expected)}"


def test_the_golden_figures_would_notice_a_wrong_rule():
    """The clamp, the shift and its coefficient, and the grid all matter to what is compared above."""
    z = torch.from_numpy(filled_input(f"{NAME}/0", (4, 3, 2, 4, 6)))
    model = steered(torch.from_numpy(filled_input(f"{NAME}/0/y", (4, 768))))
    grid = make_grid(make_schedule(), 100)
    at = torch.tensor([1, 2, 50, 100])
    eps, gradient = model(z, grid.timesteps[at])
    right = golden(NAME)["in0_ddim100_shift_sample_step"]
    schedule = make_schedule()
    as_trained = schedule.at("shift_coef", grid.timesteps[at], z) * gradient
    wrong = {
        "no clamp": reverse_step(grid, z, at, eps, gradient, clip=None),
        "no shift": reverse_step(grid, z, at, eps),
        "the coefficient of the training loss": reverse_step(grid, z, at, eps + as_trained),
        "the entry before": reverse_step(grid, z, (at - 1).clamp(min=1), eps, gradient),
    }
    for what, value in wrong.items():
        # The two coefficients nearly agree in a single step; the figures are held to 1e-5.
        assert np.abs(value.numpy() - right).max() > (3e-5 if "training" in what else 1e-3), what
