"""Stages of the tiny LDAE on made-up latents and volumes, the same in every process."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from tiny_ldae import scan, shaken

from medfm.core.config import build
from medfm.encoders.card import Card
from medfm.encoders.ldae.load import build_part
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_volume import axes_back
from medfm.encoders.published import build as build_network
from medfm.modalities.record import RecordRef
from medfm.objectives.compression import compression_losses, discriminator_loss
from medfm.objectives.diffusion import draw_timesteps, make_schedule
from medfm.training.ldae_autoencoder import AutoencoderStage
from medfm.training.ldae_config import AutoencoderRecipe, LatentRecipe, LdaeRecipe, SemanticRecipe
from medfm.training.ldae_diffusion import DiffusionStage, NoiseLoss, ShiftLoss
from medfm.training.ldae_samples import SampleJudge
from medfm.training.ldae_stage import Draw, clip_and_step, positions_of
from medfm.training.record_tensors import RecordTensors

BACK = (0, 1, *(axis + 2 for axis in axes_back("axial")))
SCHEDULE = make_schedule()
TRAIN, VALIDATION = list(range(8)), [8, 9, 10]
STAGES = ("autoencoder", "latent", "semantic")
_KINDS: dict[str, type[LdaeRecipe]] = {
    "autoencoder": AutoencoderRecipe,
    "latent": LatentRecipe,
    "semantic": SemanticRecipe,
}


def recipe(stage: str, **values: Any) -> Any:
    """A recipe of one record per process and batch, two batches in stage 2, where `values` do not say otherwise."""
    many = 2 if stage == "latent" else 1
    base: dict[str, Any] = {"name": "t", "stage": stage, "epochs": 2, "batch_size": 1, "accumulate": many}
    if stage == "autoencoder":
        base |= {"adversarial": 0.1, "discriminator": {"channels": 4, "layers": 1}}
    if stage == "semantic":
        base |= {"selection": "validation_ssim", "samples": {"steps": 1}}
    rate = {"optimisation": {"lr": 1e-4}, "machine": {"accelerator": "cpu"}}
    return build(_KINDS[stage], base | rate | values, where="test")


def records(card: Card) -> RecordTensors:
    """Eight to train on and three to judge by."""
    steps = Preprocessing(card.spec.preprocessing)
    held = torch.stack([steps(scan(seed)) for seed in range(len(TRAIN) + len(VALIDATION))])
    refs = tuple(RecordRef(f"s{i}", card.path) for i in range(len(held)))
    return RecordTensors(refs, "brain_mri", steps, held, tuple(range(len(held))))


def make_stage(card: Card, volumes: RecordTensors, config: Any) -> Any:
    """The stage of `config`, equal for equal settings."""
    if isinstance(config, AutoencoderRecipe):
        return AutoencoderStage(build_part(card, "autoencoder", 0), config, volumes, TRAIN, VALIDATION, BACK)
    latents = torch.randn(len(volumes), 2, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    if isinstance(config, LatentRecipe):
        loss: Any = NoiseLoss(shaken(build_part(card, "prior", 0)), SCHEDULE)
        return DiffusionStage(loss, config, latents, None, TRAIN, VALIDATION)
    denoiser: Any = shaken(build_part(card, "denoiser", 1))
    loss = ShiftLoss(build_network(card, 0).train(), denoiser.freeze().train(), SCHEDULE)
    judge = SampleJudge(build_part(card, "autoencoder", 0), SCHEDULE, 0.5, None, 1, 4)
    return DiffusionStage(loss, config, latents, volumes, TRAIN, VALIDATION, judge)


def steps_by_hand(stage: Any, config: Any, fabric: Fabric, steps: int, world: int, first: int = 0) -> list[float]:
    """What `world` processes do together, in one: every share of a batch in turn, the mean of all gradients; the losses.

    `stage` has been set up.
    """
    losses = []
    for step in range(first, first + steps):
        total, judged = 0.0, []
        for rank in range(world):
            draw = Draw(config.seed, step, rank)
            torch.manual_seed(draw.generator("dropout").initial_seed())
            noise_source = draw.generator()
            stage.network.train()
            batches = positions_of(step, stage.records, config, rank, world)
            for positions in batches:
                share = len(batches) * world
                if isinstance(stage, DiffusionStage):
                    inputs = stage._inputs(stage.train, positions)
                    t = draw_timesteps(len(positions), len(SCHEDULE), noise_source)
                    noise = torch.randn(inputs[0].shape, generator=noise_source)
                    value = stage.network(inputs[0], t, noise, *inputs[1:])
                else:
                    volume = stage._volumes(stage.train, positions)
                    noise = torch.randn(stage._latent(volume), generator=noise_source)
                    drawn, mean, sigma = stage.network(volume, noise)
                    stage.judgement.requires_grad_(config.discriminator.learns_from == "both_losses")
                    given = stage.judgement.discriminator(drawn.contiguous())[-1]
                    value = compression_losses(drawn, volume, mean, sigma, given, None, stage.weights).total
                    judged.append((drawn.detach(), volume, share))
                fabric.backward(value / share)
                if not isinstance(stage, DiffusionStage):
                    stage.judgement.requires_grad_(True)
                total += float(value.detach()) / share
        clip_and_step(fabric, stage.network, stage.fast, config.optimisation.clip, config.precision, step)
        if isinstance(stage, DiffusionStage):
            stage.average.update(stage.loss)
        for drawn, volume, share in judged:
            fabric.backward(discriminator_loss(*stage.judgement(drawn, volume), stage.weights) / share)
        if judged:
            clip_and_step(fabric, stage.critic, stage.fast_critic, config.optimisation.clip, config.precision, step)
        losses.append(total)
    return losses
