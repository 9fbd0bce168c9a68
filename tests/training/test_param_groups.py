"""Optimiser groups of a real module."""

from __future__ import annotations

import torch
from torch import nn

from medfm.objectives.dino_head import DinoHead
from medfm.training.param_groups import multipliers, param_groups


def test_every_trainable_parameter_is_in_one_group() -> None:
    head = DinoHead(8, 16, 8, 4, generator=torch.Generator().manual_seed(0))
    head.mlp[0].bias.requires_grad_(False)
    groups = param_groups(head)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in head.parameters() if p.requires_grad)
    assert {(g["wd_multiplier"], g["is_last_layer"]) for g in groups} == {(1.0, False), (0.0, False), (1.0, True)}


def test_timm_names_with_a_prefix_get_the_same_rules() -> None:
    rules = multipliers(
        ["vit.blocks.1.attn.qkv.weight", "vit.patch_embed.proj.weight", "vit.blocks.0.ls1.gamma", "vit.norm.weight"],
        blocks=2,
        layer_decay=0.5,
        patch_embed_lr=0.2,
    )
    assert [round(r.lr, 6) for r in rules.values()] == [0.5, 0.025, 0.25, 1.0]
    assert [r.weight_decay for r in rules.values()] == [1.0, 1.0, 0.0, 0.0]


def test_the_order_of_groups_is_that_of_the_parameters() -> None:
    def sizes(module: nn.Module) -> list[list[int]]:
        return [[p.numel() for p in g["params"]] for g in param_groups(module)]

    def make() -> DinoHead:
        return DinoHead(8, 16, 8, 4, generator=torch.Generator().manual_seed(0))

    assert sizes(make()) == sizes(make())
