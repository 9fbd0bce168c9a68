"""Averages of weights: exact means, BatchNorm statistics measured anew, the greedy choice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.training.soup import average_states, greedy_choice, measure_statistics, moved_statistics


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    found = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4))
    norm = found[1]
    with torch.no_grad():
        norm.running_mean.copy_(torch.randn(3))
        norm.running_var.copy_(torch.rand(3) + 0.5)
        norm.num_batches_tracked.fill_(seed + 3)
    return found.eval()


def rows(count: int = 100) -> Tensor:
    return torch.randn(count, 2, 8, generator=torch.Generator().manual_seed(9)) * 3 + 1


def test_every_weight_is_the_mean() -> None:
    states = [network(i).state_dict() for i in range(3)]
    mixed = average_states(states)
    for key, value in mixed.items():
        if value.is_floating_point():
            assert torch.allclose(value, torch.stack([s[key] for s in states]).mean(dim=0), atol=1e-7)
            assert value.dtype == states[0][key].dtype
    assert mixed["1.num_batches_tracked"] == 5


def test_one_model_is_itself_and_the_given_states_stay() -> None:
    one = network(0).state_dict()
    before = {k: v.clone() for k, v in one.items()}
    mixed = average_states([one])
    assert all(torch.equal(mixed[k], one[k]) for k in one)
    mixed["4.bias"].fill_(9)
    average_states([one, network(1).state_dict()])
    assert all(torch.equal(before[k], one[k]) for k in one)


def test_a_linear_network_averages_its_answers() -> None:
    """For a linear layer the soup's output is the mean output: an independent check of the whole idea."""
    layers = [nn.Linear(5, 2) for _ in range(4)]
    mixed = nn.Linear(5, 2)
    mixed.load_state_dict(average_states([layer.state_dict() for layer in layers]))
    x = torch.randn(7, 5)
    assert torch.allclose(mixed(x), torch.stack([layer(x) for layer in layers]).mean(dim=0), atol=1e-6)


def test_half_precision_is_summed_in_full() -> None:
    states = [{"w": torch.full((1,), value, dtype=torch.float16)} for value in (60000.0, 60000.0, 3.0)]
    assert average_states(states)["w"].item() == pytest.approx(40001, rel=1e-3)


@pytest.mark.parametrize(
    "other",
    [{}, {"w": torch.zeros(3)}, {"v": torch.zeros(2)}, {"w": torch.zeros(2), "more": torch.zeros(1)}],
    ids=["nothing", "shape", "name", "more"],
)
def test_other_weights_are_refused(other: dict[str, Tensor]) -> None:
    with pytest.raises(TrainingError, match="model 3 have other names or shapes"):
        average_states([{"w": torch.zeros(2)}, {"w": torch.ones(2)}, other])


def test_nothing_makes_no_soup() -> None:
    with pytest.raises(TrainingError, match="at least one"):
        average_states([])


def test_only_statistics_that_differ_are_named() -> None:
    first = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))
    second = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))
    states = [first.state_dict(), second.state_dict()]
    assert moved_statistics(first, states) == []
    second[1].running_var.fill_(2.0)
    with torch.no_grad():
        second[0].weight.fill_(5.0)  # learned, but no statistic
    assert moved_statistics(first, [first.state_dict(), second.state_dict()]) == ["1"]
    assert moved_statistics(first, [first.state_dict()]) == []


def test_statistics_are_those_of_the_activations() -> None:
    """One batch, so that the mean over batches is the plain mean: compared with torch's own moments."""
    net, x = network(0), rows(64)
    measure_statistics(net, ["1"], net, list(x))  # type: ignore[arg-type]
    seen = net[0](x)
    assert torch.allclose(net[1].running_mean, seen.mean(dim=(0, 2)), atol=1e-5)
    assert torch.allclose(net[1].running_var, seen.transpose(0, 1).reshape(3, -1).var(dim=1), atol=1e-4)
    assert not net.training and not net[1].training and net[1].momentum == 0.1


def test_batches_are_averaged_and_a_last_single_record_is_left_out() -> None:
    net, x = network(1), rows(129)
    measure_statistics(net, ["1"], net, list(x))  # type: ignore[arg-type]
    parts = [net[0](x[i : i + 64]) for i in (0, 64)]
    expected = torch.stack([p.mean(dim=(0, 2)) for p in parts]).mean(dim=0)
    assert torch.allclose(net[1].running_mean, expected, atol=1e-5) and net[1].num_batches_tracked == 2


def test_other_layers_are_left_alone() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.BatchNorm1d(2)).eval()
    kept = net[2].running_mean.clone()
    measure_statistics(net, ["0"], net, list(torch.randn(10, 2) + 4))  # type: ignore[arg-type]
    assert torch.equal(net[2].running_mean, kept) and net[0].running_mean.mean() > 2 and not net[1].training


def test_one_record_has_no_statistics() -> None:
    net = network(0)
    before = net[1].running_mean.clone()
    with pytest.raises(TrainingError, match="fewer than two"):
        measure_statistics(net, ["1"], net, list(rows(1)))  # type: ignore[arg-type]
    assert torch.equal(net[1].running_mean, before)


def test_a_break_inside_leaves_evaluation_mode_and_momentum() -> None:
    net = network(0)

    def broken(_: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_statistics(net, ["1"], broken, list(rows(10)))  # type: ignore[arg-type]
    assert not net[1].training and net[1].momentum == 0.1


def test_greedy_goes_from_the_best_and_keeps_what_is_no_worse() -> None:
    tried: list[tuple[int, ...]] = []
    answers = {(2, 0): 0.9, (2, 0, 3): 0.9, (2, 0, 3, 1): 0.5}

    def together(numbers: Sequence[int]) -> float:
        tried.append(tuple(numbers))
        return answers[tuple(numbers)]

    kept, steps = greedy_choice([0.7, 0.1, 0.8, 0.6], together)
    assert kept == [2, 0, 3] and tried == list(answers)
    assert [(s.model, s.kept) for s in steps] == [(2, True), (0, True), (3, True), (1, False)]
    assert [s.quality for s in steps] == [0.8, 0.9, 0.9, 0.5]


def test_a_worse_soup_does_not_become_the_mark_to_beat() -> None:
    answers = iter([0.3, 0.85])
    kept, _ = greedy_choice([0.8, 0.7, 0.6], lambda _: next(answers))
    assert kept == [0, 2]


def test_an_undefined_quality_comes_last_and_never_stays() -> None:
    nan = float("nan")
    kept, steps = greedy_choice([nan, 0.5, 0.4], lambda numbers: nan if 0 in numbers else 0.6)
    assert kept == [1, 2] and steps[-1].model == 0 and not steps[-1].kept


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_greedy_soup_is_never_worse_than_the_best_alone(alone: list[float], random: object) -> None:
    memo: dict[frozenset[int], float] = {}

    def together(numbers: Sequence[int]) -> float:
        return memo.setdefault(frozenset(numbers), random.random())  # type: ignore[attr-defined]

    kept, steps = greedy_choice(alone, together)
    final = together(kept) if len(kept) > 1 else max(alone)
    assert final >= max(alone) and len(set(kept)) == len(kept) and len(steps) == len(alone)
    assert alone[kept[0]] == max(alone)
