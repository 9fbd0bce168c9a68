"""The clustered bootstrap: its draws, its intervals, and what they cover."""

import numpy as np
import pytest
from scipy import stats
from statistics_cases import binary_case, multiclass_case

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress
from medfm.evaluation import bootstrap
from medfm.evaluation.bootstrap import Clusters, bca_interval, collect, draw, jackknife, percentile_interval
from medfm.evaluation.metrics import metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted


def clusters_of(n: int = 200, patients: int = 40, classes: int = 3, seed: int = 0) -> Clusters:
    rng = np.random.default_rng(seed)
    return Clusters.of(rng.integers(0, patients, n), rng.integers(0, classes, n))


def all_weights(clusters: Clusters, resamples: int, seed: int = 0, **options) -> np.ndarray:
    return np.concatenate(list(draw(clusters, resamples, seed, **options)), axis=1)


def test_records_of_a_patient_come_or_go_together():
    clusters = clusters_of()
    weights = all_weights(clusters, 50)
    for code in range(clusters.count):
        own = weights[clusters.codes == code]
        assert (own == own[0]).all()


def test_every_resample_has_as_many_patients_in_every_stratum():
    clusters = clusters_of()
    weights = all_weights(clusters, 50)
    first = np.array([np.flatnonzero(clusters.codes == c)[0] for c in range(clusters.count)])
    for stratum in np.unique(clusters.strata):
        own = first[clusters.strata == stratum]
        assert (weights[own].sum(axis=0) == len(own)).all()


def test_draws_depend_on_the_seed_but_not_on_the_chunk():
    clusters = clusters_of()
    base = all_weights(clusters, 70, 3)
    assert np.array_equal(base, all_weights(clusters, 70, 3, chunk=7))
    assert np.array_equal(base, all_weights(clusters, 70, 3, chunk=70))
    assert np.array_equal(base[:, :20], all_weights(clusters, 20, 3))
    assert not np.array_equal(base, all_weights(clusters, 70, 4))


def test_draws_do_not_depend_on_the_order_of_the_records():
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(0, 30, 100), rng.integers(0, 3, 100)
    order = rng.permutation(100)
    straight = all_weights(Clusters.of(ids, labels), 20)
    shuffled = all_weights(Clusters.of(ids[order], labels[order]), 20)
    assert np.array_equal(straight[order], shuffled)


def test_counts_follow_the_multinomial():
    """Mean 1 and variance 1 - 1/P per cluster; every cluster equally likely."""
    weights = all_weights(Clusters.of(np.arange(25)), 8000)
    np.testing.assert_allclose(weights.mean(axis=1), 1.0, atol=0.06)
    np.testing.assert_allclose(weights.var(axis=1), 1 - 1 / 25, atol=0.1)
    assert weights.sum(axis=0).tolist() == [25.0] * 8000


def test_the_stratum_is_the_majority_class():
    clusters = Clusters.of(np.array(["a", "a", "a", "b", "b", "c"]), np.array([0, 2, 2, 0, 1, 1]))
    # a: class 2; b: tie, lowest class 0; c: class 1. Strata are numbered by class.
    assert clusters.strata.tolist() == [2, 0, 1]
    assert clusters.codes.tolist() == [0, 0, 0, 1, 1, 2]
    assert not clusters.single


def test_without_labels_there_is_one_stratum():
    clusters = Clusters.of(np.array(["x", "y", "z"]))
    assert clusters.strata.tolist() == [0, 0, 0]
    assert clusters.single


def test_large_clusters_switch_to_float64(monkeypatch):
    """Where a total could pass what float32 counts exactly, float64 is used."""
    clusters = clusters_of()
    assert next(draw(clusters, 2, 0)).dtype == np.float32
    monkeypatch.setattr(bootstrap, "_EXACT_FLOAT32", 100)
    assert next(draw(clusters, 2, 0)).dtype == np.float64


def test_memory_is_bounded_by_chunks():
    clusters = Clusters.of(np.arange(100_000))
    weights = next(draw(clusters, 1000, 0))
    assert weights.nbytes <= 2 * bootstrap._CHUNK_BYTES


def test_no_records_is_an_error():
    with pytest.raises(EvaluationError, match="no records"):
        next(draw(Clusters.of(np.array([], dtype=str)), 10, 0))


def test_collect_equals_computing_each_resample_by_itself():
    predictions = multiclass_case()
    outcomes = Outcomes.of(predictions)
    clusters = Clusters.of(predictions.patients(), outcomes.truth)
    names = ["auroc_ovr_macro", "f1_macro", "brier"]
    statistics = {name: metric(name, "multiclass").compute for name in names}
    found = collect(outcomes, clusters, statistics, resamples=40, seed=9)
    weights = all_weights(clusters, 40, 9)
    for b in (0, 17, 39):
        rows = np.repeat(np.arange(len(outcomes)), weights[:, b].astype(int))
        alone = Weighted(outcomes.take(rows), np.ones((len(rows), 1)))
        for name in names:
            assert found[name][b] == pytest.approx(statistics[name](alone)[0], rel=1e-10)


def test_collect_counts_progress_and_keeps_leading_axes():
    predictions = multiclass_case()
    outcomes = Outcomes.of(predictions)
    progress = Progress("bootstrap", 30)
    clusters = Clusters.of(predictions.patients(), outcomes.truth)
    found = collect(outcomes, clusters, {"a": lambda view: view.aurocs}, resamples=30, seed=0, progress=progress)
    assert found["a"].shape == (4, 30)
    assert progress.done == 30


def test_percentiles_leave_undefined_resamples_out():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 500))
    values[0, ::7] = np.nan
    values[2] = np.nan
    low, high = percentile_interval(values, 0.9)
    for row in (0, 1):
        defined = values[row][~np.isnan(values[row])]
        assert low[row] == pytest.approx(np.quantile(defined, 0.05))
        assert high[row] == pytest.approx(np.quantile(defined, 0.95))
    assert np.isnan(low[2])
    assert np.isnan(high[2])


def test_jackknife_leaves_whole_patients_out():
    predictions = binary_case(60, 12)
    outcomes = Outcomes.of(predictions)
    clusters = Clusters.of(predictions.patients(), outcomes.truth)
    compute = metric("brier", "binary").compute
    found = jackknife(outcomes, clusters, compute)
    assert found.shape == (clusters.count,)
    for code in range(clusters.count):
        rest = outcomes.take(clusters.codes != code)
        assert found[code] == pytest.approx(compute(Weighted(rest, np.ones((len(rest), 1))))[0])


def test_bca_equals_scipy_on_a_mean():
    """scipy's BCa of a mean with the same jackknife differs only by its own random draws."""
    rng = np.random.default_rng(1)
    data = rng.exponential(size=60)
    values = np.array([rng.choice(data, 60).mean() for _ in range(6000)])
    left_out = (data.sum() - data) / 59
    low, high = bca_interval(float(data.mean()), values, left_out, 0.95)
    theirs = stats.bootstrap(
        (data,), np.mean, n_resamples=6000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    assert low == pytest.approx(theirs.low, abs=0.03)
    assert high == pytest.approx(theirs.high, abs=0.03)
    # A skewed estimate is shifted away from the percentile interval, to the right here.
    assert high > percentile_interval(values, 0.95)[1]


def test_bca_is_undefined_without_spread():
    assert np.isnan(bca_interval(float("nan"), np.ones(5), np.ones(5), 0.95)).all()
    assert np.isnan(bca_interval(0.5, np.full(5, np.nan), np.ones(5), 0.95)).all()


def clustered_accuracy(rng: np.random.Generator, patients: int, each: int) -> tuple[Outcomes, np.ndarray]:
    """Positive and negative patients whose hit rate varies between patients; mean 0.75."""
    rate = rng.beta(1.5, 0.5, patients)
    owner = np.repeat(np.arange(patients), each)
    truth = (owner % 2).astype(int)
    right = rng.random(patients * each) < rate[owner]
    predicted = np.where(right, truth, 1 - truth)
    scores = np.eye(2)[predicted]
    return Outcomes("binary", ("no", "yes"), truth, predicted, scores), owner


def test_clustered_interval_covers_and_the_naive_one_is_too_narrow():
    """40 patients with 10 records each: the clustered interval covers about 95 %, the naive far less."""
    rng = np.random.default_rng(0)
    compute = {"accuracy": metric("accuracy", "binary").compute}
    runs, hits, widths = 150, {"clustered": 0, "naive": 0}, {"clustered": 0.0, "naive": 0.0}
    for run in range(runs):
        outcomes, owner = clustered_accuracy(rng, 40, 10)
        for kind, ids in (("clustered", owner), ("naive", np.arange(len(owner)))):
            clusters = Clusters.of(ids, outcomes.truth)
            values = collect(outcomes, clusters, compute, resamples=300, seed=run)["accuracy"]
            low, high = percentile_interval(values, 0.95)
            hits[kind] += bool(low <= 0.75 <= high)
            widths[kind] += float(high - low) / runs
    assert 0.88 <= hits["clustered"] / runs <= 0.99
    assert hits["naive"] / runs < 0.75
    assert widths["naive"] < 0.65 * widths["clustered"]


def test_clusters_of_one_record_agree_with_the_textbook_error():
    """The standard deviation of resampled accuracies is sqrt(p (1 - p) / n) for independent records."""
    rng = np.random.default_rng(3)
    truth = np.zeros(400, dtype=int)
    predicted = (rng.random(400) < 0.2).astype(int)
    outcomes = Outcomes("binary", ("no", "yes"), truth, predicted, np.eye(2)[predicted])
    values = collect(
        outcomes, Clusters.of(np.arange(400), truth), {"a": metric("accuracy", "binary").compute}, resamples=2000, seed=0
    )["a"]
    p = (predicted == 0).mean()
    assert values.std() == pytest.approx(np.sqrt(p * (1 - p) / 400), rel=0.06)
