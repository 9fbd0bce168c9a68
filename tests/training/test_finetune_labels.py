"""Labels as a network is trained on them, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfm.evaluation.target import Target
from medfm.training.finetune_labels import Labels, labels_of

EVERY = np.arange(4)


def target(task: str, classes: tuple[str, ...], values: list) -> Target:
    return Target("x", task, classes, np.array(values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "outputs", "dtype"),
    [
        (target("binary", ("no", "yes"), [0, 1, 1, 0]), 1, torch.float32),
        (target("multiclass", ("a", "b", "c"), [0, 1, 2, 0]), 3, torch.int64),
        (target("multilabel", ("a", "b"), [[0.0, 1.0], [np.nan, 0.0], [1.0, 1.0], [0.0, np.nan]]), 2, torch.float32),
        (target("regression", (), [1.0, 2.0, 3.0, 4.0]), 1, torch.float32),
    ],
    ids=["binary", "multiclass", "multilabel", "regression"],
)
def test_every_task_is_encoded_for_its_loss(given: Target, outputs: int, dtype: torch.dtype) -> None:
    labels = labels_of(given, EVERY, ordinal=False)
    encoded = labels.encode(given.values)
    assert labels.outputs == outputs and encoded.dtype == dtype and len(encoded) == 4
    assert labels.task == given.task and labels.classes == given.classes and labels.name == "x"
    if given.task == "multilabel":
        assert np.array_equal(np.isnan(encoded.numpy()), np.isnan(given.values))
    elif given.task != "regression":
        assert encoded.long().tolist() == given.values.tolist()


def test_grades_are_one_fewer_logits_than_classes() -> None:
    labels = labels_of(target("multiclass", ("0", "1", "2", "3"), [0, 1, 2, 3]), EVERY, ordinal=True)
    assert (labels.kind, labels.outputs, labels.task) == ("ordinal", 3, "multiclass")
    scores = labels.scores(torch.tensor([[3.0, 0.0, -3.0]]))
    assert scores.shape == (1, 4) and scores.sum() == pytest.approx(1.0)
    assert scores[0] == pytest.approx(scores[0][::-1])  # symmetric thresholds


def test_a_measurement_comes_back_in_its_own_unit() -> None:
    given = target("regression", (), [40.0, 50.0, 60.0, 70.0])
    labels = labels_of(given, EVERY, ordinal=False)
    encoded = labels.encode(given.values)
    assert float(encoded.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(encoded.std(unbiased=False)) == pytest.approx(1.0)
    assert labels.scores(encoded[:, None])[:, 0] == pytest.approx(given.values)


def test_one_value_in_training_does_not_divide_by_nought() -> None:
    labels = labels_of(target("regression", (), [5.0, 5.0, 5.0, 9.0]), np.arange(3), ordinal=False)
    assert labels.spread == 1.0 and labels.encode(np.array([9.0])).tolist() == [4.0]


def test_probabilities_are_of_double_precision_and_far_logits_do_no_harm() -> None:
    labels = Labels("binary", "binary", ("a", "b"), "x")
    scores = labels.scores(torch.tensor([[-800.0], [0.0], [800.0]]))
    assert scores.dtype == np.float64 and scores[:, 1].tolist() == [0.0, 0.5, 1.0]
    several = Labels("multiclass", "multiclass", ("a", "b"), "x").scores(torch.tensor([[1e4, -1e4]]))
    assert several.tolist() == [[1.0, 0.0]]
