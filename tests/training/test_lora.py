"""Updates of low rank: nothing at first, the right sum afterwards, gone after merging."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medfm.core.errors import ConfigError
from medfm.encoders.published import build
from medfm.encoders.registry import get_card
from medfm.training.layer_groups import layer_groups, unused_by
from medfm.training.lora import add_lora, has_lora, lora_targets, merge_lora


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def targets_of(name: str, kind: str = "auto") -> list[str]:
    card = get_card(name)
    module = build(card, device="meta")
    names = [p for group in layer_groups(module, unused_by(module, card)) for p in group.parameters]
    return lora_targets(module, names, kind)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(6, 4), (3, 6)), (nn.Conv1d(3, 4, 5), (2, 3, 9)), (nn.Conv2d(3, 4, 3), (2, 3, 7, 7)), (nn.Conv3d(1, 4, 3), (2, 1, 5, 5, 5))],
    ids=["matrix", "kernel 1-D", "kernel 2-D", "kernel 3-D"],
)  # fmt: skip
def test_the_sum_is_w_plus_scaled_ba_and_survives_merging(layer: nn.Module, shape: tuple[int, ...]) -> None:
    network = nn.Sequential(copy.deepcopy(layer))
    x = torch.randn(*shape, generator=seeded())
    before, weight = network(x).detach(), network[0].weight.detach().clone()
    added = add_lora(network, ["0.weight"], rank=2, alpha=8.0, generator=seeded())
    assert torch.equal(network(x), before) and has_lora(network)  # B is 0
    parameters = dict(network.named_parameters())
    assert set(added) == {"0.parametrizations.weight.0.a", "0.parametrizations.weight.0.b"} and set(added) <= set(
        parameters
    )
    with torch.no_grad():
        parameters[added[1]].normal_(generator=seeded())
    expected = weight + (8.0 / 2) * (parameters[added[1]] @ parameters[added[0]]).view_as(weight)
    assert torch.allclose(network[0].weight, expected, atol=1e-5)
    changed = network(x).detach()
    merge_lora(network)
    assert not has_lora(network) and set(dict(network.named_parameters())) == {"0.weight", "0.bias"}
    assert torch.allclose(network[0].weight, expected, atol=1e-5) and torch.allclose(network(x), changed, atol=1e-5)


def test_packed_attention_takes_updates_too() -> None:
    network = nn.ModuleDict({"attn": nn.MultiheadAttention(8, 2, batch_first=True)})
    x = torch.randn(2, 3, 8, generator=seeded())
    before = network["attn"](x, x, x)[0].detach()
    added = add_lora(network, ["attn.in_proj_weight"], 2, 4.0, seeded())
    assert torch.allclose(network["attn"](x, x, x)[0], before, atol=1e-6)
    network["attn"](x, x, x)[0].sum().backward()
    assert dict(network.named_parameters())[added[1]].grad is not None


def test_dropping_updates_gives_the_old_weights_back() -> None:
    network = nn.Sequential(nn.Linear(3, 3))
    before = network[0].weight.detach().clone()
    add_lora(network, ["0.weight"], 1, 1.0, seeded())
    with torch.no_grad():
        network[0].parametrizations.weight[0].b.fill_(5.0)  # type: ignore[index, union-attr]
    merge_lora(network, keep=False)
    assert torch.equal(network[0].weight, before)


def test_a_rank_above_the_matrix_is_cut_and_the_scale_stays() -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    add_lora(network, ["0.weight"], rank=8, alpha=16.0, generator=seeded())
    update = network[0].parametrizations.weight[0]  # type: ignore[index, union-attr]
    assert update.a.shape == (2, 2) and update.scale == pytest.approx(2.0)


def test_attention_is_chosen_in_transformers_and_kernels_elsewhere() -> None:
    vit = targets_of("dinov2-tiny")
    assert len(vit) == 8 and all(".attn." in name for name in vit)
    assert all("to_qkv" in n or "to_out" in n for n in targets_of("merl-vit-tiny"))
    assert {n.rpartition(".")[2] for n in targets_of("quiltnet-tiny")} == {"in_proj_weight", "weight"}
    resnet = targets_of("merl-tiny")
    assert "ecg_encoder.layer1.0.conv1.weight" in resnet  # the pooling head's attention alone is not enough
    assert not any(".bn" in name for name in resnet)
    assert len(targets_of("dinov2-tiny", "all")) > 16


def test_a_network_without_attention_says_so() -> None:
    with pytest.raises(ConfigError, match="no weights of attention"):
        targets_of("imagenet-resnet50", "attention")
