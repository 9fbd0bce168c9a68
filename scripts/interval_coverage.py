"""How often the 95 % intervals of medfm hold the truth, by simulation (or summed exactly for proportions).

    python scripts/interval_coverage.py [--runs 1000]

Cohorts are drawn from models whose truth is known; each interval is computed by the functions that the product
uses. Prints the table of docs/statistics.md. The tests run the same simulations with fewer cohorts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from scipy import stats
from scipy.special import expit, ndtr

from medfm.evaluation.bootstrap import Clusters, collect, percentile_interval
from medfm.evaluation.calibration import calibration_fit
from medfm.evaluation.calibration_intervals import calibration_intervals
from medfm.evaluation.delong import delong
from medfm.evaluation.intervals import clopper_pearson_interval, wilson_interval
from medfm.evaluation.metrics import metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.paired_tests import nadeau_bengio
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.score_intervals import (
    auroc_interval,
    clustered_wilson,
    logit_bootstrap_interval,
    mean_of_proportions,
)
from medfm.evaluation.statistics_estimates import Sample, estimate
from medfm.evaluation.survival_metrics import concordance

LEVEL = 0.95


def margin(runs: int, share: float = LEVEL, certainty: float = 0.999) -> tuple[float, float]:
    """Between which shares of `runs` a true coverage of `share` falls with `certainty` (Monte Carlo error)."""
    tail = (1 - certainty) / 2
    return float(stats.binom.ppf(tail, runs, share) / runs), float(stats.binom.ppf(1 - tail, runs, share) / runs)


def auroc_cohort(
    rng: np.random.Generator, patients: int, each: int = 1, shift: float = 1.0, spread: float = 0.5, every: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, truth and patient of `patients` times `each` records; one patient of `every` is ill.

    A score is the patient's own normal value plus, where there are several records, a normal one of the record.
    """
    sick = np.arange(patients) % every == every - 1
    own = rng.normal(size=patients) + shift * sick
    scores = np.repeat(own, each)
    if each > 1:
        scores = scores + spread * rng.normal(size=patients * each)
    return scores, np.repeat(sick, each), np.repeat(np.arange(patients), each)


def true_auroc(each: int = 1, shift: float = 1.0, spread: float = 0.5) -> float:
    """Of :func:`auroc_cohort`."""
    return float(ndtr(shift / np.sqrt(2 * (1 + (spread**2 if each > 1 else 0.0)))))


def auroc_coverage(
    runs: int, patients: int, each: int = 1, shift: float = 1.0, *, every: int = 2, resamples: int = 300, seed: int = 0
) -> dict[str, float]:
    """Share of cohorts whose interval holds the AUROC: the score interval, DeLong's (logit), the stratified bootstrap."""
    rng, truth = np.random.default_rng(seed), true_auroc(each, shift)
    compute = {"auroc": metric("auroc", "binary").compute}
    inside = {"score": 0, "DeLong": 0, "bootstrap": 0}
    for run in range(runs):
        scores, ill, who = auroc_cohort(rng, patients, each, shift, every=every)
        clusters = None if each == 1 else who
        low, high = auroc_interval(scores, ill, clusters)
        inside["score"] += low <= truth <= high
        low, high = delong(scores, ill, clusters).interval()
        inside["DeLong"] += low <= truth <= high
        if resamples:
            two = np.column_stack([1 - expit(scores), expit(scores)])
            labels = ill.astype(np.int64)
            outcomes = Outcomes("binary", ("no", "yes"), labels, (scores > 0).astype(np.int64), two)
            values = collect(outcomes, Clusters.of(who, labels), compute, resamples=resamples, seed=run)["auroc"]
            ends = percentile_interval(values, LEVEL)
            inside["bootstrap"] += bool(ends[0] <= truth <= ends[1])
    return {name: count / runs for name, count in inside.items()}


def decision_coverage(
    runs: int, patients: int, each: int = 1, *, every: int = 2, rates: tuple[float, float] = (0.9, 0.95), seed: int = 0
) -> dict[str, float]:
    """Share of cohorts whose intervals hold sensitivity and balanced accuracy: Wilson's, joined, and the bootstrap's.

    Patients differ: chances of a right decision are drawn from a beta distribution (correlation 0.5 within a patient)
    where there are several records.
    """
    rng, truth = np.random.default_rng(seed), {"sensitivity": rates[0], "balanced accuracy": sum(rates) / 2}
    names = {"sensitivity": "sensitivity", "balanced accuracy": "balanced_accuracy"}
    inside = dict.fromkeys((f"{name}, {way}" for name in names for way in ("Wilson", "bootstrap")), 0)
    sick = np.arange(patients) % every == every - 1
    who, labels = np.repeat(np.arange(patients), each), np.repeat(sick, each).astype(np.int64)
    rate = np.where(sick, *rates)
    for run in range(runs):
        chance = rate if each == 1 else rng.beta(rate, 1 - rate)
        right = rng.random(patients * each) < np.repeat(chance, each)
        predicted = np.where(right, labels, 1 - labels)
        clusters = None if each == 1 else who
        parts = [
            clustered_wilson(right[labels == c], None if clusters is None else clusters[labels == c]) for c in (1, 0)
        ]
        ends = {"sensitivity": parts[0][1:], "balanced accuracy": mean_of_proportions(parts)}
        outcomes = Outcomes("binary", ("no", "yes"), labels, predicted, np.column_stack([1 - labels, labels]) * 1.0)
        compute = {name: metric(key, "binary").compute for name, key in names.items()}
        values = collect(outcomes, Clusters.of(who, labels), compute, resamples=300, seed=run)
        for name in names:
            inside[f"{name}, Wilson"] += ends[name][0] <= truth[name] <= ends[name][1]
            low, high = percentile_interval(values[name], LEVEL)
            inside[f"{name}, bootstrap"] += bool(low <= truth[name] <= high)
    return {name: count / runs for name, count in inside.items()}


def c_index_coverage(runs: int, patients: int, *, effect: float = 0.7, seed: int = 0) -> dict[str, float]:
    """Share of cohorts whose intervals hold Harrell's C of one normal predictor: the logit form, and percentiles.

    Half of the patients are censored. The truth is the C of 20000 patients.
    """

    def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        risk = rng.normal(size=n)
        times, ends = rng.exponential(size=n) * np.exp(-effect * risk), rng.exponential(size=n)
        return risk, np.minimum(times, ends), times <= ends

    blocks = [concordance(*drawn(np.random.default_rng(block), 2000), np.ones((2000, 1)))[0] for block in range(10)]
    truth, rng = float(np.mean(blocks)), np.random.default_rng(seed)
    inside = {"logit": 0, "percentiles": 0}
    for _ in range(runs):
        risk, time, event = drawn(rng, patients)
        value = float(concordance(risk, time, event, np.ones((patients, 1)))[0])
        draws = rng.integers(0, patients, (200, patients))
        counts = np.stack([np.bincount(row, minlength=patients) for row in draws], axis=1)
        values = concordance(risk, time, event, counts)
        low, high = percentile_interval(values, LEVEL)
        inside["percentiles"] += bool(low <= truth <= high)
        found = logit_bootstrap_interval(value, values, patients)
        inside["logit"] += found is not None and found[0] <= truth <= found[1]
    return {name: count / runs for name, count in inside.items()}


def graded_cohort(
    rng: np.random.Generator, patients: int, each: int, grades: int, *, chosen: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True grade, predicted grade and patient of each record; grade g is half as frequent as grade g - 1.

    The prediction is the grade plus a normal error of the patient (SD 0.6) and one of the record (SD 0.3, where there are
    several), rounded. With `chosen` the number of patients of each grade is fixed, otherwise it is drawn.
    """
    share = 0.5 ** np.arange(grades) / np.sum(0.5 ** np.arange(grades))
    if chosen:
        own = np.minimum(np.searchsorted(np.floor(np.cumsum(share) * patients + 1e-9), np.arange(patients), "right"), grades - 1)  # fmt: skip
    else:
        own = rng.choice(grades, size=patients, p=share)
    seen = np.repeat(own + 0.6 * rng.normal(size=patients), each)
    if each > 1:
        seen = seen + 0.3 * rng.normal(size=patients * each)
    predicted = np.clip(np.rint(seen), 0, grades - 1).astype(np.int64)
    return np.repeat(own, each).astype(np.int64), predicted, np.repeat(np.arange(patients), each)


def graded_outcomes(truth: np.ndarray, predicted: np.ndarray, grades: int) -> Outcomes:
    """Scores of 0.9 for the predicted grade."""
    scores = np.full((len(truth), grades), 0.1 / (grades - 1))
    scores[np.arange(len(truth)), predicted] = 0.9
    return Outcomes("multiclass", tuple(f"grade {g}" for g in range(grades)), truth, predicted, scores)


def value_of(name: str, outcomes: Outcomes) -> float:
    """The figure of all records, each counted once."""
    return float(metric(name, outcomes.task).compute(Weighted(outcomes, np.ones((len(outcomes), 1))))[0])


def covered(
    names: Sequence[str], cohorts: Iterable[tuple[Outcomes, np.ndarray]], truth: dict[str, float], resamples: int
) -> dict[str, float]:
    """Share of cohorts whose intervals, as a report has them, hold the truth; one without interval is left out."""
    inside, counted = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for run, (outcomes, who) in enumerate(cohorts):
        clusters = Clusters.of(who, outcomes.truth if outcomes.task == "multiclass" else None)
        sample = Sample(outcomes, clusters, StatisticsPlan(resamples=resamples), len(outcomes))
        found = {name: metric(name, outcomes.task) for name in names}
        drawn = collect(outcomes, clusters, {n: m.compute for n, m in found.items()}, resamples=resamples, seed=run)
        for name in names:
            made = estimate(sample, found[name], value_of(name, outcomes), drawn[name])
            if made.low is not None and made.high is not None:
                counted[name] += 1
                inside[name] += made.low <= truth[name] <= made.high
    return {name: inside[name] / max(counted[name], 1) for name in names}


GRADED = ("quadratic_kappa", "kappa", "mcc", "f1_macro", "accuracy", "balanced_accuracy")


def graded_coverage(
    runs: int, patients: int, each: int = 1, grades: int = 3, *, chosen: bool = False, names: Sequence[str] = GRADED, resamples: int = 200, seed: int = 0
) -> dict[str, float]:  # fmt: skip
    """Coverage of figures of grades: :func:`graded_cohort`; the truth is that of 400000 records."""
    large = graded_outcomes(*graded_cohort(np.random.default_rng(99), 400000 // each, each, grades, chosen=chosen)[:2], grades)  # fmt: skip
    rng = np.random.default_rng(seed)

    def cohorts() -> Iterator[tuple[Outcomes, np.ndarray]]:
        for _ in range(runs):
            truth, predicted, who = graded_cohort(rng, patients, each, grades, chosen=chosen)
            yield graded_outcomes(truth, predicted, grades), who

    return covered(names, cohorts(), {name: value_of(name, large) for name in names}, resamples)


REGRESSION = ("r2", "mae", "rmse", "pearson", "spearman")


def regression_coverage(runs: int, patients: int, each: int = 1, *, resamples: int = 300, seed: int = 0) -> dict[str, float]:  # fmt: skip
    """Coverage of figures of a number (normal, SD 1, predicted with an error of the patient, SD 0.6, and of the record)."""

    def drawn(rng: np.random.Generator, n: int) -> tuple[Outcomes, np.ndarray]:
        truth = np.repeat(rng.normal(size=n), each)
        predicted = truth + np.repeat(0.6 * rng.normal(size=n), each)
        if each > 1:
            predicted = predicted + 0.3 * rng.normal(size=n * each)
        return Outcomes("regression", (), truth, predicted, np.zeros((n * each, 0))), np.repeat(np.arange(n), each)

    large, _ = drawn(np.random.default_rng(99), 400000 // each)
    rng = np.random.default_rng(seed)
    truth = {name: value_of(name, large) for name in REGRESSION}
    return covered(REGRESSION, (drawn(rng, patients) for _ in range(runs)), truth, resamples)


def proportion_coverage(total: int) -> dict[str, tuple[float, float]]:
    """Least and mean exact coverage of Wilson's and Clopper and Pearson's interval over rates from 0.02 to 0.98."""
    rates, hits = np.linspace(0.02, 0.98, 193), np.arange(total + 1)
    chance = stats.binom.pmf(hits[None, :], total, rates[:, None])
    found = {}
    for name, made in (("Wilson", wilson_interval), ("Clopper-Pearson", clopper_pearson_interval)):
        low, high = made(hits, total, LEVEL)
        held = (chance * ((low[None] <= rates[:, None]) & (rates[:, None] <= high[None]))).sum(axis=1)
        found[name] = (float(held.min()), float(held.mean()))
    return found


def calibration_coverage(
    runs: int, patients: int, each: int = 1, *, slope: float = 0.7, intercept: float = -0.4, seed: int = 0
) -> dict[str, float]:
    """Share of cohorts whose intervals hold the slope and the intercept with which outcomes were drawn.

    With several records, those of a patient share one score and two thirds of their outcomes.
    """
    rng = np.random.default_rng(seed)
    inside = {"slope": 0, "intercept": 0}
    for _ in range(runs):
        logits = np.repeat(rng.normal(size=patients) * 1.2, each)
        who = np.repeat(np.arange(patients), each)
        chance = expit(intercept + slope * logits)
        common = np.repeat(rng.random(patients), each)
        draws = np.where(rng.random(patients * each) < (2 / 3 if each > 1 else 0), common, rng.random(patients * each))
        hit = (draws < chance).astype(np.int64)
        scores = expit(logits)
        fit = calibration_fit(scores, hit)
        ends = calibration_intervals(scores, hit, fit, None if each == 1 else who, LEVEL)
        for name, bounds, value in (("slope", ends[0], slope), ("intercept", ends[1], intercept)):
            inside[name] += bounds is not None and bounds[0] <= value <= bounds[1]
    return {name: count / runs for name, count in inside.items()}


def false_differences(runs: int, patients: int = 60, *, repeats: int = 6, folds: int = 5, seed: int = 0) -> dict[str, float]:  # fmt: skip
    """Share of runs in which repeated cross-validation calls two equally good models different at p < 0.05.

    Both are straight lines through one measurement each, and the measurements are alike. All runs are fitted at once.
    """
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(runs, patients))
    first, second = (hidden + rng.normal(size=hidden.shape) for _ in range(2))
    outcome = hidden + rng.normal(size=hidden.shape)
    differences = []
    for repeat in range(repeats):
        place = np.random.default_rng([seed, repeat]).permutation(patients) % folds
        for fold in range(folds):
            train, test = place != fold, place == fold
            errors = []
            for values in (first, second):
                x, y = values[:, train], outcome[:, train]
                middle, level = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
                line = ((x - middle) * (y - level)).sum(axis=1) / ((x - middle) ** 2).sum(axis=1)
                errors.append(
                    ((outcome[:, test] - level - line[:, None] * (values[:, test] - middle)) ** 2).mean(axis=1)
                )
            differences.append(errors[0] - errors[1])
    found = np.stack(differences, axis=1)
    n_test = patients / folds
    corrected = np.mean([nadeau_bengio(row, patients - n_test, n_test).p < 0.05 for row in found])
    naive = np.mean(stats.ttest_1samp(found, 0.0, axis=1).pvalue < 0.05)
    return {"Nadeau-Bengio": float(corrected), "plain t": float(naive)}


# Patients, records of each, and one patient of how many is ill.
COHORTS = ((20, 1, 2), (40, 1, 2), (100, 1, 2), (100, 1, 10), (20, 5, 2), (40, 5, 2), (100, 5, 2), (100, 5, 10))


def described(patients: int, each: int, every: int) -> str:
    """``100 patients (10 ill) with 5 records``."""
    ill = patients // every
    return f"{patients} patients ({ill} ill)" + (f" with {each} records" if each > 1 else "")


def rows(runs: int) -> Iterator[tuple[str, str, str]]:
    """Interval, cohort and coverage, as text."""
    for shift, text in ((1.0, "AUROC 0.7 to 0.8"), (2.5, "AUROC 0.94 to 0.96")):
        for patients, each, every in COHORTS:
            for name, share in auroc_coverage(runs, patients, each, shift, every=every).items():
                yield f"{text}, {name}", described(patients, each, every), f"{100 * share:.1f} %"
    for patients, each, every in COHORTS:
        for name, share in decision_coverage(runs, patients, each, every=every).items():
            yield name, described(patients, each, every), f"{100 * share:.1f} %"
    for patients in (30, 60, 150):
        for name, share in c_index_coverage(runs, patients).items():
            yield f"C-index 0.68, {name}", f"{patients} patients", f"{100 * share:.1f} %"
    for grades in (3, 5):
        for chosen in (False, True):
            for patients, each in ((20, 1), (40, 1), (100, 1), (20, 5), (100, 5)):
                mix = "numbers per grade chosen" if chosen else "numbers per grade drawn"
                for name, share in graded_coverage(runs, patients, each, grades, chosen=chosen).items():
                    cohort = f"{patients} patients with {each} records, {grades} grades, {mix}"
                    yield name, cohort, f"{100 * share:.1f} %"
    for patients, each in ((20, 1), (40, 1), (100, 1), (20, 5), (100, 5)):
        for name, share in regression_coverage(runs, patients, each).items():
            yield name, f"{patients} patients with {each} records", f"{100 * share:.1f} %"
    for total in (10, 30, 100):
        for name, (least, mean) in proportion_coverage(total).items():
            yield f"proportion, {name}", f"{total} patients", f"{100 * mean:.1f} % (least {100 * least:.1f} %)"
    for patients, each in ((50, 1), (100, 1), (300, 1), (30, 5), (100, 5)):
        records = f"{patients} patients" + (f" with {each} records" if each > 1 else "")
        for name, share in calibration_coverage(runs, patients, each).items():
            yield f"calibration {name}", records, f"{100 * share:.1f} %"
    for name, share in false_differences(runs).items():
        yield f"false differences at p < 0.05, {name}", "60 patients, 6 x 5 folds", f"{100 * share:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="simulated cohorts of each size")
    runs = parser.parse_args().runs
    show: Callable[[str], None] = print
    low, high = margin(runs)
    show(f"{runs} cohorts each; a true coverage of 95 % shows as {100 * low:.1f} to {100 * high:.1f} %\n")
    show("| interval | cohort | coverage |\n|---|---|---|")
    for row in rows(runs):
        show(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
