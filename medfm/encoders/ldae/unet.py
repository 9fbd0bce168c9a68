"""The U-Net on latents, and the one with a second half that a semantic code steers (shift U-Net)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import Self

from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders.first_weights import draw
from medfm.encoders.ldae.args import DenoiserArgs
from medfm.encoders.ldae.blocks import Attention, Conv3d, ResidualBlock, Sequence, time_features
from medfm.encoders.untrained import checked_args, untrained

_SHOWN = 5


class UNet(nn.Module):
    """Predicts the noise in a latent (stage 2).

    Attributes:
        checkpointing: Recompute blocks in the backward pass instead of keeping their activations.
    """

    def __init__(self, args: DenoiserArgs) -> None:
        super().__init__()
        self.args = args
        self.checkpointing = False
        width, wide = args.width, 4 * args.width
        self.time_embed = nn.Sequential(nn.Linear(width, wide), nn.SiLU(), nn.Linear(wide, wide))
        self.input_blocks, self._skips = _way_down(args)
        self.middle_block = _middle(args)
        self.output_blocks = _way_up(args, self._skips)
        self.out = _last(args)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """The noise in `z`, same shape.

        Args:
            z: float (n, latent channels, i, j, k), j and k multiples of ``args.factor``.
            t: Timesteps (n,), 0 to 999.
        """
        return self._predict(*self._descend(z, t))

    def _descend(self, z: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        _check(z, t, self.args)
        time = self.time_embed(time_features(t, self.args.width).to(z.dtype))
        h, skips = z, []
        for block in self.input_blocks:
            h = self._through(block, h, time, None)
            skips.append(h)
        return h, skips, time

    def _predict(self, h: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        out: Tensor = self.out(self._ascend(self.middle_block, self.output_blocks, h, skips, time, None))
        return out

    def _ascend(
        self,
        middle: nn.Module,
        blocks: nn.ModuleList,
        h: Tensor,
        skips: list[Tensor],
        time: Tensor,
        code: Tensor | None,
    ) -> Tensor:
        h = self._through(middle, h, time, code)
        for block, skip in zip(blocks, reversed(skips), strict=True):
            h = self._through(block, torch.cat([h, skip], dim=1), time, code)
        return h

    def _through(self, block: nn.Module, h: Tensor, time: Tensor, code: Tensor | None) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            kept: Tensor = checkpoint(block, h, time, code, use_reentrant=False)
            return kept
        out: Tensor = block(h, time, code)
        return out


class ShiftUNet(UNet):
    """The U-Net, frozen, and a copy of its middle and upper half that takes a semantic code (stage 3).

    The copy starts from the same features and uses the same skips; it estimates the gradient by
    which the code shifts the noise.
    """

    def __init__(self, args: DenoiserArgs) -> None:
        super().__init__(args)
        self.label_emb = nn.Linear(args.condition, 4 * args.width)
        self.shift_middle_block = _middle(args, with_code=True)
        self.shift_output_blocks = _way_up(args, self._skips, with_code=True)
        self.shift_out = _last(args)

    def forward(self, z: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The noise in `z` without the code, and the gradient from the code `y` (n, condition); shapes of `z`."""
        if y.ndim != 2 or tuple(y.shape) != (len(z), self.args.condition):
            raise ConfigError(
                f"The semantic codes have shape {tuple(y.shape)}.", expected=f"({len(z)}, {self.args.condition})"
            )
        h, skips, time = self._descend(z, t)
        noise = self._predict(h, skips, time)
        code = self.label_emb(y)
        shifted = self._ascend(self.shift_middle_block, self.shift_output_blocks, h, skips, time, code)
        return noise, self.shift_out(shifted)

    def freeze(self) -> Self:
        """Only what stage 3 trains asks for gradients: ``label_emb`` and the ``shift_`` half."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(("label_emb.", "shift_")))
        return self

    def train(self, mode: bool = True) -> Self:
        """As usual, but a frozen half stays in evaluation mode: no dropout in it, as published."""
        super().train(mode)
        for part in (self.time_embed, self.input_blocks, self.middle_block, self.output_blocks, self.out):
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    def start_from(self, unet: UNet | Mapping[str, Tensor]) -> Self:
        """Copy every tensor of the U-Net of stage 2 into the frozen half, and freeze it.

        Raises:
            WeightsError: A tensor is missing, left over, or of another shape. (The published
                script goes on with random weights.)
        """
        given = unet.state_dict() if isinstance(unet, UNet) else dict(unet)
        own = self.state_dict()
        wanted = {key for key in own if not key.startswith(("label_emb.", "shift_"))}
        wrong = sorted(key for key in wanted & set(given) if given[key].shape != own[key].shape)
        groups = {
            "missing": sorted(wanted - set(given)),
            "unexpected": sorted(set(given) - wanted),
            "of another shape": wrong,
        }
        found = [f"{title}: {', '.join(names[:_SHOWN])} ({len(names)})" for title, names in groups.items() if names]
        if found:
            raise WeightsError(
                "The U-Net of stage 2 does not fit this network.\n    " + "\n    ".join(found),
                expected="a U-Net of the same sizes, under its own names (without unet. or ema_unet.)",
            )
        self.load_state_dict({**own, **{key: given[key] for key in wanted}}, strict=True)
        return self.freeze().train(self.training)


def _way_down(args: DenoiserArgs) -> tuple[nn.ModuleList, list[int]]:
    """The blocks, and the channels that each of them leaves as a skip."""
    channels = args.width * args.multipliers[0]
    blocks = nn.ModuleList([Sequence(Conv3d(args.latent_channels, channels, 3, padding=1))])
    skips = [channels]
    for level, multiplier in enumerate(args.multipliers):
        for _ in range(args.blocks):
            blocks.append(Sequence(*_layers(args, channels, args.width * multiplier, 2**level)))
            channels = args.width * multiplier
            skips.append(channels)
        if level != len(args.multipliers) - 1:
            blocks.append(Sequence(_residual(args, channels, channels, change="down")))
            skips.append(channels)
    return blocks, skips


def _middle(args: DenoiserArgs, with_code: bool = False) -> Sequence:
    channels = args.width * args.multipliers[-1]
    first, last = (_residual(args, channels, channels, with_code=with_code) for _ in range(2))
    return Sequence(first, Attention(channels, args.heads, args.groups), last)


def _way_up(args: DenoiserArgs, skips: list[int], with_code: bool = False) -> nn.ModuleList:
    left = list(skips)
    channels = left[-1]
    blocks = nn.ModuleList()
    for level, multiplier in reversed(list(enumerate(args.multipliers))):
        for index in range(args.blocks + 1):
            layers = _layers(args, channels + left.pop(), args.width * multiplier, 2**level, with_code)
            channels = args.width * multiplier
            if level and index == args.blocks:
                layers.append(_residual(args, channels, channels, with_code=with_code, change="up"))
            blocks.append(Sequence(*layers))
    return blocks


def _last(args: DenoiserArgs) -> nn.Sequential:
    channels = args.width * args.multipliers[0]
    return nn.Sequential(
        nn.GroupNorm(args.groups, channels), nn.SiLU(), Conv3d(channels, args.latent_channels, 3, padding=1)
    )


def _layers(args: DenoiserArgs, channels: int, out: int, shrunk: int, with_code: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = [_residual(args, channels, out, with_code=with_code)]
    if shrunk in args.attention_at:
        layers.append(Attention(out, args.heads, args.groups))
    return layers


def _residual(
    args: DenoiserArgs,
    channels: int,
    out: int,
    *,
    with_code: bool = False,
    change: Literal["down", "up", "none"] = "none",
) -> ResidualBlock:
    return ResidualBlock(
        channels, out, 4 * args.width, groups=args.groups, dropout=args.dropout, with_code=with_code, change=change
    )


def _check(z: Tensor, t: Tensor, args: DenoiserArgs) -> None:
    sides = tuple(z.shape[2:])
    fits = (
        z.ndim == 5
        and z.shape[1] == args.latent_channels
        and all(side and side % args.factor == 0 for side in sides[1:])
    )
    if not fits or tuple(t.shape) != (len(z),):
        raise ConfigError(
            f"Latents of shape {tuple(z.shape)} with timesteps of shape {tuple(t.shape)} cannot be denoised.",
            expected=f"(n, {args.latent_channels}, i, j, k) with j and k multiples of {args.factor}, and n timesteps",
        )


def build_unet(
    args: DenoiserArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> UNet:
    """An untrained U-Net of stage 2, float32, in training mode.

    Args:
        args: Sizes (a mapping is validated).
        generator: CPU generator the first weights are drawn from; seed 0 when absent. Global
            random state is neither read nor changed.
        device: ``"cpu"``, ``"cuda"``..., or ``"meta"`` for shapes without memory.
    """
    return _built(UNet, args, generator, device)


def build_shift_unet(
    args: DenoiserArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> ShiftUNet:
    """An untrained shift U-Net, nothing frozen yet; arguments as of :func:`build_unet`."""
    return _built(ShiftUNet, args, generator, device)


_Net = TypeVar("_Net", bound=UNet)


def _built(
    kind: type[_Net], args: DenoiserArgs | Mapping[str, Any], generator: torch.Generator | None, device: str
) -> _Net:
    checked = checked_args(DenoiserArgs, args, where="denoiser arguments")
    return untrained(partial(kind, checked), _first_weights, generator, device)


@torch.no_grad()
def _first_weights(module: UNet, generator: torch.Generator) -> None:
    draw(module, generator)
    for part in module.modules():
        # As published: every residual branch, attention and output begins as zero.
        if isinstance(part, ResidualBlock):
            _zero(part.out_layers[3])
        elif isinstance(part, Attention):
            _zero(part.proj_out)
    for name, part in module.named_children():
        if name in ("out", "shift_out"):
            _zero(part[2])  # type: ignore[index]


def _zero(part: nn.Module) -> None:
    for parameter in part.parameters():
        parameter.zero_()
