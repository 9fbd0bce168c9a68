"""The projection head that turns tokens into prototype logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PrototypeLayer(nn.Module):
    """A linear map without bias whose rows are ``weight_g * weight_v / |weight_v|``.

    The names of the two parameters are those of published DINOv2 heads.
    """

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(prototypes, 1))
        self.weight_v = nn.Parameter(torch.empty(prototypes, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., prototypes)."""
        return functional.linear(x, self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True)))


class DinoHead(nn.Module):
    """MLP, L2 normalisation, prototypes: (..., width) -> logits (..., prototypes).

    State keys: ``mlp.0``, ``mlp.2``, ``mlp.4`` (weight, bias), ``last_layer.weight_g``,
    ``last_layer.weight_v``. While ``weight_g`` stays near 1 the logits are cosines.

    Args:
        width: Width of the tokens.
        prototypes: K, number of outputs.
        hidden: Width of the two hidden layers.
        bottleneck: Width of the normalised vector.
        generator: Source of the initial values (truncated normal, deviation 0.02; prototypes uniform).

    Source: DINO (arXiv 2104.14294), section 3.1 and appendix C.
    """

    def __init__(
        self, width: int, prototypes: int, hidden: int = 2048, bottleneck: int = 256, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        sizes = ((width, hidden), (hidden, hidden), (hidden, bottleneck))
        # skip_init: the default values would be drawn from the global random state.
        first, second, third = (nn.utils.skip_init(nn.Linear, *size) for size in sizes)
        self.mlp = nn.Sequential(first, nn.GELU(), second, nn.GELU(), third)
        self.last_layer = PrototypeLayer(bottleneck, prototypes)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02, generator=generator)
                nn.init.zeros_(layer.bias)
        bound = bottleneck**-0.5
        nn.init.uniform_(self.last_layer.weight_v, -bound, bound, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., prototypes)."""
        x = self.mlp(tokens)
        return self.last_layer(functional.normalize(x, dim=-1, eps=1e-6 if x.dtype == torch.float16 else 1e-12))
