"""Deterministic sampling (DDIM, eta 0) of latents and its inversion, with or without a semantic shift.

Song et al. 2021 (arXiv 2010.02502) as PDAE and LDAE run it. MONAI's ``DDIMScheduler`` cannot stand
in: its grid has S points and not S + 1, it does not recompute the noise after clamping, and it
ends at abar 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker, Silent
from medfm.objectives.diffusion import Schedule, for_items

# (z, t) -> noise, or noise and the gradient that shifts it; t are original timesteps (n,).
Denoiser = Callable[[Tensor, Tensor], "Tensor | tuple[Tensor, Tensor | None]"]
PUBLISHED_CLIP = 1.0


@dataclass(frozen=True)
class Grid:
    """The timesteps of S sampling steps: S + 1 of them, both ends included.

    Attributes:
        timesteps: Original timesteps that the network is given, int64 (S + 1,).
        alphas_cumprod: abar at them, float32 (S + 1,).
        alphas_cumprod_prev: abar one entry earlier; 1 before the first.
        alphas_cumprod_next: abar one entry later; 0 after the last.
    """

    timesteps: Tensor
    alphas_cumprod: Tensor
    alphas_cumprod_prev: Tensor
    alphas_cumprod_next: Tensor

    @property
    def steps(self) -> int:
        """S."""
        return len(self.timesteps) - 1


def make_grid(schedule: Schedule, steps: int) -> Grid:
    """The grid of `steps` steps: whole parts of linspace(0, T - 1, steps + 1).

    Raises:
        ConfigError: Less than one step, or more than the schedule has.
    """
    if not 1 <= steps < len(schedule):
        raise ConfigError(f"Sampling in {steps} steps is not possible.", expected=f"1 to {len(schedule) - 1} steps")
    return _grid(schedule, steps)


@lru_cache(maxsize=32)
def _grid_of(abar: tuple[float, ...], steps: int) -> Grid:
    values = np.asarray(abar, dtype=np.float32)
    timesteps = np.linspace(0, len(values) - 1, steps + 1).astype(np.int64)
    kept = values[timesteps]
    # Rebuilt from variances between kept timesteps, in float32, as published.
    beta = 1 - kept / np.append(np.float32(1), kept[:-1])
    rebuilt = np.cumprod(1 - beta)
    arrays = (rebuilt, np.append(np.float32(1), rebuilt[:-1]), np.append(rebuilt[1:], np.float32(0)))
    return Grid(torch.from_numpy(timesteps), *(torch.from_numpy(array.astype(np.float32)) for array in arrays))


def _grid(schedule: Schedule, steps: int) -> Grid:
    return _grid_of(tuple(schedule.alphas_cumprod.tolist()), steps)


def shifted_noise(grid: Grid, index: Tensor, noise: Tensor, gradient: Tensor | None) -> Tensor:
    """noise - sqrt(1 - abar) * gradient at entries `index` (n,) of the grid; without a gradient the noise itself."""
    if gradient is None:
        return noise
    abar = for_items(grid.alphas_cumprod.to(noise.device)[index], noise)
    return noise - (1 - abar).sqrt() * gradient


def reverse_step(
    grid: Grid,
    z: Tensor,
    index: int | Tensor,
    noise: Tensor,
    gradient: Tensor | None = None,
    clip: float | None = PUBLISHED_CLIP,
) -> Tensor:
    """From entry `index` of the grid to the one before it (less noise).

    Args:
        grid: The timesteps.
        z: float (n, ...).
        index: 1 to S, one for all or one per latent (n,).
        noise: Predicted noise in `z`.
        gradient: What shifts it, from a semantic code.
        clip: The clean latent is clamped to -clip..clip, and the noise recomputed so that `z`
            stays what it is (published: 1, although latents have about unit standard deviation);
            ``None`` does not clamp.
    """
    at = _indices(index, z, 1, grid.steps)
    return _step(grid, z, at, shifted_noise(grid, at, noise, gradient), grid.alphas_cumprod_prev, clip)


def inversion_step(
    grid: Grid,
    z: Tensor,
    index: int | Tensor,
    noise: Tensor,
    gradient: Tensor | None = None,
    clip: float | None = PUBLISHED_CLIP,
) -> Tensor:
    """From entry `index` (0 to S - 1) of the grid to the one after it (more noise); as :func:`reverse_step`."""
    at = _indices(index, z, 0, grid.steps - 1)
    return _step(grid, z, at, shifted_noise(grid, at, noise, gradient), grid.alphas_cumprod_next, clip)


def _step(grid: Grid, z: Tensor, at: Tensor, noise: Tensor, goal: Tensor, clip: float | None) -> Tensor:
    abar = for_items(grid.alphas_cumprod.to(z.device)[at], z)
    grow, noisy = (1 / abar).sqrt(), (1 / abar - 1).sqrt()
    clean = grow * z - noisy * noise
    if clip is not None:
        clean = clean.clamp(-clip, clip)
        noise = (grow * z - clean) / noisy
    wanted = for_items(goal.to(z.device)[at], z)
    return clean * wanted.sqrt() + (1 - wanted).sqrt() * noise


def _indices(index: int | Tensor, z: Tensor, low: int, high: int) -> Tensor:
    at = torch.as_tensor(index, device=z.device).expand(len(z))
    if not bool(((at >= low) & (at <= high)).all()):
        raise ConfigError("A step outside the grid was asked for.", expected=f"{low} to {high}", where=str(index))
    return at


def sample(
    grid: Grid,
    model: Denoiser,
    z: Tensor,
    *,
    clip: float | None = PUBLISHED_CLIP,
    stop_percent: float = 0.0,
    progress: ProgressMaker = Silent,
) -> Tensor:
    """From noise (or a stochastic code) to a clean latent, in S steps.

    Args:
        grid: The timesteps.
        model: (z, t) -> noise, or noise and gradient.
        z: float32 (n, ...), the start.
        clip: As of :func:`reverse_step`.
        stop_percent: The shift is left out in the last part of the steps, where
            (index - 1) < int(stop_percent * S); 0 in LDAE.
        progress: Shows the steps.
    """
    _check_share(stop_percent)
    unshifted = int(stop_percent * grid.steps)
    with progress("sampling", grid.steps, "steps") as bar:
        for index in range(grid.steps, 0, -1):
            noise, gradient = _outputs(model, grid, z, index)
            z = reverse_step(grid, z, index, noise, gradient if index - 1 >= unshifted else None, clip)
            bar.advance()
    return z


def invert(
    grid: Grid,
    model: Denoiser,
    z: Tensor,
    *,
    clip: float | None = PUBLISHED_CLIP,
    progress: ProgressMaker = Silent,
) -> Tensor:
    """From a clean latent to its stochastic code, in S steps; arguments as of :func:`sample`.

    The clean latent is taken as entry 0 of the grid (abar 0.9999). With the published clamp codes
    are far from standard normal; sampling from them gives the latent back all the same.
    """
    with progress("inverting", grid.steps, "steps") as bar:
        for index in range(grid.steps):
            noise, gradient = _outputs(model, grid, z, index)
            z = inversion_step(grid, z, index, noise, gradient, clip)
            bar.advance()
    return z


def blended(first: Denoiser, second: Denoiser, share: float) -> Denoiser:
    """A model whose gradient lies between those of two codes: (1 - share) of the first, share of the second.

    The noise is that of the first. It interpolates along the whole trajectory (PDAE); LDAE
    interpolates the codes instead.

    Raises:
        ConfigError: One of them gives no gradient.
    """

    def model(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        outputs = first(z, t), second(z, t)
        gradients = [None if isinstance(output, Tensor) else output[1] for output in outputs]
        if gradients[0] is None or gradients[1] is None:
            raise ConfigError("A model without a gradient cannot be blended.", expected="models with a semantic code")
        noise = outputs[0] if isinstance(outputs[0], Tensor) else outputs[0][0]
        return noise, (1 - share) * gradients[0] + share * gradients[1]

    return model


def _outputs(model: Denoiser, grid: Grid, z: Tensor, index: int) -> tuple[Tensor, Tensor | None]:
    t = grid.timesteps[index].to(z.device).expand(len(z))
    output = model(z, t)
    noise, gradient = (output, None) if isinstance(output, Tensor) else output
    # The steps are computed in the type of z, whatever the network ran in.
    return noise.to(z.dtype), None if gradient is None else gradient.to(z.dtype)


def _check_share(value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"stop_percent is {value:g}.", expected="a share from 0 to 1")
