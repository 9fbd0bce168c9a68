"""The MERL family: a signal encoder for 12-lead ECGs and a text tower in one shared space.

Liu et al., Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical
Knowledge Enhancement (ICML 2024, arXiv 2403.06659). Tensor names are the published ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.encoders.bert_tower import build_bert, pooled_text, real_buffers
from medfm.encoders.families import Family
from medfm.encoders.merl_args import MerlArgs
from medfm.encoders.merl_resnet import AttentionPool, ResNet1d
from medfm.encoders.merl_vit import ViT1d
from medfm.encoders.untrained import checked_args, untrained

TEXT_NAMES = ("lm_model", "proj_t")
DROPOUT = 0.1


class Merl(nn.Module):
    """Signal encoder, heads and (where the arguments say so) text tower.

    ``forward(x)`` maps float (n, leads, samples) to the embedding (n, dim), not of length 1.
    Without heads (output ``pooled``) only the signal encoder exists.
    """

    def __init__(self, args: MerlArgs) -> None:
        super().__init__()
        self.args = args
        self.ecg_encoder: nn.Module = ViT1d(args) if args.is_vit else ResNet1d(args)
        if args.output == "pooled":
            return
        width = args.projection
        if args.is_vit:
            self.proj_e = nn.Sequential(
                nn.Linear(args.width, width),
                nn.BatchNorm1d(width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.BatchNorm1d(width),
            )
        else:
            self.downconv = nn.Conv1d(args.width, width, 1)
            self.att_pool_head = AttentionPool(width, args.steps, args.pool_heads)
        view = args.width if args.is_vit else width
        self.linear1 = nn.Linear(view, width, bias=False)
        self.linear2 = nn.Linear(view, width, bias=False)
        if args.text is not None:
            self.lm_model = build_bert(args.text)
            self.proj_t = nn.Sequential(nn.Linear(args.text.width, width), nn.GELU(), nn.Linear(width, width))

    def pooled(self, x: Tensor) -> Tensor:
        """The feature (n, width) that linear probes use: mean over time, before any head."""
        feature: Tensor = self.ecg_encoder(x)
        return feature if self.args.is_vit else feature.mean(dim=2)

    def training_outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding and the two views of the same signal, each (n, projection), in one pass.

        The views are two linear layers, each with dropout 0.1 behind it while training, on the
        mean over time of the reduced map (ResNet) or on the pooled feature (ViT).
        """
        if self.args.output == "pooled":
            raise ConfigError("A MERL network with output 'pooled' has no heads.", expected="output: projected")
        if self.args.is_vit:
            shared = self.ecg_encoder(x)
            embedding = self.proj_e(shared)
        else:
            reduced = self.downconv(self.ecg_encoder(x))
            embedding, _ = self.att_pool_head(reduced)
            shared = reduced.mean(dim=2)
        views = [nn.functional.dropout(head(shared), DROPOUT, self.training) for head in (self.linear1, self.linear2)]
        return embedding, views[0], views[1]

    def attention(self, x: Tensor) -> Tensor:
        """Attention of the pool (n, steps) over time, averaged over the heads (ResNets only)."""
        weights = self.att_pool_head(self.downconv(self.ecg_encoder(x)), weights=True)[1]
        assert weights is not None
        return weights

    def text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text embeddings (n, projection), not of length 1."""
        out: Tensor = self.proj_t(pooled_text(self.lm_model, ids, mask))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """The embedding (n, dim) as the arguments say: projected or pooled."""
        if self.args.output == "pooled":
            return self.pooled(x)
        feature = self.ecg_encoder(x)
        out: Tensor = self.proj_e(feature) if self.args.is_vit else self.att_pool_head(self.downconv(feature))[0]
        return out


def build_merl(
    args: MerlArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> Merl:
    """An untrained network; arguments as for :func:`medfm.encoders.clip.build_clip`."""
    return untrained(partial(Merl, checked_args(MerlArgs, args)), _initialise, generator, device, buffers=_real_buffers)


def _real_buffers(module: Merl) -> None:
    if module.args.text is not None:
        real_buffers(module.lm_model)


@torch.no_grad()
def _initialise(module: Merl, generator: torch.Generator) -> None:
    """PyTorch's usual first weights for the signal side, BERT's (normal 0.02) for the text tower."""
    for name, part in module.named_modules():
        if isinstance(part, (nn.LayerNorm, nn.BatchNorm1d)):
            part.reset_parameters()
        elif name.startswith("lm_model") and isinstance(part, (nn.Linear, nn.Embedding)):
            part.weight.normal_(std=0.02, generator=generator)
            if isinstance(part, nn.Linear):
                part.bias.zero_()
        elif isinstance(part, nn.MultiheadAttention):
            bound = math.sqrt(6 / sum(part.in_proj_weight.shape))
            part.in_proj_weight.uniform_(-bound, bound, generator=generator)
            part.in_proj_bias.zero_()
        elif isinstance(part, (nn.Linear, nn.Conv1d)):
            bound = 1 / math.sqrt(part.weight[0].numel())
            for tensor in part.parameters(recurse=False):
                tensor.uniform_(-bound, bound, generator=generator)
    for name, tensor in module.named_parameters():
        if name.endswith(("cls_token", "positional_embedding", "pos_embedding")):
            tensor.normal_(std=0.02, generator=generator)


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name of every tensor -> its key in ``module.state_dict()``.

    They are the published names; for output ``pooled`` those of the encoder-only file.
    """
    keys = list(module.state_dict())
    args = module.args
    assert isinstance(args, MerlArgs)
    return {key.removeprefix("ecg_encoder.") if args.output == "pooled" else key: key for key in keys}


FAMILY = Family(
    build=build_merl,
    plain_names=plain_names,
    embed=Merl.forward,
    tokens=None,
    training_only=("linear1", "linear2", "num_batches_tracked", *TEXT_NAMES),
    text_names=TEXT_NAMES,
    embed_text=Merl.text,
    attention=Merl.attention,
)
