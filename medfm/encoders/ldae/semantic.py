"""The semantic encoder of LDAE: a picture network slice by slice, then attention over the slices.

The slice network is torchvision's ConvNeXt with one input channel; tensor names are the published
ones, the backbone (stored twice in published files) once, under ``backbone.``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders.families import Family
from medfm.encoders.first_weights import draw
from medfm.encoders.ldae.args import LdaeArgs
from medfm.encoders.untrained import checked_args, untrained

_LAYER_SCALE = 1e-6
_LONGEST_PERIOD = 10_000
# Slices that go through the network at once where no gradient is needed; the result is the same.
_SLICES_AT_ONCE = 128
_SLICES_RECOMPUTED = 16


class SlicePositions(nn.Module):
    """Adds a fixed sinusoidal code of the slice's place, sines and cosines alternating (kept in checkpoints)."""

    pe: Tensor

    def __init__(self, slices: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pe", torch.zeros(1, slices, width))

    @torch.no_grad()
    def reset(self) -> None:
        """The sinusoids of Vaswani et al. 2017 (arXiv 1706.03762)."""
        _, slices, width = self.pe.shape
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(_LONGEST_PERIOD) / width))
        angles = torch.arange(slices)[:, None] * rates
        self.pe[0, :, 0::2] = angles.sin()
        self.pe[0, :, 1::2] = angles.cos()

    def forward(self, x: Tensor) -> Tensor:
        """(n, slices, width) -> the same shape."""
        out: Tensor = self.dropout(x + self.pe[:, : x.shape[1]])
        return out


class SoftAttention(nn.Module):
    """One score per slice; slices are averaged with the softmax of their scores."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, slices, width) -> mean (n, width) and weights (n, slices), which sum to 1."""
        weights = self.linear(x).squeeze(2).softmax(dim=1)
        return torch.einsum("ns,nsw->nw", weights, x), weights


class SemanticEncoder(nn.Module):
    """``forward`` maps float (n, 1, slices, height, width) in 0..1, axial slices first, to codes (n, dim).

    No ImageNet statistics and no resizing: values stay as they are.

    Attributes:
        checkpointing: While training, recompute the slice network in the backward pass, 16 slices at a time.
    """

    def __init__(self, args: LdaeArgs) -> None:
        super().__init__()
        self.args = args
        self.checkpointing = False
        dim = args.dim
        self.backbone = _convnext(args)
        self.positional_encoding = SlicePositions(args.slices, dim, args.dropout)
        self.soft_attention = SoftAttention(dim)
        # The attention has projections of its own behind these; published so.
        self.query_projection = nn.Linear(dim, dim)
        self.key_projection = nn.Linear(dim, dim)
        self.value_projection = nn.Linear(dim, dim)
        self.cross_attention = nn.MultiheadAttention(dim, args.heads, dropout=args.dropout, batch_first=True)
        # The published name stays for either norm.
        self.layer_norm_after_attention: nn.Module = (
            nn.LayerNorm(dim) if args.code_norm == "layer" else nn.BatchNorm1d(dim)
        )

    def slice_features(self, x: Tensor) -> Tensor:
        """What the slice network says of every slice, (n, slices, dim), before positions."""
        if x.ndim != 5 or x.shape[1] != 1 or not 1 <= x.shape[2] <= self.args.slices:
            raise ConfigError(
                f"Volumes of shape {tuple(x.shape)} cannot be encoded.",
                expected=f"(n, 1, slices, height, width) with at most {self.args.slices} slices",
            )
        flat = x.transpose(1, 2).flatten(0, 1)
        if torch.is_grad_enabled() and self.checkpointing:
            parts = [checkpoint(self.backbone, part, use_reentrant=False) for part in flat.split(_SLICES_RECOMPUTED)]
            features = torch.cat(parts)
        elif torch.is_grad_enabled():
            features = self.backbone(flat)
        else:
            features = torch.cat([self.backbone(part) for part in flat.split(_SLICES_AT_ONCE)])
        out: Tensor = features.reshape(len(x), x.shape[2], -1)
        return out

    def from_slices(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Code (n, dim) and weights of the slices (n, slices) from :meth:`slice_features`."""
        placed = self.positional_encoding(features)
        pooled, weights = self.soft_attention(placed)
        query = self.query_projection(pooled)[:, None]
        found, _ = self.cross_attention(
            query, self.key_projection(placed), self.value_projection(placed), need_weights=False
        )
        return self.layer_norm_after_attention(found[:, 0]), weights

    def forward(self, x: Tensor) -> Tensor:
        """The semantic codes (n, dim), not of length 1."""
        return self.from_slices(self.slice_features(x))[0]

    def slice_attention(self, x: Tensor) -> Tensor:
        """How much each slice counts in the pooled query, (n, slices), summing to 1."""
        return self.from_slices(self.slice_features(x))[1]


@torch.no_grad()
def settle_codes(module: SemanticEncoder, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of a batch-normalised code to those of these records, exactly.

    While training they follow the weights with a delay, and averaged weights never had any. Where
    the code has a layer norm nothing is done.

    Args:
        module: Changed in place; its mode stays.
        batches: Preprocessed training records, float32 (n, 1, slices, height, width) each.

    Raises:
        ConfigError: Fewer than two records.
    """
    norm = module.layer_norm_after_attention
    if not isinstance(norm, nn.BatchNorm1d):
        return
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].double()))
    assert norm.running_mean is not None and norm.running_var is not None
    was = module.training
    module.eval()
    try:
        for batch in batches:
            module(batch.to(norm.running_mean.device))
    finally:
        hook.remove()
        module.train(was)
    if sum(len(part) for part in seen) < 2:
        raise ConfigError("Codes cannot be normalised over fewer than two records.", expected="two training records")
    values = torch.cat(seen)
    norm.running_mean.copy_(values.mean(dim=0))
    norm.running_var.copy_(values.var(dim=0))


def _convnext(args: LdaeArgs) -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    following = [*args.widths[1:], None]
    stages = [
        CNBlockConfig(width, after, depth)
        for width, after, depth in zip(args.widths, following, args.depths, strict=True)
    ]
    network: Any = ConvNeXt(stages, stochastic_depth_prob=args.stochastic_depth, layer_scale=_LAYER_SCALE)
    stem = network.features[0][0]
    network.features[0][0] = nn.Conv2d(1, stem.out_channels, stem.kernel_size, stem.stride)
    network.classifier[2] = nn.Identity()
    slices: nn.Module = network
    return slices


def build_ldae(
    args: LdaeArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> SemanticEncoder:
    """An untrained semantic encoder, float32, in training mode.

    Args:
        args: Sizes (a mapping is validated).
        generator: CPU generator the first weights are drawn from; seed 0 when absent. Global
            random state is neither read nor changed.
        device: ``"cpu"``, ``"cuda"``..., or ``"meta"`` for shapes without memory.
    """
    return untrained(partial(SemanticEncoder, checked_args(LdaeArgs, args)), _first_weights, generator, device)


@torch.no_grad()
def _first_weights(module: SemanticEncoder, generator: torch.Generator) -> None:
    draw(module, generator)
    for name, tensor in module.backbone.named_parameters():
        if name.endswith("layer_scale"):
            tensor.fill_(_LAYER_SCALE)
        elif name.endswith("weight") and tensor.ndim > 1:
            nn.init.trunc_normal_(tensor, std=0.02, generator=generator)
        elif tensor.ndim == 1 and name.endswith("bias"):
            tensor.zero_()
    module.positional_encoding.reset()


def start_from_pictures(module: SemanticEncoder, state: Mapping[str, Tensor]) -> SemanticEncoder:
    """Fill the slice network from a ConvNeXt trained on colour pictures, as LDAE's training starts.

    The three colours of the first convolution are summed, the last linear layer is left out.

    Args:
        module: The encoder, changed in place.
        state: A state dict of torchvision's ConvNeXt of the same sizes (for the published ones
            ``convnext_small``).

    Raises:
        WeightsError: A tensor is missing, left over, or of another shape.
    """
    given = {key: tensor for key, tensor in state.items() if not key.startswith("classifier.2.")}
    stem = "features.0.0.weight"
    if stem in given and given[stem].ndim == 4:
        given[stem] = given[stem].sum(dim=1, keepdim=True)
    own = {key: tuple(tensor.shape) for key, tensor in module.backbone.state_dict().items()}
    if {key: tuple(tensor.shape) for key, tensor in given.items()} != own:
        wrong = sorted(
            key for key in set(own) | set(given) if key not in given or own.get(key) != tuple(given[key].shape)
        )
        raise WeightsError(
            f"The picture network does not fit: {len(wrong)} tensors, such as {wrong[0]}.",
            expected="the state dict of torchvision's ConvNeXt of the same sizes",
        )
    module.backbone.load_state_dict(given, strict=True)
    return module


def _plain_names(module: nn.Module) -> dict[str, str]:
    return {key: key for key in module.state_dict()}


FAMILY = Family(build=build_ldae, plain_names=_plain_names, embed=SemanticEncoder.forward, tokens=None)
