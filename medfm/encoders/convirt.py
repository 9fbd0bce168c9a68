"""ConVIRT: a ResNet for radiographs and a clinical BERT in one shared space.

Zhang et al., Contrastive Learning of Medical Visual Representations from Paired Images and Text
(2020, arXiv 2010.00747). The authors published neither code nor weights; layers and tensor names
follow the public port edreisMD/ConVIRT-pytorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.encoders.bert_tower import build_bert, last_states, real_buffers
from medfm.encoders.families import Family
from medfm.encoders.first_weights import draw
from medfm.encoders.picture_resnet import map_tokens, picture_resnet
from medfm.encoders.resnet_args import ConvirtArgs
from medfm.encoders.untrained import checked_args, untrained


class Convirt(nn.Module):
    """Both towers; ``forward(x)`` maps float (n, 3, H, W) to the embedding (n, dim), not of length 1."""

    def __init__(self, args: ConvirtArgs) -> None:
        super().__init__()
        self.args = args
        self.res_features = picture_resnet(args.backbone)
        if args.output == "projected":
            self.res_l1 = nn.Linear(args.width, args.width)
            self.res_l2 = nn.Linear(args.width, args.projection)
        if args.text is not None:
            self.bert_model = build_bert(args.text)
            self.bert_l1 = nn.Linear(args.text.width, args.text.width)
            self.bert_l2 = nn.Linear(args.text.width, args.projection)

    def forward(self, x: Tensor) -> Tensor:
        """The embedding as the arguments say: projected or pooled."""
        feature: Tensor = self.res_features(x)
        if self.args.output == "pooled":
            return feature
        out: Tensor = self.res_l2(self.res_l1(feature).relu())
        return out

    def tokens(self, x: Tensor) -> Tensor:
        """The places of the last map (n, places, width), not projected."""
        return map_tokens(self.res_features, x)

    def pooled_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text features (n, width) before the two layers of the head; arguments as for :meth:`encode`."""
        if self.args.text is None:
            raise ConfigError("This network was built without a text tower.")
        states = last_states(self.bert_model, ids, mask)
        real = mask.bool().unsqueeze(-1)
        if self.args.text.pooling == "max":
            return states.masked_fill(~real, float("-inf")).amax(dim=1)
        return (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)

    def project_text(self, feature: Tensor) -> Tensor:
        """Text embeddings (n, projection) of text features."""
        out: Tensor = self.bert_l2(self.bert_l1(feature).relu())
        return out

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text embeddings (n, projection), not of length 1, with gradients for every layer.

        Args:
            ids: int64 (n, tokens).
            mask: int64 (n, tokens), 0 at padding; at least one token per text.
        """
        return self.project_text(self.pooled_text(ids, mask))


def build_convirt(
    args: ConvirtArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> Convirt:
    """An untrained network; arguments as for :func:`medfm.encoders.clip.build_clip`."""
    network = partial(Convirt, checked_args(ConvirtArgs, args))
    return untrained(network, partial(draw, bert=("bert_model.",)), generator, device, buffers=_real_buffers)


def _real_buffers(module: Convirt) -> None:
    if module.args.text is not None:
        real_buffers(module.bert_model)


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name of every tensor -> its key in ``module.state_dict()``: the same."""
    return {key: key for key in module.state_dict()}


FAMILY = Family(
    build=build_convirt,
    plain_names=plain_names,
    embed=Convirt.forward,
    tokens=Convirt.tokens,
    training_only=("bert_model", "bert_l1", "bert_l2", "num_batches_tracked"),
    text_names=("bert_model", "bert_l1", "bert_l2"),
    embed_text=Convirt.encode,
)
