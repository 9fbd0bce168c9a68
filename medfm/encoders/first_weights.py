"""First weights of untrained networks, drawn from a generator that is handed in.

Constructors of torchvision, timm, open_clip and transformers draw from the global random state;
networks are therefore built without memory and filled here. The rules are PyTorch's and, for
towers of language models, BERT's.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_TABLES = ("class_embedding", "cls_token", "positional_embedding", "pos_embed", "proj", "text_projection")


@torch.no_grad()
def draw(module: nn.Module, generator: torch.Generator, bert: tuple[str, ...] = ()) -> None:
    """Fill every parameter and running statistic of `module`, on the CPU.

    Linear layers uniform within 1 / root of the fan-in, attention inputs Xavier, convolutions of
    networks with batch norm Kaiming normal (fan-out), norms 1 and 0, bare tables normal with
    1 / root of their width, embeddings and everything under a prefix in `bert` normal 0.02.
    LayerScale and scalars are left to the caller.
    """
    residual = any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    for name, part in module.named_modules():
        if isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)):
            part.reset_parameters()
        elif isinstance(part, nn.Embedding):
            part.weight.normal_(std=0.02, generator=generator)
        elif isinstance(part, nn.Linear) and name.startswith(bert) and bert:
            part.weight.normal_(std=0.02, generator=generator)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, nn.MultiheadAttention):
            bound = math.sqrt(6 / sum(part.in_proj_weight.shape))
            part.in_proj_weight.uniform_(-bound, bound, generator=generator)
            part.in_proj_bias.zero_()
        elif isinstance(part, nn.Conv2d) and residual:
            fan_out = part.out_channels * math.prod(part.kernel_size) // part.groups
            part.weight.normal_(std=math.sqrt(2 / fan_out), generator=generator)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            bound = 1 / math.sqrt(part.weight[0].numel())
            for tensor in part.parameters(recurse=False):
                tensor.uniform_(-bound, bound, generator=generator)
    for name, tensor in module.named_parameters():
        if name.rsplit(".", 1)[-1] in _TABLES:
            tensor.normal_(std=tensor.shape[-1] ** -0.5, generator=generator)
