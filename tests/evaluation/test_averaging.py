"""Several models' scores as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medfm.evaluation.averaging import average_scores

P = st.floats(0.01, 0.99)


def two(positive: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - positive, positive])


def test_probabilities_are_averaged() -> None:
    found = average_scores([two(np.array([0.2, 0.9])), two(np.array([0.6, 0.5]))], "binary")
    assert found == pytest.approx(two(np.array([0.4, 0.7])))


def test_logits_of_two_classes_are_averaged() -> None:
    p, q = 0.2, 0.9
    mean = (np.log(p / (1 - p)) + np.log(q / (1 - q))) / 2
    found = average_scores([two(np.array([p])), two(np.array([q]))], "binary", "logits")
    assert found[0, 1] == pytest.approx(1 / (1 + np.exp(-mean)))


def test_logits_of_many_classes_are_a_normalised_geometric_mean() -> None:
    a, b = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.3, 0.6]])
    mean = np.sqrt(a * b)
    assert average_scores([a, b], "multiclass", "logits") == pytest.approx(mean / mean.sum())


def test_labels_are_averaged_one_by_one() -> None:
    a, b = np.array([[0.2, 0.9]]), np.array([[0.6, 0.9]])
    found = average_scores([a, b], "multilabel", "logits")
    for column in (0, 1):
        alone = average_scores([two(a[:, column]), two(b[:, column])], "binary", "logits")
        assert found[:, column] == pytest.approx(alone[:, 1])


@pytest.mark.parametrize("rule", ["probabilities", "logits"])
def test_measurements_are_averaged_as_they_are(rule: str) -> None:
    assert average_scores([np.array([[10.0]]), np.array([[-4.0]])], "regression", rule) == pytest.approx(3.0)  # type: ignore[arg-type]


def test_certainty_stays_finite() -> None:
    found = average_scores([two(np.array([0.0, 1.0])), two(np.array([0.5, 0.5]))], "binary", "logits")
    assert np.isfinite(found).all() and found[0, 1] < 1e-6 and found[1, 1] > 1 - 1e-6
    assert np.isfinite(average_scores([np.array([[0.0, 1.0]])], "multilabel", "logits")).all()


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, (3, 5), elements=P), st.sampled_from(["probabilities", "logits"]))
def test_one_model_is_itself_and_order_does_not_matter(values: np.ndarray, rule: str) -> None:
    models = [two(row) for row in values]
    assert average_scores(models[:1], "binary", rule) == pytest.approx(models[0])  # type: ignore[arg-type]
    there, back = (average_scores(m, "binary", rule) for m in (models, models[::-1]))  # type: ignore[arg-type]
    assert there == pytest.approx(back) and there.sum(axis=1) == pytest.approx(1)
    inside = (there[:, 1] >= values.min(axis=0) - 1e-12) & (there[:, 1] <= values.max(axis=0) + 1e-12)
    assert inside.all()


def test_nothing_or_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        average_scores([], "binary")
    with pytest.raises(ValueError, match="shape"):
        average_scores([np.ones((2, 2)), np.ones((3, 2))], "binary")
