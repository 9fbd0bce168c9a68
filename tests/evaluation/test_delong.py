"""DeLong's covariance against its definition, the bootstrap and its clustered form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medfm.core.errors import EvaluationError
from medfm.evaluation.delong import delong


def by_definition(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """DeLong's covariance with the kernel written out, O(m n)."""
    parts = []
    for row in scores:
        x, y = row[truth][:, None], row[~truth][None, :]
        psi = (x > y) + 0.5 * (x == y)
        parts.append((psi.mean(axis=1), psi.mean(axis=0)))
    v10, v01 = (np.cov(np.stack([p[k] for p in parts])) for k in (0, 1))
    return v10 / truth.sum() + v01 / (~truth).sum()


def data(n: int = 80, ties: bool = True, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    truth[:2], truth[2:4] = True, False
    scores = rng.normal(size=(2, n)) + truth
    return (scores.round(1) if ties else scores), truth


@pytest.mark.parametrize("ties", [True, False])
def test_covariance_is_the_definition(ties):
    scores, truth = data(ties=ties)
    found = delong(scores, truth)
    np.testing.assert_allclose(found.covariance, by_definition(scores, truth), rtol=1e-10)
    assert found.aurocs.tolist() == pytest.approx([roc_auc_score(truth, s) for s in scores])
    assert not found.clustered


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_aurocs_equal_sklearn_with_many_ties(seed):
    scores, truth = data(30, seed=seed)
    scores = scores.round(0)
    assert delong(scores, truth).aurocs.tolist() == pytest.approx([roc_auc_score(truth, s) for s in scores])


def test_one_record_per_patient_gives_delong():
    scores, truth = data()
    plain, clustered = delong(scores, truth), delong(scores, truth, np.arange(len(truth))[::-1])
    np.testing.assert_allclose(plain.covariance, clustered.covariance, rtol=1e-10)
    assert not clustered.clustered


def test_order_of_records_does_not_matter():
    scores, truth = data()
    rng = np.random.default_rng(5)
    patients = rng.integers(0, 25, len(truth))
    order = rng.permutation(len(truth))
    first, second = delong(scores, truth, patients), delong(scores[:, order], truth[order], patients[order])
    np.testing.assert_allclose(first.covariance, second.covariance, rtol=1e-10)


def test_copied_records_need_the_clustered_form():
    """Each record five times under its patient: the clustered variance stays, the naive shrinks fivefold."""
    scores, truth = data(200)
    copies, labels = np.repeat(scores, 5, axis=1), np.repeat(truth, 5)
    single = delong(scores, truth).covariance[0, 0]
    clustered = delong(copies, labels, np.repeat(np.arange(200), 5))
    assert clustered.clustered
    assert clustered.covariance[0, 0] == pytest.approx(single, rel=0.02)
    assert delong(copies, labels).covariance[0, 0] == pytest.approx(single / 5, rel=0.02)


def test_clustered_variance_matches_simulation():
    """Obuchowski's variance against the spread of the AUROC over fresh data with patient effects."""
    rng = np.random.default_rng(0)
    aurocs, variances = [], []
    for _ in range(300):
        owner = np.repeat(np.arange(60), 5)
        truth = rng.random(300) < 0.4
        scores = truth * 0.8 + rng.normal(size=300) + rng.normal(size=60)[owner] * 1.0
        found = delong(scores, truth, owner)
        aurocs.append(found.aurocs[0])
        variances.append(found.covariance[0, 0])
    assert np.mean(variances) == pytest.approx(np.var(aurocs), rel=0.25)


def test_intervals():
    scores, truth = data(ties=False)
    found = delong(scores, truth)
    low, high = found.interval()
    wald_low, wald_high = found.interval(scale="wald")
    assert 0 < low < found.aurocs[0] < high < 1
    assert wald_low + wald_high == pytest.approx(2 * found.aurocs[0])
    narrow = found.interval(level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_the_logit_interval_stays_inside_where_walds_does_not():
    truth = np.array([True] * 6 + [False] * 6)
    scores = np.array([9.0, 8, 7, 6, 5, 3.5, 4, 3, 2, 1, 0, -1])
    found = delong(scores, truth)
    assert found.interval(scale="wald")[1] > 1
    assert found.interval()[1] < 1


def test_perfect_ranking_has_no_interval():
    found = delong(np.array([3.0, 4, 1, 2]), np.array([True, True, False, False]))
    assert found.aurocs[0] == 1.0
    assert np.isnan(found.interval()).all()
    assert np.isnan(found.interval(scale="wald")).all()


def test_a_score_against_itself():
    scores, truth = data()
    for second in (scores[0], np.exp(scores[0])):
        found = delong(np.stack([scores[0], second]), truth)
        assert found.paired() == (0.0, 0.0, 0.0, 1.0)


def test_pairing_is_symmetric_and_uses_the_covariance():
    scores, truth = data()
    scores[1] = scores[0] + 0.3 * scores[1]
    found = delong(scores, truth)
    forward, backward = found.paired(0, 1), found.paired(1, 0)
    assert forward[0] == pytest.approx(-backward[0])
    assert forward[2] == pytest.approx(-backward[2])
    assert forward[3] == pytest.approx(backward[3])
    unpaired = np.sqrt(found.covariance[0, 0] + found.covariance[1, 1])
    assert forward[1] < unpaired


def test_p_is_uniform_without_a_difference():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(300):
        truth = rng.random(80) < 0.5
        common = truth + rng.normal(size=80)
        p.append(delong(np.stack([common + rng.normal(size=80), common + rng.normal(size=80)]), truth).paired()[3])
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize(
    ("truth", "patients"),
    [
        ([True, True, True], None),
        ([False, False], None),
        ([True, False, False], None),
        ([True, True, False, False], [1, 1, 2, 3]),
    ],
)
def test_too_little_is_an_error(truth, patients):
    with pytest.raises(EvaluationError):
        delong(np.arange(len(truth), dtype=float), np.array(truth), patients)
