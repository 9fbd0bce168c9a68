"""Unknown labels (NaN) in every loss of fine-tuning: values by loops over what is known, no gradient where nothing is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.objectives.early_learning import EarlyLearningMemory
from medfm.objectives.labels import Kind, LabelLoss, balancing_weights
from medfm.objectives.mixing import Mixed, cut_box, cutmix, draw_cutmix, draw_mixup, mixup

NAN = float("nan")
# Kinds whose targets are floats and can be unknown; classes and grades are whole numbers.
FLOATS: tuple[Kind, ...] = ("binary", "regression", "multilabel")


def logits_of(kind: Kind, rows: int, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3 if kind == "multilabel" else 1, generator=source).requires_grad_(True)


def targets_of(kind: Kind, rows: int, gaps: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    shape = (rows, 3) if kind == "multilabel" else (rows,)
    values = rng.normal(size=shape) if kind == "regression" else rng.integers(0, 2, shape).astype(float)
    values[rng.random(shape) < gaps] = np.nan
    return torch.tensor(values, dtype=torch.float32)


def cell(kind: Kind, logit: float, target: float, smoothing: float) -> float:
    if kind == "regression":
        return (logit - target) ** 2
    p, soft = 1 / (1 + math.exp(-logit)), target * (1 - smoothing) + smoothing / 2
    return -soft * math.log(p) - (1 - soft) * math.log(1 - p)


def by_loop(
    kind: Kind, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None, smooth: float
) -> float:
    """Mean over known cells, in double precision; 0 without one."""
    found = []
    given = targets.reshape(len(targets), -1)
    for i, row in enumerate(given.tolist()):
        for j, target in enumerate(row):
            if math.isnan(target):
                continue
            weight = 1.0
            if weights is not None:
                weight = float(weights[int(target), j] if kind == "multilabel" else weights[int(target)])
            found.append(weight * cell(kind, float(logits[i, j]), target, smooth))
    return sum(found) / len(found) if found else 0.0


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FLOATS), st.integers(1, 6), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([0.0, 0.2]),
    st.booleans(), st.integers(0, 50),
)  # fmt: skip
def test_every_loss_is_the_mean_over_known_cells(
    kind: Kind, rows: int, gaps: float, smoothing: float, weighted: bool, seed: int
) -> None:
    logits, targets = logits_of(kind, rows, seed), targets_of(kind, rows, gaps, seed)
    weights = None
    if weighted and kind != "regression":
        weights = (
            torch.tensor([[1.0, 0.5, 2.0], [3.0, 1.5, 0.25]]) if kind == "multilabel" else torch.tensor([0.5, 3.0])
        )
    loss = LabelLoss(kind, weights, smoothing)(logits, targets)
    expected = by_loop(kind, logits.detach(), targets, weights, smoothing)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    loss.backward()
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    unknown = torch.isnan(targets).reshape(logits.shape)
    assert bool((logits.grad[unknown] == 0).all()) and bool((logits.grad[~unknown] != 0).all())


@pytest.mark.parametrize("kind", FLOATS)
def test_what_an_unknown_cell_says_changes_nothing(kind: Kind) -> None:
    targets = targets_of(kind, 8, 0.5, 3)
    unknown = torch.isnan(targets).reshape(logits_of(kind, 8).shape)
    assert 0 < int(unknown.sum()) < unknown.numel()
    logits = logits_of(kind, 8).detach()
    loss = LabelLoss(kind)
    for other in (50.0, -50.0):
        assert float(loss(torch.where(unknown, other, logits), targets)) == float(loss(logits, targets))


@pytest.mark.parametrize("kind", FLOATS)
def test_leaving_unknown_records_out_is_the_same(kind: Kind) -> None:
    logits, targets = logits_of(kind, 9).detach(), targets_of(kind, 9, 0.0)
    gaps = targets.clone()
    gaps[::3] = NAN
    held = torch.arange(9) % 3 != 0
    assert float(LabelLoss(kind)(logits, gaps)) == pytest.approx(float(LabelLoss(kind)(logits[held], targets[held])))


@pytest.mark.parametrize("kind", FLOATS)
def test_a_batch_without_a_known_label_gives_nought_without_gradient(kind: Kind) -> None:
    logits = logits_of(kind, 4)
    loss = LabelLoss(kind)(logits, torch.full_like(targets_of(kind, 4, 0.0), NAN))
    loss.backward()
    assert float(loss.detach()) == 0 and loss.requires_grad
    assert logits.grad is not None and bool((logits.grad == 0).all())


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
def test_whole_number_targets_are_all_known(kind: Kind) -> None:
    _, known = LabelLoss(kind).parts(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]))
    assert known.tolist() == [1.0] * 4


def test_balancing_weights_of_two_classes_count_known_records() -> None:
    found = balancing_weights("binary", torch.tensor([0.0, NAN, 0.0, 1.0, NAN, 0.0]), 2)
    assert found.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    assert balancing_weights("binary", torch.tensor([NAN, NAN]), 2).tolist() == [0.0, 0.0]
    assert balancing_weights("multilabel", torch.full((3, 2), NAN), 2).tolist() == [[1.0, 1.0]] * 2


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("way", ["cutmix", "mixup"])
def test_a_mixed_batch_masks_both_sides(kind: Kind, way: str) -> None:
    """The loss is that of both label sets, each the mean over its own known cells; the gradient falls apart likewise."""
    logits, targets = logits_of(kind, 5, 2), targets_of(kind, 5, 0.4, 2)
    inputs, partner = torch.arange(5 * 12.0).reshape(5, 1, 12), torch.tensor([3, 0, 4, 1, 2])
    if way == "cutmix":
        mixed = cutmix(inputs, partner, cut_box((12,), 0.5, (6,)))
        assert mixed.weight == pytest.approx(0.5)
    else:
        mixed = mixup(inputs, partner, 0.3)
    loss = LabelLoss(kind)
    found = mixed.loss(lambda given: loss(logits, given), targets)
    own, other = (by_loop(kind, logits.detach(), t, None, 0.0) for t in (targets, targets[partner]))
    assert float(found.detach()) == pytest.approx(mixed.weight * own + (1 - mixed.weight) * other, rel=1e-5)
    found.backward()
    neither = (torch.isnan(targets) & torch.isnan(targets[partner])).reshape(logits.shape)
    assert logits.grad is not None and bool((logits.grad[neither] == 0).all())
    assert bool((logits.grad[~neither] != 0).all())


@pytest.mark.parametrize("draw", [draw_cutmix, draw_mixup], ids=["cutmix", "mixup"])
@pytest.mark.parametrize("known", [0, 1])
def test_mixing_a_batch_with_one_known_record_or_none(draw, known: int) -> None:
    targets = torch.full((4, 3), NAN)
    targets[:known] = 1.0
    mixed: Mixed = draw(torch.randn(4, 2, 30), np.random.default_rng(5))
    logits = logits_of("multilabel", 4)
    value = mixed.loss(lambda given: LabelLoss("multilabel")(logits, given), targets)
    value.backward()
    assert bool(torch.isfinite(value)) and (float(value.detach()) > 0) == bool(known)
    assert logits.grad is not None
    touched = set(np.flatnonzero((logits.grad != 0).any(dim=1).numpy()).tolist())
    place = [] if not known else [0, mixed.partner.tolist().index(0)]
    assert touched <= set(place) and bool(touched) == bool(known)


def test_labels_do_not_enter_the_memory_of_early_answers() -> None:
    """The term is of predictions alone: records without a label move their average as others do, and stay finite."""
    memory, source = EarlyLearningMemory(6, 2, 0.7), np.random.default_rng(0)
    kept = np.zeros((6, 2))
    for _ in range(4):
        rows = source.permutation(6)[:4]
        p = source.dirichlet([1, 1], 4)
        logits = torch.tensor(np.log(p), dtype=torch.float32, requires_grad=True)
        term = memory.term(logits.softmax(1), torch.tensor(rows))
        value = LabelLoss("binary")(logits[:, 1:], torch.full((4,), NAN)) + 3.0 * term
        value.backward()
        clipped = np.clip(p, 1e-4, 1 - 1e-4)
        kept[rows] = 0.7 * kept[rows] + 0.3 * clipped / clipped.sum(1, keepdims=True)
        expected = np.log(1 - np.minimum((clipped * kept[rows]).sum(1), 1 - 1e-4)).mean()
        assert float(value.detach()) == pytest.approx(3 * expected, abs=1e-5)
        assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    assert memory.targets.numpy() == pytest.approx(kept, abs=1e-5)
