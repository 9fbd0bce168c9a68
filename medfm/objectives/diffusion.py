"""Diffusion of latents: schedule, forward process, posterior, and the losses of LDAE; pure functions.

Noise schedule and losses follow PDAE (Zhang et al. 2022, arXiv 2212.12990) as LDAE
(arXiv 2504.08635) configures it: epsilon is predicted, t runs from 0 to T - 1. Sampling is in
:mod:`medfm.objectives.ddim`. MONAI's ``DDPMScheduler`` with ``linear_beta`` is the same schedule
accumulated in float32 (relative difference up to 4e-7), so the published tables are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Kind = Literal["linear", "cosine"]
_GAMMA = 0.1
_COSINE_OFFSET = 0.008
_LARGEST_BETA = 0.999


@dataclass(frozen=True)
class Schedule:
    """Everything that depends on the timestep alone: float32 of shape (T,) each, on the CPU.

    Computed in float64 and rounded once. ``abar`` is the product of the alphas up to t;
    ``abar`` before step 0 is 1, after the last step 0.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor
    alphas_cumprod_prev: Tensor
    alphas_cumprod_next: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    log_one_minus_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod_m1: Tensor
    posterior_variance: Tensor
    posterior_log_variance_clipped: Tensor
    x_0_posterior_mean_x_0_coef: Tensor
    x_0_posterior_mean_x_t_coef: Tensor
    noise_posterior_mean_x_t_coef: Tensor
    noise_posterior_mean_noise_coef: Tensor
    shift_coef: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.betas)

    def at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        """The array called `name` at timesteps `t` (n,), shaped to multiply `like` (n, ...)."""
        values: Tensor = getattr(self, name)
        return for_items(values.to(like.device)[t.to(like.device)], like)


def for_items(values: Tensor, like: Tensor) -> Tensor:
    """`values` (n,) with as many axes as `like` (n, ...), for broadcasting."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def betas(kind: Kind = "linear", steps: int = 1000) -> np.ndarray:
    """Variances of the noise per step, float64 (steps,).

    ``linear``: 1e-4 to 2e-2 (published). ``cosine``: Nichol and Dhariwal 2021
    (arXiv 2102.09672), at most 0.999.
    """
    if kind == "linear":
        return np.linspace(1e-4, 2e-2, steps, dtype=np.float64)
    edges = np.cos((np.arange(steps + 1) / steps + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2
    found: np.ndarray = np.minimum(1 - edges[1:] / edges[:-1], _LARGEST_BETA)
    return found


@lru_cache(maxsize=8)
def make_schedule(kind: Kind = "linear", steps: int = 1000) -> Schedule:
    """The schedule of LDAE (``linear``, 1000 steps) or another.

    Args:
        kind: How the variances grow.
        steps: T, at least 2.
    """
    beta = betas(kind, steps)
    alpha = 1 - beta
    abar = np.cumprod(alpha)
    before = np.append(1.0, abar[:-1])
    variance = beta * (1 - before) / (1 - abar)
    snr = abar / (1 - abar)
    arrays = {
        "betas": beta,
        "alphas": alpha,
        "alphas_cumprod": abar,
        "alphas_cumprod_prev": before,
        "alphas_cumprod_next": np.append(abar[1:], 0.0),
        "sqrt_alphas_cumprod": np.sqrt(abar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - abar),
        "log_one_minus_alphas_cumprod": np.log(1 - abar),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / abar),
        "sqrt_recip_alphas_cumprod_m1": np.sqrt(1 / abar - 1),
        "posterior_variance": variance,
        # The variance at t = 0 is 0; the next one stands in for it under the logarithm.
        "posterior_log_variance_clipped": np.log(np.append(variance[1], variance[1:])),
        "x_0_posterior_mean_x_0_coef": beta * np.sqrt(before) / (1 - abar),
        "x_0_posterior_mean_x_t_coef": (1 - before) * np.sqrt(alpha) / (1 - abar),
        "noise_posterior_mean_x_t_coef": np.sqrt(1 / alpha),
        "noise_posterior_mean_noise_coef": beta / (np.sqrt(alpha) * np.sqrt(1 - abar)),
        "shift_coef": -np.sqrt(alpha) * (1 - before) / np.sqrt(1 - abar),
        "weight": snr**_GAMMA / (1 + snr),
    }
    assert set(arrays) == {entry.name for entry in fields(Schedule)}
    return Schedule(**{name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()})


def add_noise(schedule: Schedule, z0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """z_t = sqrt(abar) z0 + sqrt(1 - abar) noise; z0 and noise (n, ...), t (n,) whole numbers."""
    return schedule.at("sqrt_alphas_cumprod", t, z0) * z0 + schedule.at("sqrt_one_minus_alphas_cumprod", t, z0) * noise


def clean_from_noise(schedule: Schedule, z_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """The z0 that gives `z_t` with this `noise`; inverse of :func:`add_noise`, nothing clamped."""
    return (
        schedule.at("sqrt_recip_alphas_cumprod", t, z_t) * z_t
        - schedule.at("sqrt_recip_alphas_cumprod_m1", t, z_t) * noise
    )


def posterior_mean(schedule: Schedule, z0: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
    """Mean of q(z_{t-1} | z_t, z0), shape of `z_t`."""
    return (
        schedule.at("x_0_posterior_mean_x_0_coef", t, z_t) * z0
        + schedule.at("x_0_posterior_mean_x_t_coef", t, z_t) * z_t
    )


def draw_timesteps(count: int, steps: int = 1000, generator: torch.Generator | None = None) -> Tensor:
    """`count` timesteps, uniform over 0..steps - 1, on the device of the generator (CPU without one)."""
    device = torch.device("cpu") if generator is None else generator.device
    return torch.randint(0, steps, (count,), generator=generator, device=device)


def noise_loss(
    schedule: Schedule, model: Callable[[Tensor, Tensor], Tensor], z0: Tensor, t: Tensor, noise: Tensor
) -> Tensor:
    """Loss of stage 2: mean square error of the predicted noise, unweighted; a scalar.

    Args:
        schedule: The noise schedule.
        model: (z_t, t) -> predicted noise.
        z0: Latents (n, ...), already scaled.
        t: Timesteps (n,).
        noise: Standard normal, shape of `z0`.
    """
    predicted = model(add_noise(schedule, z0, t, noise), t)
    return (predicted.float() - noise.float()).square().mean()


def noise_error(
    schedule: Schedule, model: Callable[[Tensor, Tensor], Tensor], z0: Tensor, t: Tensor, noise: Tensor
) -> Tensor:
    """Mean square error of the predicted noise per latent (n,); arguments as of :func:`noise_loss`."""
    predicted = model(add_noise(schedule, z0, t, noise), t)
    return (predicted.float() - noise.float()).square().flatten(1).mean(dim=1)


def shifted_loss(
    schedule: Schedule,
    model: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    z0: Tensor,
    t: Tensor,
    noise: Tensor,
) -> Tensor:
    """Loss of stage 3 per latent, shape (n,); its mean is what is minimised.

    mean over elements of w_t * (noise - (eps + c_t * G)) ** 2 with w_t = SNR ** 0.1 / (1 + SNR)
    and c_t = -sqrt(alpha_t) * (1 - abar_{t-1}) / sqrt(1 - abar_t), which is 0 at t = 0. (Sampling
    shifts by another coefficient, see :func:`medfm.objectives.ddim.shifted_noise`.)

    Args:
        schedule: The noise schedule.
        model: (z_t, t) -> predicted noise and the gradient from the semantic code.
        z0: Latents (n, ...), already scaled.
        t: Timesteps (n,).
        noise: Standard normal, shape of `z0`.
    """
    return schedule.at("weight", t, z0).flatten() * shifted_error(schedule, model, z0, t, noise)


def clean_weight(schedule: Schedule, t: Tensor, most: float) -> Tensor:
    """What turns the error of the noise at timesteps `t` (n,) into that of the clean latent: 1 / SNR, at most `most`.

    Not published. It weighs the noisy end, where only the code can tell what the latent was, so a
    code says something after hundreds of steps rather than many thousands.
    """
    abar = schedule.alphas_cumprod.to(t.device)[t]
    return ((1 - abar) / abar).clamp(max=most)


def shifted_error(
    schedule: Schedule,
    model: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    z0: Tensor,
    t: Tensor,
    noise: Tensor,
) -> Tensor:
    """Mean square error of the shifted noise per latent (n,), unweighted; arguments as of :func:`shifted_loss`."""
    predicted, gradient = model(add_noise(schedule, z0, t, noise), t)
    shifted = predicted.float() + schedule.at("shift_coef", t, z0) * gradient.float()
    return (noise.float() - shifted).square().flatten(1).mean(dim=1)
