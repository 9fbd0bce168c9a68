"""The switches of freezing by the type of module: what each setting does to norms, dropout and stochastic depth."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from medfm.training.freezing import PUBLISHED, Freezing, learning_counts, set_frozen
from medfm.training.layer_groups import LayerGroup, layer_groups

RULES = [
    Freezing(frozen_batchnorm=frozen, trained_batchnorm=trained, frozen_dropout=dropout)  # type: ignore[arg-type]
    for frozen, trained, dropout in product(("eval", "train"), ("eval", "train"), (False, True))
]
LOWER, UPPER = "0", "1"


class Part(nn.Module):
    """(n, 2, 4) -> (n, 2, 4) through a layer of every kind that has a mode."""

    def __init__(self) -> None:
        super().__init__()
        self.batch, self.plain = nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False)
        self.group, self.layer = nn.GroupNorm(1, 2), nn.LayerNorm(4)
        self.dropout, self.depth = nn.Dropout(0.5), StochasticDepth(0.5, "row")
        self.attention = nn.MultiheadAttention(4, 1, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.layer(self.group(self.batch(x))))
        out: Tensor = x + self.depth(self.attention(x, x, x, need_weights=False)[0])
        return out


def network() -> tuple[nn.Module, list[LayerGroup]]:
    torch.manual_seed(0)
    module = nn.Sequential(Part(), Part())
    return module, layer_groups(module)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.frozen_batchnorm}-{r.trained_batchnorm}-{r.frozen_dropout}")
@pytest.mark.parametrize("learning", [set(), {UPPER}, {LOWER, UPPER}], ids=["none", "upper", "both"])
def test_every_module_is_in_the_mode_that_the_rule_says(rule: Freezing, learning: set[str]) -> None:
    module, groups = network()
    set_frozen(module, groups, learning, rule)
    for name, part in module.named_modules():
        place = name.split(".")[0]
        if place not in (LOWER, UPPER):
            continue
        awake = place in learning
        if isinstance(part, nn.BatchNorm1d):
            assert part.training is ((rule.trained_batchnorm if awake else rule.frozen_batchnorm) == "train"), name
        else:
            assert part.training is (awake or rule.frozen_dropout), name
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad is (name.split(".")[0] in learning), name


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.frozen_batchnorm}-{r.trained_batchnorm}-{r.frozen_dropout}")
def test_statistics_move_where_the_rule_lets_them(rule: Freezing) -> None:
    module, groups = network()
    set_frozen(module, groups, {UPPER}, rule)
    before = {n: b.clone() for n, b in module.named_buffers()}
    module(torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(1)) + 3)
    moved = {n.split(".")[0] for n, b in module.named_buffers() if not torch.equal(b, before[n])}
    expected = ({LOWER} if rule.frozen_batchnorm == "train" else set()) | (
        {UPPER} if rule.trained_batchnorm == "train" else set()
    )
    assert moved == expected


def test_a_frozen_network_answers_the_same_every_time_unless_dropout_is_asked_for() -> None:
    module, groups = network()
    x = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(1))
    for rule, same in ((Freezing(), True), (PUBLISHED, False)):
        set_frozen(module, groups, set(), rule)
        assert torch.equal(module(x), module(x)) is same


def test_freezing_again_undoes_what_was_set_before() -> None:
    module, groups = network()
    states = []
    for learning, rule in (({UPPER}, Freezing()), ({LOWER, UPPER}, PUBLISHED), ({UPPER}, Freezing())):
        set_frozen(module, groups, learning, rule)
        modes = {n: m.training for n, m in module.named_modules()}
        states.append((modes, {n: p.requires_grad for n, p in module.named_parameters()}))
    assert states[0] == states[2] != states[1]


def test_who_learns_is_counted_by_group() -> None:
    module, groups = network()
    each = sum(p.numel() for p in module[0].parameters())
    set_frozen(module, groups, {UPPER}, Freezing())
    assert learning_counts(module, groups) == {LOWER: 0, UPPER: each}
    set_frozen(module, groups, {LOWER, UPPER}, Freezing(), only={"0.batch.weight", "1.layer.bias", "1.no.such"})
    assert learning_counts(module, groups) == {LOWER: 2, UPPER: 4}


def test_names_of_groups_that_there_are_not_wake_nothing() -> None:
    module, groups = network()
    set_frozen(module, groups, {"2", "stem"}, Freezing())
    assert not any(p.requires_grad for p in module.parameters())
