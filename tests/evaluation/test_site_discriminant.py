"""The site discriminant: a by-hand version, and what its permutations keep."""

from __future__ import annotations

import numpy as np
import pytest

from medfm.evaluation.site_discriminant import SiteDiscriminant


def data(seed: int = 0, n: int = 90, patients: int = 30, sites: int = 3, wide: int = 7):
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.arange(n) % patients)
    site = owner % sites
    return rng.normal(size=(n, wide)) + 0.8 * np.eye(sites, wide)[site], site, owner


@pytest.mark.parametrize("wide", [7, 120])
def test_scores_are_nearest_means_under_the_ridged_covariance(wide):
    x, site, owner = data(wide=wide)
    model = SiteDiscriminant.prepare(x, site, owner, 4, 0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    inverse = np.linalg.inv(z.T @ z / len(z) + np.eye(wide))
    for fold in range(4):
        train, test = model.fold != fold, model.fold == fold
        logits = np.empty((test.sum(), 3))
        for s in range(3):
            mean = z[train & (site == s)].mean(axis=0)
            logits[:, s] = z[test] @ inverse @ mean - 0.5 * mean @ inverse @ mean
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model.scores()[test], expected, atol=1e-10)


def test_folds_keep_patients_together_and_hold_every_site():
    x, site, owner = data()
    model = SiteDiscriminant.prepare(x, site, owner, 5, 3)
    for p in np.unique(owner):
        assert len(np.unique(model.fold[owner == p])) == 1
    for fold in range(5):
        assert set(site[model.fold == fold]) == {0, 1, 2}


def test_two_sites_equal_ridge_regression_on_plus_and_minus_one():
    """With equal counts per site in training the discriminant is the sign of a ridge regression."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    owner, site = np.arange(80), np.arange(80) % 2
    x = rng.normal(size=(80, 6)) + 0.7 * np.eye(2, 6)[site]
    model = SiteDiscriminant.prepare(x, site, owner, 2, 0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    direction = Ridge(alpha=80.0).fit(z, 2.0 * site - 1).coef_
    for fold in range(2):
        train, test = model.fold != fold, model.fold == fold
        counts = np.bincount(site[train])
        assert counts[0] == counts[1]
        means = [z[train & (site == s)].mean(axis=0) for s in (0, 1)]
        inverse = np.linalg.inv(z.T @ z / 80 + np.eye(6))
        side = (z[test] - np.mean(means, axis=0)) @ inverse @ (means[1] - means[0]) > 0
        np.testing.assert_array_equal(model.scores()[test].argmax(axis=1), side.astype(int))
    # The same formula on all rows points where ridge regression does.
    overall = np.linalg.inv(z.T @ z / 80 + np.eye(6)) @ (z[site == 1].mean(axis=0) - z[site == 0].mean(axis=0))
    cosine = overall @ direction / np.linalg.norm(overall) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1.0, abs=1e-12)


def test_the_identity_permutation_gives_the_observed_figure():
    x, site, owner = data()
    model = SiteDiscriminant.prepare(x, site, owner, 4, 0)

    class Still:
        def permutation(self, values):
            return np.array(values)

    predicted = model.scores().argmax(axis=1)
    observed = np.mean([(predicted[site == s] == s).mean() for s in range(3)])
    np.testing.assert_allclose(model.null(2, Still()), observed)  # type: ignore[arg-type]


def test_permutations_depend_on_the_generator_only():
    x, site, owner = data()
    model = SiteDiscriminant.prepare(x, site, owner, 4, 0)
    first, second = (model.null(20, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) > 5


def test_patients_seen_at_several_sites_keep_their_own_sites():
    """All patients roam: within-patient shuffling finds an effect that lies within patients."""
    rng = np.random.default_rng(0)
    owner, site = np.repeat(np.arange(20), 6), np.tile([0, 1, 0, 1, 0, 1], 20)
    x = 3 * rng.normal(size=(20, 10))[owner] + rng.normal(size=(120, 10)) + 2.0 * np.eye(2, 10)[site]
    model = SiteDiscriminant.prepare(x, site, owner, 5, 0)
    observed = (model.scores().argmax(axis=1) == site).mean()
    null = model.null(99, np.random.default_rng(0))
    assert observed > null.max()
    assert abs(null.mean() - 0.5) < 0.05


def test_a_site_absent_from_a_training_set_is_never_predicted_there():
    x, _, owner = data(n=40, patients=40)
    site = np.zeros(40, dtype=np.int64)
    site[:2] = 1
    model = SiteDiscriminant(x, site, owner, (np.arange(40) < 2).astype(np.int64))
    scores = model.scores()
    assert (scores[:2, 1] == 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1)
