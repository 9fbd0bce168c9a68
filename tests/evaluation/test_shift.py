"""The batch effect: sites that lie apart, sites that mix, and patients that must not leak."""

import numpy as np
import pytest

from medfm.core.errors import EvaluationError
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.shift import batch_effect, knn_mixing

PLAN = StatisticsPlan(resamples=200)


def embeddings(distance: float, n: int = 300, sites: int = 2, patients: int = 60, seed: int = 0):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, patients, n)
    site = owner % sites
    values = rng.normal(size=(n, 16)).astype(np.float32)
    values[:, 0] += distance * site
    names = np.array([f"site {s}" for s in range(sites)])
    return values, names[site], owner.astype(str)


def test_sites_that_mix():
    found = batch_effect(*embeddings(0.0), plan=PLAN)
    assert found.chance == 0.5
    assert found.balanced_accuracy.value == pytest.approx(0.5, abs=0.1)
    assert found.knn_mixing > 0.9
    assert found.sites == ("site 0", "site 1")
    assert found.k == 15
    assert found.note.startswith("with the sites dealt out at random among the patients")


def test_sites_apart():
    found = batch_effect(*embeddings(12.0), plan=PLAN)
    assert found.balanced_accuracy.value == 1.0
    assert found.knn_mixing < 0.1


def test_more_distance_is_more_batch_effect():
    figures = [batch_effect(*embeddings(d), plan=PLAN) for d in (0.5, 1.5, 4.0)]
    accuracies = [f.balanced_accuracy.value for f in figures]
    mixings = [f.knn_mixing for f in figures]
    assert accuracies == sorted(accuracies)
    assert mixings == sorted(mixings, reverse=True)


def test_many_sites():
    found = batch_effect(*embeddings(3.0, sites=3, patients=90), plan=PLAN)
    assert found.chance == pytest.approx(1 / 3)
    assert len(found.sites) == 3
    assert found.balanced_accuracy.low > 1 / 3


def test_a_patient_does_not_reveal_its_site():
    """Strong patient traits without a site trait: grouped validation and mixing stay at chance."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(60), 8)
    values = rng.normal(size=(60, 128))[owner] * 5 + rng.normal(size=(480, 128))
    sites = np.array(["a", "b"])[owner % 2]
    grouped = batch_effect(values, sites, owner.astype(str), plan=PLAN)
    loose = batch_effect(values, sites, None, plan=PLAN)
    assert grouped.balanced_accuracy.value < 0.7
    assert grouped.knn_mixing > 0.8
    assert loose.balanced_accuracy.value > 0.95
    assert "patients are unknown" in loose.note


def test_a_site_of_one_patient_gives_no_accuracy():
    values, sites, owner = embeddings(3.0)
    owner[sites == "site 1"] = "alone"
    found = batch_effect(values, sites, owner, plan=PLAN)
    assert found.balanced_accuracy is None
    assert "single patient" in found.note
    assert found.knn_mixing is not None


def test_fewer_than_two_sites():
    values, sites, owner = embeddings(1.0)
    assert batch_effect(values, np.full(len(values), "only"), owner) is None
    assert batch_effect(values, [None] * len(values), owner) is None
    mixed = [None if s == "site 1" else s for s in sites]
    assert batch_effect(values, mixed, owner) is None


def test_records_without_a_site_are_left_out():
    values, sites, owner = embeddings(3.0)
    given = sites.astype(object)
    given[::5] = None
    given[1::5] = float("nan")
    given[2::5] = "  "
    kept = np.array([isinstance(s, str) and bool(s.strip()) for s in given])
    all_in = batch_effect(values, given, owner, plan=PLAN)
    only = batch_effect(values[kept], sites[kept], owner[kept], plan=PLAN)
    assert all_in == only


def test_too_many_records_are_drawn_by_patient():
    values, sites, owner = embeddings(2.0, n=900, patients=90)
    found = batch_effect(values, sites, owner, plan=PLAN, max_records=300)
    assert "drawn at random by patient" in found.note
    assert found.balanced_accuracy.n_records <= 300
    assert found == batch_effect(values, sites, owner, plan=PLAN, max_records=300)


def test_seeded():
    data = embeddings(1.0)
    assert batch_effect(*data, plan=PLAN) == batch_effect(*data, plan=PLAN)


def test_lengths_must_agree():
    values, sites, owner = embeddings(1.0)
    with pytest.raises(EvaluationError, match="length"):
        batch_effect(values, sites[:-1], owner)


def test_mixing_against_brute_force():
    rng = np.random.default_rng(0)
    x, sites, owner = rng.normal(size=(60, 3)), rng.integers(0, 3, 60), rng.integers(0, 20, 60)
    seen, expected = [], []
    for i in range(60):
        others = np.flatnonzero(owner != owner[i])
        near = others[np.argsort(((x[others] - x[i]) ** 2).sum(axis=1))[:7]]
        seen.append((sites[near] != sites[i]).mean())
        expected.append((sites[others] != sites[i]).mean())
    assert knn_mixing(x, sites, owner, 7) == pytest.approx(min(1.0, np.mean(seen) / np.mean(expected)), abs=1e-6)


def test_mixing_without_candidates():
    assert knn_mixing(np.zeros((4, 2)), np.array([0, 0, 1, 1]), np.array([1, 1, 1, 1]), 3) is None


def test_mixing_with_more_neighbours_than_records():
    found = knn_mixing(np.random.default_rng(0).normal(size=(5, 2)), np.array([0, 1, 0, 1, 0]), np.arange(5), 50)
    assert found == pytest.approx(1.0)


@pytest.mark.parametrize("wide", [16, 200])
def test_without_a_site_effect_the_permutation_test_keeps_its_level(wide):
    """Forty cohorts without an effect: p is uniform, and the band holds the accuracy about as often as it says."""
    inside, ps = 0, []
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        owner = np.repeat(np.arange(40), 4)
        values = rng.normal(size=(40, wide))[owner] + rng.normal(size=(160, wide))
        sites = np.array(["a", "b"])[(np.arange(40) % 2)[owner]]
        found = batch_effect(values, sites, owner.astype(str), plan=StatisticsPlan(resamples=99, seed=seed))
        inside += found.null_low <= found.balanced_accuracy.value <= found.null_high
        ps.append(found.p)
    assert inside >= 33
    assert sum(p <= 0.05 for p in ps) <= 6
    assert 0.3 < np.mean(ps) < 0.7


def test_a_strong_effect_lies_above_the_band_with_the_smallest_p():
    found = batch_effect(*embeddings(4.0), plan=PLAN)
    assert found.balanced_accuracy.value > found.null_high
    assert found.p == pytest.approx(1 / 201)
    assert found.null_low < 0.5 < found.null_high < 0.7


def test_the_band_belongs_to_three_sites_too():
    found = batch_effect(*embeddings(0.0, sites=3, patients=90), plan=PLAN)
    assert found.null_low < 1 / 3 < found.null_high


def test_without_resamples_there_is_no_permutation_test():
    found = batch_effect(*embeddings(1.0), plan=StatisticsPlan(resamples=0))
    assert (found.null_low, found.null_high, found.p, found.note) == (None, None, None, "")
    assert found.balanced_accuracy.value is not None


def test_the_band_widens_with_fewer_patients():
    """Records of a patient resemble one another: patients, not records, are what the band counts."""
    widths = []
    for patients in (12, 200):
        rng = np.random.default_rng(0)
        owner = np.arange(400) % patients
        values = 3 * rng.normal(size=(patients, 16))[owner] + rng.normal(size=(400, 16))
        sites = np.array(["a", "b"])[owner % 2]
        found = batch_effect(values, sites, owner.astype(str), plan=PLAN)
        widths.append(found.null_high - found.null_low)
    assert widths[0] > 2 * widths[1]
