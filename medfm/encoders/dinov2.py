"""The DINOv2 family: vision transformers without registers, with LayerScale, built by timm.

Used by DinoBloom and RedDino (patch 14, 257 positions at 224 pixels) and, in a small size,
by the tiny pretraining recipe. Tensor names inside are timm's; :func:`published_state` gives
DINOv2's own names, in which checkpoints are written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from medfm.core.errors import WeightsError
from medfm.encoders.families import Family
from medfm.encoders.posembed import interpolate_positions
from medfm.encoders.untrained import checked_args, untrained
from medfm.encoders.vit_args import ViTArgs

__all__ = [
    "FAMILY",
    "DinoVisionTransformer",
    "ViTArgs",
    "build_vit",
    "plain_names",
    "published_names",
    "published_state",
]


class DinoVisionTransformer(nn.Module):
    """A timm vision transformer (attribute ``vit``) with DINOv2's mask token and position rule.

    ``forward(x)`` maps float (n, 3, H, W), sides multiples of the patch, to the final-norm
    class token (n, d); no pooling of patches, no L2 normalisation.
    """

    # Parameters that no embedding depends on; checkpoints may lack them.
    training_only = ("mask_token",)
    vit: Any

    def __init__(self, args: ViTArgs) -> None:
        super().__init__()
        self.args = args
        self.vit = _timm_vit(args)
        self.mask_token = nn.Parameter(torch.zeros(1, args.dim))

    @property
    def dim(self) -> int:
        """Width d of the class token."""
        return self.args.dim

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.args.patch

    def features(self, x: torch.Tensor, masks: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Class token (n, d) and patch tokens (n, p, d), after the final norm, row-major patches.

        Args:
            x: float (n, 3, H, W); H and W multiples of the patch.
            masks: bool (n, p); patches replaced by the mask token before position rows are added.
        """
        grid = self.vit.patch_embed.proj(x)
        rows, columns = int(grid.shape[2]), int(grid.shape[3])
        tokens = grid.flatten(2).transpose(1, 2)
        if masks is not None:
            tokens = torch.where(masks.unsqueeze(-1), self.mask_token.to(tokens.dtype).unsqueeze(0), tokens)
        tokens = torch.cat([self.vit.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + interpolate_positions(self.vit.pos_embed, (rows, columns), self.args.interpolation)
        tokens = self.vit.norm(self.vit.blocks(tokens))
        return tokens[:, 0], tokens[:, 1:]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The class token (n, d)."""
        return self.features(x)[0]


def _timm_vit(args: ViTArgs) -> nn.Module:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if args.size != "custom" and args.patch == 14:
        name = f"vit_{args.size}_patch14_dinov2"
        vit: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=0, img_size=args.img_size, init_values=args.layer_scale
        )
        return vit
    width, depth, heads, feed_forward = args.shape
    if feed_forward != "gelu":
        raise WeightsError("The giant size exists with patch 14 only.", expected="patch: 14")
    return VisionTransformer(
        img_size=args.img_size,
        patch_size=args.patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        init_values=args.layer_scale,
        num_classes=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )


def build_vit(
    args: ViTArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> DinoVisionTransformer:
    """An untrained network of the family, in training mode, float32.

    Args:
        args: Architecture arguments (a mapping is validated).
        generator: CPU generator the first weights are drawn from; seed 0 when absent. Equal
            states give equal weights; global random state is neither read nor changed.
        device: ``"cpu"``, or ``"meta"`` for shapes without memory.
    """
    return untrained(partial(DinoVisionTransformer, checked_args(ViTArgs, args)), _initialise, generator, device)


@torch.no_grad()
def _initialise(module: DinoVisionTransformer, generator: torch.Generator) -> None:
    """DINOv2's first weights: truncated normal 0.02, zero biases, LayerScale at its constant."""
    for name, tensor in module.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if name == "mask_token":
            tensor.zero_()
        elif leaf == "gamma":
            tensor.fill_(module.args.layer_scale)
        elif leaf == "cls_token":
            tensor.normal_(std=1e-6, generator=generator)
        elif "patch_embed" in name:
            bound = 1 / math.sqrt(3 * module.args.patch**2)
            tensor.uniform_(-bound, bound, generator=generator)
        elif leaf == "pos_embed" or tensor.ndim > 1:
            nn.init.trunc_normal_(tensor, std=0.02, generator=generator)
        else:
            tensor.fill_(1.0 if leaf == "weight" else 0.0)


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name (no prefix, timm's words) of every tensor -> its key in ``module.state_dict()``."""
    return {key.removeprefix("vit."): key for key in module.state_dict()}


def published_names(module: DinoVisionTransformer) -> dict[str, str]:
    """DINOv2's own name of every tensor -> its key in ``module.state_dict()``."""
    names = plain_names(module)
    if module.args.shape[3] != "swiglu":
        return names
    # DINOv2 calls the packed layers w12 and w3, timm fc1 and fc2; the numbers are the same.
    return {
        plain.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3."): key for plain, key in names.items()
    }


def published_state(module: DinoVisionTransformer, prefix: str = "backbone.") -> dict[str, torch.Tensor]:
    """The weights under DINOv2's own names, each with `prefix`, detached and on the CPU.

    ``{"teacher": published_state(module)}`` has the layout of the published checkpoints and
    loads with :func:`medfm.encoders.load_published`.
    """
    state = module.state_dict()
    return {prefix + name: state[key].detach().cpu() for name, key in published_names(module).items()}


def _tokens(module: DinoVisionTransformer, batch: torch.Tensor) -> torch.Tensor:
    return module.features(batch)[1]


FAMILY = Family(
    build=build_vit,
    plain_names=plain_names,
    embed=DinoVisionTransformer.forward,
    tokens=_tokens,
    training_only=DinoVisionTransformer.training_only,
)
