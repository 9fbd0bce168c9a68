"""Judging stage 3 of LDAE by its samples: volumes drawn from the semantic code alone, against the decoded latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medfm.evaluation.volume_similarity import ssim
from medfm.objectives.ddim import make_grid, sample
from medfm.objectives.diffusion import Schedule
from medfm.objectives.prediction import Prediction, as_noise


class SampleJudge:
    """Structural similarity of sampled to decoded volumes, as the published program chooses its epoch.

    Sampling starts from pure noise, so only what the code says of a volume can make the two alike.
    The decode of the volume's own latent, not the scan, is what samples are compared with.

    Args:
        autoencoder: Of stage 1; frozen here.
        schedule: Of the noise.
        scale: What latents were multiplied by.
        clip: As of :func:`medfm.objectives.ddim.sample`.
        steps: Sampling steps (published: 100).
        window: Side of the window of the similarity (published: 4 in the tables, 3 in the newest code).
        prediction: What the denoiser predicts.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        schedule: Schedule,
        scale: float,
        clip: float | None,
        steps: int,
        window: int,
        prediction: Prediction = "epsilon",
    ) -> None:
        self.autoencoder: Any = autoencoder.eval().requires_grad_(False)
        self.grid = make_grid(schedule, steps)
        self.scale, self.clip, self.window = scale, clip, window
        self.schedule, self.prediction = schedule, prediction

    def to(self, device: torch.device) -> None:
        """Move the autoencoder."""
        self.autoencoder.to(device)

    @torch.no_grad()
    def similarity(
        self, denoiser: nn.Module, codes: Tensor, latents: Tensor, sources: Sequence[torch.Generator]
    ) -> list[float]:
        """The similarity of each record's sample, 1 at best.

        Args:
            denoiser: (z, t, codes) -> noise and gradient, or both as velocities, in evaluation mode.
            codes: Semantic codes (n, d).
            latents: Scaled latents of the same records (n, channels, i, j, k).
            sources: A CPU generator per record, which draws its noise.
        """

        def model(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            noise, gradient = denoiser(z, t, codes)
            return noise, gradient

        first = torch.stack([torch.randn(latents.shape[1:], generator=source) for source in sources])
        shifted = as_noise(model, self.schedule, self.prediction)
        sampled = sample(self.grid, shifted, first.to(latents.device), clip=self.clip)
        drawn, true = (self.autoencoder.decode(part / self.scale) for part in (sampled, latents))
        values: list[float] = ssim(drawn.contiguous(), true.contiguous(), window=self.window).tolist()
        return values
