"""Stage 1 of LDAE: the compression autoencoder against its discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.core.extras import import_extra
from medfm.encoders.ldae.autoencoder import draw_latent, encode
from medfm.encoders.ldae.discriminator import build_discriminator, scores
from medfm.objectives.compression import CompressionWeights, compression_losses, discriminator_loss
from medfm.training.ldae_config import AutoencoderRecipe
from medfm.training.ldae_stage import Draw, adam, clip_and_step, mean_terms
from medfm.training.processes import collected, in_range, own_rows
from medfm.training.record_tensors import RecordTensors
from medfm.training.sharding import is_sharding, sharded_copy, whole

Distance = Callable[[Tensor, Tensor], Tensor]


class Compression(nn.Module):
    """The autoencoder as one call, so that its gradient is shared by several processes."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, volume: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decoded draw (n, 1, i, j, k), and mean and deviation of the latent."""
        mean, sigma = encode(self.autoencoder, volume)  # type: ignore[arg-type]
        decode = cast(Any, self.autoencoder).decode
        return decode(mean + sigma * noise), mean, sigma


class Judgement(nn.Module):
    """The discriminator on decoded and real volumes in one call, each with batch statistics of its own."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, drawn: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of both."""
        return scores(self.discriminator, drawn), scores(self.discriminator, volume)  # type: ignore[arg-type]


class AutoencoderStage:
    """Trains the autoencoder; :class:`medfm.training.ldae_stage.Stage` says what the methods do.

    Args:
        autoencoder: At its start.
        config: The recipe.
        volumes: Preprocessed records.
        train: Positions to train on.
        validation: Positions to judge by.
        back: Axes that turn a preprocessed batch (n, 1, ...) into that of the file.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        config: AutoencoderRecipe,
        volumes: RecordTensors,
        train: Sequence[int],
        validation: Sequence[int],
        back: tuple[int, ...],
    ) -> None:
        self.config, self.volumes, self.back = config, volumes, back
        self.train, self.validation = list(train), list(validation)
        self.records, self.may_judge = len(self.train), bool(self.validation)
        self.compression = Compression(autoencoder)
        # What computes: the network itself, or a copy of which every process holds a share.
        self.live = self.compression
        cast(Any, autoencoder).use_checkpoint = config.checkpointing
        if config.first_sigma is not None and config.first_weights is None:
            begin_with_sigma(autoencoder, config.first_sigma)
        rule = config.discriminator
        first = torch.Generator().manual_seed(config.seed + 1)
        self.judgement = Judgement(build_discriminator(rule.channels, rule.layers, first))
        self.optimizers = [
            adam(list(self.compression.parameters()), config),
            adam(list(self.judgement.parameters()), config, rule.lr),
        ]
        self.distance = perceptual_distance() if config.perceptual > 0 else None
        self.weights = CompressionWeights(config.kl, config.perceptual, config.adversarial, config.l1, config.l2)

    def setup(self, fabric: Fabric) -> None:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        self.device, self.fabric = fabric.device, fabric
        if is_sharding(fabric):
            # The discriminator is whole in every process: it is small, and called outside of its own step too.
            self.live = sharded_copy(self.compression, ("autoencoder",), self.optimizers[0], fabric)
        elif fabric.device.type == "cpu":
            # Few channels and many voxels: with the channels last a processor is about a third faster.
            self.compression.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.network, self.fast = fabric.setup(self.live, self.optimizers[0])
        self.critic, self.fast_critic = fabric.setup(self.judgement, self.optimizers[1])
        if isinstance(self.distance, nn.Module):
            self.distance.to(fabric.device)

    def step(self, fabric: Fabric, batches: Sequence[Sequence[int]], draw: Draw) -> dict[str, Tensor]:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        config, noise_source = self.config, draw.generator()
        against = config.adversarial > 0
        parts: list[dict[str, Tensor]] = []
        self.network.train()
        self.critic.train()
        for number, positions in enumerate(batches, start=1):
            last = number == len(batches)
            volume = self._volumes(self.train, positions)
            with ExitStack() as waits:
                if not last:
                    waits.enter_context(fabric.no_backward_sync(self.network))
                    waits.enter_context(fabric.no_backward_sync(self.critic))
                noise = torch.randn(self._latent(volume), generator=noise_source).to(self.device)
                drawn, mean, sigma = self.network(volume, noise)
                frozen = config.discriminator.learns_from == "own_loss"
                self.judgement.requires_grad_(not frozen)
                given = None
                if against:
                    with fabric.autocast():
                        given = scores(self.judgement.discriminator, drawn)  # type: ignore[arg-type]
                losses = compression_losses(drawn, volume, mean, sigma, given, self.distance, self.weights)
                fabric.backward(losses.total / len(batches))
                self.judgement.requires_grad_(True)
                terms = {"total": losses.total, "l1": losses.l1, "kl": losses.kl}
                if config.l2 > 0:
                    terms["l2"] = losses.l2
                if self.distance is not None:
                    terms["perceptual"] = losses.perceptual
                if last:
                    terms["grad_norm"] = self._descend(fabric, self.network, self.fast, draw.step)
                if against:
                    of_drawn, of_real = self.critic(drawn.detach(), volume)
                    own = discriminator_loss(of_drawn, of_real, self.weights)
                    fabric.backward(own / len(batches))
                    terms |= {"adversarial": losses.adversarial, "discriminator": own}
                    if last:
                        terms["grad_discriminator"] = self._descend(fabric, self.critic, self.fast_critic, draw.step)
            parts.append(terms)
        norms = {name: parts[-1].pop(name) for name in list(parts[-1]) if name.startswith("grad_")}
        return mean_terms(parts) | norms

    def _descend(self, fabric: Fabric, module: nn.Module, optimizer: Any, step: int) -> Tensor:
        config = self.config
        return clip_and_step(fabric, module, optimizer, config.optimisation.clip, config.precision, step)

    def _latent(self, volume: Tensor) -> tuple[int, ...]:
        args = cast(Any, self.compression.autoencoder).args
        return (len(volume), args.latent_channels, *(side // args.factor for side in volume.shape[2:]))

    def _volumes(self, of: Sequence[int], positions: Sequence[int]) -> Tensor:
        batch = torch.stack([self.volumes[of[i]] for i in positions])
        form = torch.channels_last_3d if self.device.type == "cpu" else torch.contiguous_format
        return batch.permute(self.back).contiguous(memory_format=form).to(self.device)

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """Mean absolute difference on the validation records, by the mean latent and by a drawn one."""
        module = cast(Any, self.live.autoencoder).eval()
        by_mean: list[float] = []
        by_draw: list[float] = []
        squares: list[float] = []
        count, size = len(self.validation), self.config.batch_size
        own = own_rows(count, self.fabric.global_rank, self.fabric.world_size)
        for begin in range(0, len(own), size):
            rows = in_range(own[begin : begin + size], count)
            volume = self._volumes(self.validation, rows)
            mean, sigma = encode(module, volume)
            sources = [Draw(self.config.seed, i, 0).generator("validation") for i in rows]
            drawn = torch.cat([draw_latent(m[None], s[None], g) for m, s, g in zip(mean, sigma, sources, strict=True)])
            difference = (module.decode(mean) - volume).flatten(1)
            by_mean += difference.abs().mean(dim=1).tolist()
            squares += difference.square().mean(dim=1).tolist()
            by_draw += (module.decode(drawn) - volume).flatten(1).abs().mean(dim=1).tolist()
        of_all = collected(self.fabric, own, [by_mean, by_draw, squares], count)
        values = dict(zip(("val_l1", "val_l1_drawn", "val_mse"), map(_mean, of_all), strict=True))
        chosen = "val_l1_drawn" if self.config.selection == "validation_l1_drawn" else "val_l1"
        return values | {"val_total": values[chosen]}

    def state(self) -> dict[str, Any]:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        found = {
            "model": self.live.state_dict(),
            "discriminator": self.judgement.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        state: dict[str, Any] = whole(found, keep=self.fabric.is_global_zero)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        self.compression.load_state_dict(state["model"])
        self.judgement.load_state_dict(state["discriminator"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def kept(self) -> dict[str, Any]:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        kept: dict[str, Any] = whole({"model": self.live.state_dict()})
        return kept

    def load_kept(self, state: dict[str, Any]) -> None:
        """See :class:`~medfm.training.ldae_stage.Stage`."""
        self.compression.load_state_dict(state["model"])


@torch.no_grad()
def begin_with_sigma(autoencoder: nn.Module, sigma: float) -> None:
    """Let every latent of an untrained autoencoder have about this standard deviation.

    As drawn it is about 0.7, as large as the latents themselves: for hundreds of steps the decoder would see noise.
    """
    head = cast(Any, autoencoder).quant_conv_log_sigma.conv
    head.weight.mul_(0.1)
    head.bias.fill_(2 * math.log(sigma))


def perceptual_distance() -> Distance:
    """LPIPS with SqueezeNet on half of the slices of every axis, drawn at random (MONAI).

    Raises:
        MissingExtraError: The package ``lpips`` is not installed.
        TrainingError: Its weights are not on this machine.
    """
    losses = import_extra("monai.losses", "mri", "The perceptual loss of LDAE")
    import_extra("lpips", "mri", "The perceptual loss of LDAE")
    try:
        found = losses.PerceptualLoss(spatial_dims=3, network_type="squeeze", is_fake_3d=True, fake_3d_ratio=0.5)
    except Exception as error:  # torch.hub tells an absent network in many ways
        raise TrainingError(
            "The weights of the perceptual loss are not on this machine.",
            expected="torchvision's SqueezeNet 1.1 and LPIPS weights in the cache of torch.hub",
            fix="download them where you may, or leave the term out with --set perceptual=0",
        ) from error
    return cast(Distance, found.eval().requires_grad_(False))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
