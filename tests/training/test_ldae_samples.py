"""Choosing the epoch of stage 3 by samples: similarity of known denoisers, and which noise they are given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfm.evaluation.volume_similarity import ssim
from medfm.objectives.diffusion import make_schedule
from medfm.training.ldae_samples import SampleJudge
from medfm.training.ldae_stage import Draw

SCHEDULE = make_schedule()
TRUE = 0.5 + 0.3 * torch.randn(3, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
SCALE = 2.0


class Plain(nn.Module):
    """An autoencoder whose latents are its volumes."""

    def decode(self, latent):
        return latent


class Knows(nn.Module):
    """A denoiser that knows the latents and mixes them up by the code: code i stands for latent i."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, z, t, codes):
        self.seen.append(z)
        abar = SCHEDULE.alphas_cumprod[t].reshape(-1, 1, 1, 1, 1)
        clean = SCALE * TRUE[codes[:, 0].long()]
        return (z - abar.sqrt() * clean) / (1 - abar).sqrt(), torch.zeros_like(z)


def sources(rows=range(3)):
    return [Draw(0, row, 0).generator("samples") for row in rows]


def judge(**values) -> SampleJudge:
    return SampleJudge(Plain(), SCHEDULE, **({"scale": SCALE, "clip": None, "steps": 10, "window": 4} | values))


def test_a_denoiser_that_knows_the_volume_is_perfect():
    codes = torch.arange(3.0)[:, None]
    assert judge().similarity(Knows(), codes, SCALE * TRUE, sources()) == pytest.approx([1.0] * 3, abs=2e-3)


def test_wrong_codes_give_other_volumes():
    codes = torch.tensor([[1.0], [2.0], [0.0]])
    found = judge().similarity(Knows(), codes, SCALE * TRUE, sources())
    expected = ssim(TRUE[[1, 2, 0]], TRUE, window=4)
    assert found == pytest.approx(expected.tolist(), abs=5e-3) and max(found) < 0.5


@pytest.mark.parametrize("steps", [3, 7])
def test_sampling_begins_with_the_noise_of_the_record(steps):
    denoiser = Knows()
    judge(steps=steps).similarity(denoiser, torch.arange(3.0)[:, None], SCALE * TRUE, sources())
    noise = torch.stack([torch.randn(1, 8, 8, 8, generator=source) for source in sources()])
    assert len(denoiser.seen) == steps and torch.equal(denoiser.seen[0], noise)
    # Whatever stands beside it in the batch, a record is given its own.
    alone = Knows()
    judge(steps=steps).similarity(alone, torch.ones(1, 1), SCALE * TRUE[1:2], sources([1]))
    assert torch.equal(alone.seen[0], noise[1:2])


def test_the_clamp_and_the_window_of_the_recipe_count():
    codes = torch.arange(3.0)[:, None]
    clipped = judge(clip=1.0).similarity(Knows(), codes, SCALE * TRUE, sources())
    assert max(clipped) < 0.999
    windows = [judge(window=w).similarity(Knows(), codes.flip(0), SCALE * TRUE, sources()) for w in (3, 7)]
    assert windows[0] != pytest.approx(windows[1], abs=1e-4)


def test_the_autoencoder_is_frozen_and_moved():
    autoencoder = Plain()
    autoencoder.weight = nn.Parameter(torch.ones(2))
    found = SampleJudge(autoencoder, SCHEDULE, 1.0, None, 5, 4)
    found.to(torch.device("cpu"))
    assert not autoencoder.weight.requires_grad and not autoencoder.training
