"""FLAIR: a ResNet for fundus photographs and a clinical BERT in one shared space.

Silva-Rodriguez et al., A Foundation Language-Image Model of the Retina (FLAIR), Medical Image
Analysis 99 (2025) 103357, arXiv 2308.07898. Tensor names are the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.encoders.bert_tower import build_bert, real_buffers, states_of_layers
from medfm.encoders.clip import LOGIT_SCALE
from medfm.encoders.families import Family
from medfm.encoders.first_weights import draw
from medfm.encoders.picture_resnet import map_tokens, picture_resnet
from medfm.encoders.resnet_args import FlairArgs
from medfm.encoders.untrained import checked_args, untrained

_BACKBONE = "vision_model.model."


class _Projection(nn.Module):
    """Unit length, a matrix without bias, unit length again; no epsilon, as published."""

    def __init__(self, width: int, projection: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, projection, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return _unit(self.projection(_unit(x)))


class _Vision(nn.Module):
    def __init__(self, args: FlairArgs) -> None:
        super().__init__()
        self.model = picture_resnet(args.backbone)
        if args.output == "projected":
            self.projection_head_vision = _Projection(args.width, args.projection)


class _Text(nn.Module):
    def __init__(self, args: FlairArgs) -> None:
        super().__init__()
        assert args.text is not None
        self.model = build_bert(args.text)
        self.projection_head_text = _Projection(args.text.width, args.projection)


class Flair(nn.Module):
    """Both towers; ``forward(x)`` maps float (n, 3, H, W), values 0 to 1, to the embedding (n, dim).

    Projected embeddings have length 1; pooled features (n, 2048) are never normalised.
    """

    def __init__(self, args: FlairArgs) -> None:
        super().__init__()
        self.args = args
        self.vision_model = _Vision(args)
        if args.output == "projected":
            self.logit_scale = nn.Parameter(torch.zeros(()))
        if args.text is not None:
            self.text_model = _Text(args)

    def pooled(self, x: Tensor) -> Tensor:
        """The feature (n, width) that the published linear probes use."""
        feature: Tensor = self.vision_model.model(x)
        return feature

    def forward(self, x: Tensor) -> Tensor:
        """The embedding as the arguments say: projected or pooled."""
        feature = self.pooled(x)
        if self.args.output == "pooled":
            return feature
        out: Tensor = self.vision_model.projection_head_vision(feature)
        return out

    def tokens(self, x: Tensor) -> Tensor:
        """The places of the last map (n, places, width), not projected."""
        return map_tokens(self.vision_model.model, x)

    def pooled_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text features (n, width): mean over all positions given, then over the layers.

        Padding is averaged in, as published, so the feature of a text depends on how long the
        longest text beside it is.
        """
        if self.args.text is None:
            raise ConfigError("This network was built without a text tower.")
        layers = states_of_layers(self.text_model.model, ids, mask, self.args.text.hidden_states)
        return torch.stack([states.mean(dim=1) for states in layers]).mean(dim=0)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text embeddings (n, projection) of length 1; see :meth:`pooled_text` for padding.

        Args:
            ids: int64 (n, tokens).
            mask: int64 (n, tokens), 0 at padding.
        """
        out: Tensor = self.text_model.projection_head_text(self.pooled_text(ids, mask))
        return out


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def build_flair(
    args: FlairArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> Flair:
    """An untrained network; arguments as for :func:`medfm.encoders.clip.build_clip`."""
    network = partial(Flair, checked_args(FlairArgs, args))
    return untrained(network, _first_weights, generator, device, buffers=_real_buffers)


def _first_weights(module: Flair, generator: torch.Generator) -> None:
    draw(module, generator, bert=("text_model.",))
    if module.args.output == "projected":
        nn.init.constant_(module.logit_scale, LOGIT_SCALE)


def _real_buffers(module: Flair) -> None:
    if module.args.text is not None:
        real_buffers(module.text_model.model)


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name of every tensor -> its key in ``module.state_dict()``.

    They are the published names; for output ``pooled`` torchvision's, as of a backbone alone.
    """
    args = module.args
    assert isinstance(args, FlairArgs)
    return {key.removeprefix(_BACKBONE) if args.output == "pooled" else key: key for key in module.state_dict()}


FAMILY = Family(
    build=build_flair,
    plain_names=plain_names,
    embed=Flair.forward,
    tokens=Flair.tokens,
    training_only=("text_model", "logit_scale", "num_batches_tracked"),
    text_names=("text_model",),
    embed_text=Flair.encode,
)
