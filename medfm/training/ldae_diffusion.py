"""Stages 2 and 3 of LDAE: the denoiser of latents, and the semantic encoder with the half that it steers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.encoders.ldae.semantic import SemanticEncoder, settle_codes
from medfm.encoders.ldae.unet import ShiftUNet, UNet
from medfm.objectives.diffusion import (
    Schedule,
    clean_weight,
    draw_timesteps,
    noise_error,
    noise_loss,
    shifted_error,
    shifted_loss,
)
from medfm.objectives.prediction import Prediction, as_noise, velocity_weight
from medfm.training.ldae_config import LatentRecipe, SemanticRecipe
from medfm.training.ldae_samples import SampleJudge
from medfm.training.ldae_stage import Draw, adam, clip_and_step, mean_terms
from medfm.training.processes import collected, in_range, own_rows
from medfm.training.record_tensors import RecordTensors
from medfm.training.sharding import is_sharding, sharded_copy, whole
from medfm.training.weight_average import WeightAverage, set_trainable

# Validation spreads this many timesteps per record over the schedule, the same in every epoch.
_TIMES_JUDGED = 8


class NoiseLoss(nn.Module):
    """The loss of stage 2 as one call."""

    def __init__(
        self, unet: UNet, schedule: Schedule, most: float | None = None, prediction: Prediction = "epsilon"
    ) -> None:
        super().__init__()
        self.unet, self.schedule, self.most, self.prediction = unet, schedule, most, prediction

    def forward(self, latents: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean square error of what is predicted, or of the noise weighted as the recipe says."""
        model = as_noise(self.unet, self.schedule, self.prediction)
        weight = _weight(self.schedule, t, self.most, self.prediction)
        if weight is None:
            return noise_loss(self.schedule, model, latents, t, noise)
        return (weight * noise_error(self.schedule, model, latents, t, noise)).mean()


class ShiftLoss(nn.Module):
    """The loss of stage 3 as one call."""

    def __init__(
        self,
        encoder: SemanticEncoder,
        denoiser: ShiftUNet,
        schedule: Schedule,
        most: float | None = None,
        prediction: Prediction = "epsilon",
    ) -> None:
        super().__init__()
        self.encoder, self.denoiser, self.schedule = encoder, denoiser, schedule
        self.most, self.prediction = most, prediction

    def forward(
        self, latents: Tensor, t: Tensor, noise: Tensor, volumes: Tensor, shares: Tensor | None = None
    ) -> Tensor:
        """Weighted mean square error of the shifted noise, unweighted of the velocity; `volumes` as preprocessed, slices first.

        With `shares` (n,), 0 to 1, codes and latents become that share of the record and the rest of the one before it in
        the batch (manifold mixup, Verma et al. 2019, arXiv 1806.05236): what lies between two codes lies between their latents.
        """
        codes = self.encoder(volumes)
        if shares is not None:
            codes, latents = (_mixed(values, shares) for values in (codes, latents))
        return self.of_codes(latents, t, noise, codes)

    def of_codes(self, latents: Tensor, t: Tensor, noise: Tensor, codes: Tensor) -> Tensor:
        """The same of semantic codes (n, d)."""

        def model(z: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
            noise_, gradient = self.denoiser(z, at, codes)
            return noise_, gradient

        shifted = as_noise(model, self.schedule, self.prediction)
        weight = _weight(self.schedule, t, self.most, self.prediction)
        if weight is None:
            return shifted_loss(self.schedule, shifted, latents, t, noise).mean()
        return (weight * shifted_error(self.schedule, shifted, latents, t, noise)).mean()


def _mixed(values: Tensor, shares: Tensor) -> Tensor:
    own = shares.reshape(-1, *(1,) * (values.ndim - 1)).to(values.dtype)
    return own * values + (1 - own) * values.roll(1, dims=0)


def draw_shares(count: int, mixed: float, generator: torch.Generator) -> Tensor | None:
    """Shares for :meth:`ShiftLoss.forward`: uniform for the first `mixed` of the batch, else 1; ``None`` if none is mixed."""
    number = int(count * mixed)
    if number == 0 or count < 2:
        return None
    return torch.cat([torch.rand(number, generator=generator), torch.ones(count - number)])


def _weight(schedule: Schedule, t: Tensor, most: float | None, prediction: Prediction) -> Tensor | None:
    """Weights of the errors of the noise (n,); ``None``: the published ones."""
    if most is not None:
        return clean_weight(schedule, t, most)
    return velocity_weight(schedule, t) if prediction == "velocity" else None


class DiffusionStage:
    """Trains stage 2 or 3 on cached latents; :class:`medfm.training.ldae_stage.Stage` says what the methods do.

    Args:
        loss: The networks; what is frozen stays.
        config: The recipe.
        latents: float32 (n, channels, i, j, k), scaled.
        volumes: Preprocessed records in the order of `latents`, for stage 3.
        train: Positions to train on.
        validation: Positions to judge by.
        samples: Judges samples where the recipe chooses the epoch by ``validation_ssim``.
    """

    def __init__(
        self,
        loss: NoiseLoss | ShiftLoss,
        config: LatentRecipe | SemanticRecipe,
        latents: Tensor,
        volumes: RecordTensors | None,
        train: Sequence[int],
        validation: Sequence[int],
        samples: SampleJudge | None = None,
    ) -> None:
        # What computes: the networks themselves, or a copy of which every process holds a share.
        self.loss, self.live = loss, loss
        self.config, self.samples = config, samples
        self.latents, self.volumes = latents, volumes
        self.train, self.validation = list(train), list(validation)
        self.records, self.may_judge = len(self.train), bool(self.validation)
        batch_normed = isinstance(loss, ShiftLoss) and loss.encoder.args.code_norm == "batch"
        if batch_normed and config.batch_size < 2:
            raise TrainingError(
                "The card normalises codes over the records of a batch, and a batch has one record.",
                fix="--set batch_size=2 or more",
            )
        self.optimizer = adam([p for p in loss.parameters() if p.requires_grad], config)
        rate = getattr(config, "encoder_lr", None)
        if rate is not None and isinstance(loss, ShiftLoss):
            own = {id(p) for p in loss.encoder.parameters()}
            (group,) = self.optimizer.param_groups
            of_encoder = [p for p in group["params"] if id(p) in own]
            group["params"] = [p for p in group["params"] if id(p) not in own]
            self.optimizer.add_param_group({"params": of_encoder, "lr": rate, "full_lr": rate})
        self.optimizers = [self.optimizer]
        self.average = WeightAverage(loss, config.average.decay)
        for part in loss.children():
            if isinstance(part, (UNet, SemanticEncoder)):
                part.checkpointing = config.checkpointing

    def setup(self, fabric: Fabric) -> None:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        self.device, self.fabric = fabric.device, fabric
        if is_sharding(fabric):
            networks = ("unet",) if isinstance(self.loss, NoiseLoss) else ("encoder", "denoiser")
            self.live = sharded_copy(self.loss, networks, self.optimizer, fabric)
            self.average.share(self.live)
        self.network, self.fast = fabric.setup(self.live, self.optimizer)
        self.average.to(fabric.device)
        if self.samples is not None:
            self.samples.to(fabric.device)

    def step(self, fabric: Fabric, batches: Sequence[Sequence[int]], draw: Draw) -> dict[str, Tensor]:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        config, generator = self.config, draw.generator()
        self.network.train()
        parts: list[dict[str, Tensor]] = []
        for number, positions in enumerate(batches, start=1):
            with ExitStack() as waits:
                if number < len(batches):
                    waits.enter_context(fabric.no_backward_sync(self.network))
                inputs = self._inputs(self.train, positions)
                t = draw_timesteps(len(positions), len(self.loss.schedule), generator).to(self.device)
                noise = torch.randn(inputs[0].shape, generator=generator).to(self.device)
                if isinstance(config, SemanticRecipe):
                    shares = draw_shares(len(positions), config.mixed_codes, generator)
                    inputs += [] if shares is None else [shares.to(self.device)]
                value = self.network(inputs[0], t, noise, *inputs[1:])
                fabric.backward(value / len(batches))
                parts.append({"total": value})
        norm = clip_and_step(fabric, self.network, self.fast, config.optimisation.clip, config.precision, draw.step)
        updates = len(batches) if config.average.every == "batch" else 1
        self.average.update(self.live, updates, config.average.at(draw.step))
        return mean_terms(parts) | {"grad_norm": norm}

    def _inputs(self, of: Sequence[int], positions: Sequence[int]) -> list[Tensor]:
        rows = [of[i] for i in positions]
        found = [self.latents[rows].to(self.device)]
        if self.volumes is not None:
            found.append(torch.stack([self.volumes[row] for row in rows]).to(self.device))
        return found

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """The loss of the averaged weights on the validation records, with the same noise in every epoch."""
        was = self.live.training
        self.live.eval()
        steps = len(self.loss.schedule)
        # As much noise in every part of the schedule; the first is not 0, where a code has no influence.
        t = ((torch.arange(_TIMES_JUDGED) + 0.5) * steps / _TIMES_JUDGED).long().to(self.device)
        count = len(self.validation)
        own = own_rows(count, self.fabric.global_rank, self.fabric.world_size)
        values: list[float] = []
        with self.average.applied(self.live):
            self._settle(self.live)
            for i in in_range(own, count):
                latent, *volume = self._inputs(self.validation, [i])
                generator = Draw(self.config.seed, i, 0).generator("validation")
                noise = torch.randn((_TIMES_JUDGED, *latent.shape[1:]), generator=generator).to(self.device)
                many = latent.expand(_TIMES_JUDGED, *latent.shape[1:])
                values.append(float(self._judged(many, t, noise, volume)))
            alike = self._alike(own)
        self.live.train(was)
        (losses,) = collected(self.fabric, own, [values], count)
        total = sum(loss / count for loss in losses)
        return {"val_total": total} if alike is None else {"val_total": 1 - alike, "val_ssim": alike, "val_loss": total}

    def _settle(self, loss: nn.Module) -> None:
        """Fit the statistics of batch-normalised codes to the weights that are in the network now."""
        if isinstance(loss, ShiftLoss) and loss.encoder.args.code_norm == "batch":
            size = self.config.batch_size
            parts = (self.train[i : i + size] for i in range(0, len(self.train), size))
            settle_codes(loss.encoder, (self._inputs(part, range(len(part)))[1] for part in parts))

    def _alike(self, own: Sequence[int]) -> float | None:
        """Mean similarity of samples on the validation records, where it is asked for; each with its own noise."""
        if self.samples is None or not isinstance(self.live, ShiftLoss):
            return None
        values: list[float] = []
        size, count = self.config.batch_size, len(self.validation)
        for begin in range(0, len(own), size):
            rows = in_range(own[begin : begin + size], count)
            latents, volumes = self._inputs(self.validation, rows)
            sources = [Draw(self.config.seed, i, 0).generator("samples") for i in rows]
            values += self.samples.similarity(self.live.denoiser, self.live.encoder(volumes), latents, sources)
        (similar,) = collected(self.fabric, own, [values], count)
        return sum(similar) / count

    def _judged(self, latents: Tensor, t: Tensor, noise: Tensor, volume: list[Tensor]) -> Tensor:
        if isinstance(self.live, NoiseLoss):
            return self.live(latents, t, noise)  # type: ignore[no-any-return]
        # One pass of the encoder serves all timesteps of a record.
        return self.live.of_codes(latents, t, noise, self.live.encoder(volume[0]).expand(len(t), -1))

    def state(self) -> dict[str, Any]:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        found = {
            "model": self.live.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
        }
        state: dict[str, Any] = whole(found, keep=self.fabric.is_global_zero)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        self.loss.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])

    def kept(self) -> dict[str, Any]:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        kept: dict[str, Any] = whole({"average": self.average.state_dict()})
        return kept

    def load_kept(self, state: dict[str, Any]) -> None:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        set_trainable(self.loss, state["average"])
        self._settle(self.loss)
        if self.live is self.loss:
            self.average.load_state_dict(state["average"])
