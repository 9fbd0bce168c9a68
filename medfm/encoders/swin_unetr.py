"""The encoder of SwinUNETR: MONAI's ``SwinTransformer`` in three dimensions, its last stage averaged.

Tang et al., Self-supervised pre-training of Swin transformers for 3D medical image analysis
(arXiv 2111.14791); Hatamizadeh et al., Swin UNETR (arXiv 2201.01266). Plain names are MONAI's
without ``swinViT.``; in the published file the two layers of a block's network are called fc1
and fc2, and in MONAI linear1 and linear2 (``SwinTransformerBlock.load_from``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.core.extras import import_extra
from medfm.encoders.families import Family
from medfm.encoders.first_weights import draw
from medfm.encoders.untrained import checked_args
from medfm.encoders.volume_args import SwinArgs

_AXES = 5
_PATCH = 2
_TABLE, _INDEX = "relative_position_bias_table", "relative_position_index"
_SPREAD = 0.02


class SwinEncoder(nn.Module):
    """``forward`` maps float (n, 1, i, j, k), sides multiples of 32, to the mean of the last map, (n, dim)."""

    def __init__(self, args: SwinArgs) -> None:
        super().__init__()
        self.args = args
        import_extra("einops", "mri", "SwinUNETR's encoder")  # MONAI misses it only when volumes come
        nets = import_extra("monai.networks.nets.swin_unetr", "mri", "SwinUNETR's encoder")
        # MONAI's constructor reads numbers off tensors, which the meta device does not have, and draws from
        # the global random state, which is given back.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            self.network: nn.Module = nets.SwinTransformer(
                in_chans=1,
                embed_dim=args.width,
                window_size=(args.window,) * 3,
                patch_size=(_PATCH,) * 3,
                depths=args.depths,
                num_heads=args.heads,
                mlp_ratio=4.0,
                qkv_bias=True,
                spatial_dims=3,
            )
        # Which entry of its table a pair of places has follows from the window alone: no weight, though files hold it.
        self._index = next(getattr(part, _INDEX) for part in self.network.modules() if hasattr(part, _INDEX)).clone()
        self._place_index()
        self.register_load_state_dict_post_hook(lambda module, _: module._place_index())

    def _place_index(self) -> None:
        for part in self.network.modules():
            if hasattr(part, _INDEX):
                device = getattr(part, _TABLE).device
                part.register_buffer(_INDEX, self._index.to(device), persistent=False)

    def feature_map(self, x: Tensor) -> Tensor:
        """The last map (n, dim, i/32, j/32, k/32), normalised over its channels without weights, as MONAI hands it on.

        Raises:
            ConfigError: Another kind of tensor, or sides that are no multiples of 32.
        """
        step = _PATCH ** len(self.args.depths) * _PATCH
        if x.ndim != _AXES or x.shape[1] != 1 or any(side == 0 or side % step for side in x.shape[2:]):
            raise ConfigError(
                f"Volumes of shape {tuple(x.shape)} cannot be encoded.",
                expected=f"(n, 1, i, j, k), every side a multiple of {step}",
            )
        last: Tensor = self.network(x, True)[-1]
        return last

    def forward(self, x: Tensor) -> Tensor:
        """The embeddings (n, dim)."""
        return self.feature_map(x).mean(dim=(2, 3, 4))


def build_swin(
    args: SwinArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> SwinEncoder:
    """An untrained encoder, float32, in training mode; arguments as of :func:`medfm.encoders.resnet3d.build_resnet3d`.

    Raises:
        MissingExtraError: MONAI is not installed.
    """
    module = SwinEncoder(checked_args(SwinArgs, args))
    if device == "meta":
        return module.to("meta").train()
    source = generator if generator is not None else torch.Generator().manual_seed(0)
    draw(module, source)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if name.endswith(_TABLE):
                nn.init.trunc_normal_(tensor, std=_SPREAD, generator=source)
    return module.to(device).train()


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name (MONAI's, without what comes before) of every tensor -> its key in ``module.state_dict()``."""
    return {key.removeprefix("network."): key for key in module.state_dict()}


FAMILY = Family(build=build_swin, plain_names=plain_names, embed=SwinEncoder.forward, tokens=None)
