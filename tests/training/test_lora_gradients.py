"""Gradients of updates of low rank, and several of them merged."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medfm.training.lora import LowRank, add_lora, has_lora, lora_targets, merge_lora
from tests.training.small_networks import Transformer, resnet


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(rank: int = 2, alpha: float = 6.0) -> tuple[nn.Module, LowRank]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4))
    add_lora(network, ["0.weight"], rank, alpha, seeded())
    return network, network[0].parametrizations.weight[0]  # type: ignore[union-attr, index, return-value]


def loss_of(network: nn.Module) -> torch.Tensor:
    x = torch.randn(7, 5, generator=seeded(1))
    return network(x).square().sum()


@pytest.mark.parametrize("filled", [False, True], ids=["at the start", "later"])
def test_gradients_follow_the_chain_rule(filled: bool) -> None:
    network, update = layer()
    if filled:
        with torch.no_grad():
            update.b.normal_(generator=seeded(2))
    plain = nn.Sequential(nn.Linear(5, 4))
    with torch.no_grad():
        plain[0].weight.copy_(network[0].weight)  # type: ignore[union-attr, arg-type]
        plain[0].bias.copy_(network[0].bias)  # type: ignore[union-attr, arg-type]
    loss_of(plain).backward()
    loss_of(network).backward()
    by_weight = plain[0].weight.grad
    assert by_weight is not None
    assert torch.allclose(update.b.grad, update.scale * by_weight @ update.a.T, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(update.a.grad, update.scale * update.b.T @ by_weight, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]
    assert bool((update.a.grad == 0).all()) is not filled  # B is 0 at first, so A waits one step
    assert bool((update.b.grad != 0).any())


def test_a_frozen_weight_stays_and_merging_keeps_what_was_learned() -> None:
    network, update = layer()
    stored = network[0].parametrizations.weight.original  # type: ignore[union-attr]
    stored.requires_grad_(False)
    before = stored.detach().clone()
    optimizer = torch.optim.AdamW([update.a, update.b], lr=0.05, weight_decay=0.1)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = loss_of(network)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] and torch.equal(stored, before) and stored.grad is None
    expected = before + update.scale * update.b.detach() @ update.a.detach()
    assert int(torch.linalg.matrix_rank(expected - before, atol=1e-5)) <= 2
    after = float(loss_of(network).detach())
    merge_lora(network)
    assert torch.allclose(network[0].weight, expected, atol=1e-6)  # type: ignore[union-attr, arg-type]
    assert float(loss_of(network).detach()) == pytest.approx(after, rel=1e-5)


@pytest.mark.parametrize(("rank", "alpha", "scale"), [(1, 4.0, 4.0), (2, 4.0, 2.0), (4, 4.0, 1.0), (9, 18.0, 2.0)])
def test_the_scale_is_alpha_over_the_rank_asked_for(rank: int, alpha: float, scale: float) -> None:
    _, update = layer(rank, alpha)
    assert update.scale == pytest.approx(scale) and update.a.shape == (min(rank, 4), 5)
    assert update.b.shape == (4, min(rank, 4)) and bool((update.b == 0).all())
    assert float(update.a.detach().abs().max()) <= 5**-0.5


@pytest.mark.parametrize("make", [resnet, Transformer], ids=["resnet", "vit"])
@pytest.mark.parametrize("keep", [True, False], ids=["merged", "dropped"])
def test_all_updates_of_a_network_at_once(make, keep: bool) -> None:
    torch.manual_seed(0)
    network = make().eval()
    before = copy.deepcopy(network.state_dict())
    names = lora_targets(network, [n for n, _ in network.named_parameters()], "all")
    added = add_lora(network, names, 1, 2.0, seeded())
    assert len(added) == 2 * len(names) == len(set(added))
    parameters = dict(network.named_parameters())
    expected = dict(before)
    with torch.no_grad():
        for place, name in enumerate(names):
            a, b = parameters[added[2 * place]], parameters[added[2 * place + 1]]
            b.normal_(generator=seeded(place))
            if keep:
                expected[name] = before[name] + 2.0 * (b @ a).view_as(before[name])
    merge_lora(network, keep=keep)
    merge_lora(network, keep=keep)  # nothing is left to do
    found = network.state_dict()
    assert not has_lora(network) and list(found) and set(found) == set(before)
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in before)


def test_a_seed_decides_the_first_values() -> None:
    first, again = (layer()[1].a.detach() for _ in range(2))
    other = LowRank(torch.zeros(4, 5), 2, 6.0, seeded(3)).a.detach()
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_tables_of_positions_and_norms_get_no_update() -> None:
    network = Transformer()
    names = lora_targets(network, [n for n, _ in network.named_parameters()], "all")
    assert len(names) == 1 + 2 * 6 and "patch_embed.proj.weight" in names
    assert not any("norm" in n or "pos_embed" in n or "token" in n for n in names)
    only = [n for n, _ in network.named_parameters() if n.startswith("blocks.5.")]
    assert lora_targets(network, only, "attention") == ["blocks.5.attn.qkv.weight", "blocks.5.attn.proj.weight"]
