"""kNN against scikit-learn and against DINOv2's vote written out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from medfm.core.errors import EvaluationError
from medfm.evaluation import knn as module
from medfm.evaluation.knn import cosine_neighbours, dinov2_votes, knn_scores
from medfm.evaluation.protocol import KNN
from medfm.evaluation.target import Target


def data(n: int = 120, m: int = 40, d: int = 20, classes: int = 4, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    centres = rng.standard_normal((classes, d))
    train = (rng.standard_normal((n, d)) + centres[y]).astype(np.float32)
    test = (rng.standard_normal((m, d)) + centres[rng.integers(0, classes, m)]).astype(np.float32)
    return train, test, Target("y", "multiclass", tuple("abcdefgh"[:classes]), y)


@pytest.mark.parametrize("k", [1, 2, 5, 20])
@pytest.mark.parametrize("d", [3, 40])
def test_uniform_vote_is_scikit_learns(k: int, d: int) -> None:
    train, test, target = data(d=d)
    model = KNeighborsClassifier(k).fit(train.astype(np.float64), target.values)
    scores = knn_scores(train, test, target, KNN(k=(k,)))[k]
    np.testing.assert_allclose(scores, model.predict_proba(test.astype(np.float64)))
    assert np.array_equal(scores.argmax(axis=1), model.predict(test.astype(np.float64)))


def test_ties_go_to_the_first_class() -> None:
    train = np.array([[0.0], [0.1], [5.0], [5.1]])
    target = Target("y", "binary", ("a", "b"), np.array([1, 0, 1, 1]))
    scores = knn_scores(train, np.array([[0.0]]), target, KNN(k=(2,)))[2]
    assert scores.tolist() == [[0.5, 0.5]] and scores.argmax() == 0


def test_several_k_from_one_search() -> None:
    train, test, target = data()
    together = knn_scores(train, test, target, KNN(k=(1, 7, 3)))
    for k in (1, 7, 3):
        np.testing.assert_array_equal(together[k], knn_scores(train, test, target, KNN(k=(k,)))[k])


def test_cosine_vote() -> None:
    train, test, target = data()
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    model = KNeighborsClassifier(5).fit(unit(train).astype(np.float64), target.values)
    scores = knn_scores(train, test, target, KNN(k=(5,), metric="cosine"))[5]
    np.testing.assert_allclose(scores, model.predict_proba(unit(test).astype(np.float64)))


def test_dinov2_vote_written_out() -> None:
    train, test, target = data(d=10)
    found = knn_scores(train, test, target, KNN(k=(3, 10), vote="dinov2", temperature=0.1))
    a = train / np.linalg.norm(train, axis=1, keepdims=True)
    b = test / np.linalg.norm(test, axis=1, keepdims=True)
    for row, similarity in enumerate(b @ a.T):
        near = np.argsort(-similarity)[:10]
        weights = np.exp(similarity[near].astype(np.float64) / 0.1)
        weights /= weights.sum()
        for k in (3, 10):
            expected = np.zeros(4)
            for neighbour, weight in zip(near[:k], weights[:k], strict=True):
                expected[target.values[neighbour]] += weight
            np.testing.assert_allclose(found[k][row], expected, atol=1e-5)
    np.testing.assert_allclose(found[10].sum(axis=1), 1)
    assert (found[3].sum(axis=1) < 1).all()


def test_votes_survive_a_tiny_temperature() -> None:
    votes = dinov2_votes(np.array([[0, 1]]), np.array([[0.9, 0.8]]), np.array([0, 1]), 2, (2,), 1e-4)[2]
    np.testing.assert_allclose(votes, [[1, 0]], atol=1e-12)


@pytest.mark.parametrize("vote", ["uniform", "dinov2"])
def test_chunks_change_nothing(vote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, target = data()
    method = KNN(k=(5,), vote=vote)  # type: ignore[arg-type]
    whole = knn_scores(train, test, target, method)[5]
    monkeypatch.setattr(module, "_CHUNK_VALUES", 7 * len(train))
    np.testing.assert_allclose(knn_scores(train, test, target, method)[5], whole, atol=1e-6)


def test_regression_is_the_mean_of_the_neighbours() -> None:
    train, test, _ = data()
    values = np.random.default_rng(1).standard_normal(len(train))
    model = KNeighborsRegressor(6).fit(train.astype(np.float64), values)
    scores = knn_scores(train, test, Target("y", "regression", (), values), KNN(k=(6,)))[6]
    np.testing.assert_allclose(scores[:, 0], model.predict(test.astype(np.float64)))


def test_multilabel_counts_only_known_labels() -> None:
    train = np.array([[0.0], [0.1], [0.2], [9.0]])
    matrix = np.array([[1, np.nan], [0, np.nan], [1, np.nan], [0, 1]])
    target = Target("y", "multilabel", ("x", "z"), matrix)
    scores = knn_scores(train, np.array([[0.0]]), target, KNN(k=(3,)))[3]
    # No neighbour knows the second label: the overall share stands in.
    np.testing.assert_allclose(scores, [[2 / 3, 1.0]])


def test_standardising_uses_training_statistics() -> None:
    train, test, target = data()
    scale = np.array([1000.0] + [1.0] * (train.shape[1] - 1))
    plain = knn_scores(train, test, target, KNN(k=(5,), standardise=True))[5]
    scaled = knn_scores(train * scale, test * scale, target, KNN(k=(5,), standardise=True))[5]
    np.testing.assert_array_equal(plain, scaled)
    raw = knn_scores(train * scale, test * scale, target, KNN(k=(5,)))[5]
    assert not np.array_equal(plain, raw)
    shifted = knn_scores(train, np.vstack([test, 1e6 + test]), target, KNN(k=(5,), standardise=True))[5]
    np.testing.assert_array_equal(shifted[: len(test)], plain)


@pytest.mark.parametrize("k", [0, 121])
def test_impossible_k(k: int) -> None:
    train, test, target = data()
    with pytest.raises(EvaluationError, match="neighbours cannot be taken"):
        knn_scores(train, test, target, KNN(k=(k,)))


def test_the_weighted_vote_is_for_classes() -> None:
    train, test, _ = data()
    target = Target("y", "regression", (), np.arange(len(train), dtype=float))
    with pytest.raises(EvaluationError, match="is for classes"):
        knn_scores(train, test, target, KNN(k=(1,), vote="dinov2"))


def test_no_queries() -> None:
    train, _, target = data()
    assert knn_scores(train, np.empty((0, 20)), target, KNN(k=(3,)))[3].shape == (0, 4)
    rows, values = cosine_neighbours(train, np.empty((0, 20), np.float32), 3)
    assert rows.shape == values.shape == (0, 3)
