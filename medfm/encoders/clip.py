"""The CLIP family: an image tower and a text tower in one shared space.

The towers are those of open_clip, timm and transformers; this file puts them together under one
set of tensor names (``visual.*``, ``text.*``, ``logit_scale``: open_clip's ``CustomTextCLIP``).
Checkpoints with other names are translated by :mod:`medfm.encoders.layouts`.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision (ICML 2021).
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medfm.encoders.bert_tower import build_bert, last_states, pooled_text, real_buffers
from medfm.encoders.clip_args import BertText, ClipArgs, ClipText
from medfm.encoders.families import Family
from medfm.encoders.first_weights import draw
from medfm.encoders.heads import row_by_row
from medfm.encoders.untrained import checked_args, untrained

LOGIT_SCALE = math.log(1 / 0.07)
LAYER_SCALE = 1e-5


class TimmTower(nn.Module):
    """timm's ViT (``trunk``) and a projection (``head``), named as in open_clip's ``TimmModel``."""

    def __init__(self, args: ClipArgs) -> None:
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        tower = args.image
        self.trunk = VisionTransformer(
            img_size=args.image_size,
            patch_size=tower.patch,
            embed_dim=tower.width,
            depth=tower.layers,
            num_heads=tower.heads,
            init_values=LAYER_SCALE if tower.layer_scale else None,
            num_classes=0,
            global_pool="token",
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if args.output == "projected" and tower.head == "linear":
            layers["proj"] = nn.Linear(tower.width, args.projection, bias=False)
        elif args.output == "projected":
            layers["fc1"] = nn.Linear(tower.width, args.projection)
            layers["act"] = nn.GELU()
            layers["fc2"] = nn.Linear(args.projection, args.projection)
        self.head = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) -> (n, dim)."""
        return row_by_row(self.head, self.trunk(x))

    def tokens(self, x: Tensor) -> Tensor:
        """Patch tokens (n, tokens, width) after the last norm."""
        states: Tensor = self.trunk.forward_features(x)
        return states[:, self.trunk.num_prefix_tokens :]


class BertTower(nn.Module):
    """BERT and a projection, named as in open_clip's ``HFTextEncoder``."""

    def __init__(self, args: BertText, projection: int) -> None:
        super().__init__()
        self.pooling = args.pooling
        self.transformer = build_bert(args, pooler=args.pooling == "pooler")
        hidden = (args.width + projection) // 2
        self.proj: nn.Module = nn.Identity()
        if args.head == "mlp":
            self.proj = nn.Sequential(
                nn.Linear(args.width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, projection, bias=False)
            )

    def feature(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask (n, tokens) -> (n, width), before the projection."""
        if self.pooling == "pooler":
            return pooled_text(self.transformer, ids, mask)
        return last_states(self.transformer, ids, mask)[:, 0]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask (n, tokens) -> (n, projection)."""
        out: Tensor = self.proj(self.feature(ids, mask))
        return out


class Clip(nn.Module):
    """Both towers; ``forward(x)`` maps float (n, 3, H, W) to the embedding (n, dim), not of length 1."""

    def __init__(self, args: ClipArgs) -> None:
        super().__init__()
        self.args = args
        self.visual: nn.Module = TimmTower(args) if args.image.kind == "timm" else _open_clip_image(args)
        if isinstance(args.text, BertText):
            self.text: nn.Module = BertTower(args.text, args.projection)
        elif args.text is not None:
            self.text = _open_clip_text(args, args.text)
        # Of no use to an image-only network, but every published file holds it.
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The embedding (n, dim) as the arguments say: projected or pooled."""
        projection = getattr(self.visual, "proj", None)
        if projection is None:  # a head of its own, or pooled features
            out: Tensor = self.visual(x)
            return out
        return row_by_row(lambda pooled: pooled @ projection, _without_projection(self.visual)(x))

    def tokens(self, x: Tensor) -> Tensor:
        """Patch tokens (n, tokens, width) after the last norm, not projected, class token excluded."""
        if isinstance(self.visual, TimmTower):
            return self.visual.tokens(x)
        states = self.visual.forward_intermediates(  # type: ignore[operator]
            x, indices=1, normalize_intermediates=True, intermediates_only=True, output_fmt="NLC"
        )
        last: Tensor = states["image_intermediates"][-1]
        return last

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text embeddings (n, projection), not of length 1.

        Args:
            ids: int64 (n, tokens), at most the context of the tower.
            mask: int64 (n, tokens), 0 at padding; CLIP's own tower needs none, as it looks
                backwards only.
        """
        if isinstance(self.text, BertTower):
            return self.text(ids, mask)  # type: ignore[no-any-return]
        tower = self.args.text
        assert isinstance(tower, ClipText)
        # Its mask is as large as the context; what lies behind the end of a text has no influence.
        padded = nn.functional.pad(ids * mask, (0, tower.context - ids.shape[1]))
        out: Tensor = self.text(padded)
        return out


def _without_projection(visual: nn.Module) -> nn.Module:
    """A view of open_clip's image tower that stops before its projection; it shares everything with `visual`."""
    view = copy.copy(visual)
    view._parameters = {**visual._parameters, "proj": None}
    return view


def _open_clip_image(args: ClipArgs) -> nn.Module:
    from open_clip.transformer import QuickGELU, VisionTransformer  # type: ignore[import-untyped]

    tower = args.image
    visual: nn.Module = VisionTransformer(
        image_size=args.image_size,
        patch_size=tower.patch,
        width=tower.width,
        layers=tower.layers,
        heads=tower.heads,
        mlp_ratio=4.0,
        output_dim=args.projection,
        act_layer=QuickGELU if args.activation == "quick_gelu" else nn.GELU,
    )
    if args.output == "pooled":
        visual.proj = None  # type: ignore[assignment]
    return visual


def _open_clip_text(args: ClipArgs, tower: ClipText) -> nn.Module:
    from open_clip.transformer import QuickGELU, TextTransformer  # type: ignore[import-untyped]

    text: nn.Module = TextTransformer(
        context_length=tower.context,
        vocab_size=tower.vocabulary,
        width=tower.width,
        heads=tower.heads,
        layers=tower.layers,
        output_dim=args.projection,
        pool_type="argmax",  # the end-of-text token has the highest number
        act_layer=QuickGELU if args.activation == "quick_gelu" else nn.GELU,
    )
    return text


def build_clip(
    args: ClipArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> Clip:
    """An untrained network of the family, in training mode, float32.

    Args:
        args: Architecture arguments (a mapping is validated).
        generator: CPU generator the first weights are drawn from; seed 0 when absent. Global
            random state is neither read nor changed.
        device: ``"cpu"``, or ``"meta"`` for shapes without memory.
    """
    network = partial(Clip, checked_args(ClipArgs, args))
    return untrained(network, _first_weights, generator, device, buffers=_real_buffers)


@torch.no_grad()
def _first_weights(module: Clip, generator: torch.Generator) -> None:
    draw(module, generator, bert=("text.",))
    module.logit_scale.fill_(LOGIT_SCALE)
    for name, tensor in module.named_parameters():
        if name.endswith(".gamma"):
            tensor.fill_(LAYER_SCALE)


def _real_buffers(module: Clip) -> None:
    text = module.args.text
    if isinstance(text, BertText):
        real_buffers(module.text.transformer)
    elif text is not None:
        mask = torch.full((text.context, text.context), float("-inf")).triu_(1)
        module.text.register_buffer("attn_mask", mask, persistent=False)


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name of every tensor -> its key in ``module.state_dict()``: the same."""
    return {key: key for key in module.state_dict()}


FAMILY = Family(
    build=build_clip,
    plain_names=plain_names,
    embed=Clip.forward,
    tokens=Clip.tokens,
    training_only=("text", "logit_scale"),
    text_names=("text",),
    embed_text=Clip.encode,
)
