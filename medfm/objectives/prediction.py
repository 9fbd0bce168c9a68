"""What the outputs of a denoiser mean: the noise itself (published), or a velocity that noise is computed from.

Velocity (Salimans and Ho 2022, arXiv 2202.00512) is v = sqrt(abar) noise - sqrt(1 - abar) z0. Where
nearly all is noise it is the clean latent with the sign turned, so a network of little training is
wrong there by no more than its own error; as noise, the same error counts 1 / sqrt(abar) times in the
clean latent, 157 times at the last of the published steps. Sampling, inversion and the losses take
noise and gradients only: the outputs are translated first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from torch import Tensor

from medfm.objectives.diffusion import Schedule

Prediction = Literal["epsilon", "velocity"]
_Outputs = TypeVar("_Outputs", Tensor, tuple[Tensor, Tensor])


def noise_of(schedule: Schedule, z_t: Tensor, t: Tensor, velocity: Tensor) -> Tensor:
    """The noise that `velocity` says is in `z_t`: sqrt(1 - abar) z_t + sqrt(abar) v; float32, shape of `z_t` (n, ...)."""
    kept, noisy = _shares(schedule, z_t, t)
    return noisy * z_t.float() + kept * velocity.float()


def gradient_of(schedule: Schedule, z_t: Tensor, t: Tensor, change: Tensor) -> Tensor:
    """The gradient that shifts noise as much as adding `change` to the velocity does: -sqrt(abar / (1 - abar)) change.

    Sampling takes sqrt(1 - abar) times the gradient from the noise, so this adds sqrt(abar) `change` to
    it. Stage 3 trains with the published factor, which is smaller at the first steps and 0 at t = 0.
    """
    kept, noisy = _shares(schedule, z_t, t)
    return -(kept / noisy) * change.float()


def as_noise(
    model: Callable[[Tensor, Tensor], _Outputs], schedule: Schedule, prediction: Prediction
) -> Callable[[Tensor, Tensor], _Outputs]:
    """A model of what `prediction` says as one of noise: itself for ``epsilon``.

    Args:
        model: (z_t, t) -> an output, or two of which the second comes from the semantic code; t are
            timesteps of `schedule` (n,).
        schedule: The noise schedule.
        prediction: What the outputs mean. Of two velocities the second is added to the first.

    Returns:
        (z_t, t) -> noise, or noise and the gradient that shifts it.
    """
    if prediction == "epsilon":
        return model

    def translated(z_t: Tensor, t: Tensor) -> _Outputs:
        output = model(z_t, t)
        if isinstance(output, Tensor):
            return noise_of(schedule, z_t, t, output)
        velocity, change = output
        return noise_of(schedule, z_t, t, velocity), gradient_of(schedule, z_t, t, change)

    return translated


def velocity_weight(schedule: Schedule, t: Tensor) -> Tensor:
    """What turns square errors of the noise at timesteps `t` (n,) into those of the velocity: 1 / abar."""
    return 1 / schedule.alphas_cumprod.to(t.device)[t]


def _shares(schedule: Schedule, z_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    return schedule.at("sqrt_alphas_cumprod", t, z_t), schedule.at("sqrt_one_minus_alphas_cumprod", t, z_t)
