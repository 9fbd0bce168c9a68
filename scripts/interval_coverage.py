"""How often the 95 % intervals of medfm hold the truth, by simulation (or summed exactly for proportions).

    python scripts/interval_coverage.py [--runs 1000]

Cohorts are drawn from models whose truth is known; each interval is computed by the functions that the product
uses. Prints the table of docs/statistics.md. The tests run the same simulations with fewer cohorts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats
from scipy.special import expit, ndtr

from medfm.evaluation.bootstrap import Clusters, collect, percentile_interval
from medfm.evaluation.calibration import calibration_fit
from medfm.evaluation.calibration_intervals import calibration_intervals
from medfm.evaluation.delong import delong
from medfm.evaluation.intervals import clopper_pearson_interval, wilson_interval
from medfm.evaluation.metrics import metric
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.paired_tests import nadeau_bengio

LEVEL = 0.95


def margin(runs: int, share: float = LEVEL, certainty: float = 0.999) -> tuple[float, float]:
    """Between which shares of `runs` a true coverage of `share` falls with `certainty` (Monte Carlo error)."""
    tail = (1 - certainty) / 2
    return float(stats.binom.ppf(tail, runs, share) / runs), float(stats.binom.ppf(1 - tail, runs, share) / runs)


def auroc_cohort(
    rng: np.random.Generator, patients: int, each: int = 1, shift: float = 1.0, spread: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, truth and patient of `patients` times `each` records; every second patient is ill.

    A score is the patient's own normal value plus, where there are several records, a normal one of the record.
    """
    own = rng.normal(size=patients) + shift * (np.arange(patients) % 2)
    scores = np.repeat(own, each)
    if each > 1:
        scores = scores + spread * rng.normal(size=patients * each)
    return scores, np.repeat(np.arange(patients) % 2 == 1, each), np.repeat(np.arange(patients), each)


def true_auroc(each: int = 1, shift: float = 1.0, spread: float = 0.5) -> float:
    """Of :func:`auroc_cohort`."""
    return float(ndtr(shift / np.sqrt(2 * (1 + (spread**2 if each > 1 else 0.0)))))


def auroc_coverage(
    runs: int, patients: int, each: int = 1, shift: float = 1.0, *, resamples: int = 300, seed: int = 0
) -> dict[str, float]:
    """Share of cohorts whose interval holds the AUROC: DeLong's (logit, clustered) and the stratified bootstrap's."""
    rng, truth = np.random.default_rng(seed), true_auroc(each, shift)
    compute = {"auroc": metric("auroc", "binary").compute}
    inside = {"DeLong": 0, "bootstrap": 0}
    for run in range(runs):
        scores, ill, who = auroc_cohort(rng, patients, each, shift)
        low, high = delong(scores, ill, None if each == 1 else who).interval()
        inside["DeLong"] += low <= truth <= high
        if resamples:
            two = np.column_stack([1 - expit(scores), expit(scores)])
            labels = ill.astype(np.int64)
            outcomes = Outcomes("binary", ("no", "yes"), labels, (scores > 0).astype(np.int64), two)
            values = collect(outcomes, Clusters.of(who, labels), compute, resamples=resamples, seed=run)["auroc"]
            ends = percentile_interval(values, LEVEL)
            inside["bootstrap"] += bool(ends[0] <= truth <= ends[1])
    return {name: count / runs for name, count in inside.items()}


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


def rows(runs: int) -> Iterator[tuple[str, str, str]]:
    """Interval, cohort and coverage, as text."""
    for patients, each in ((20, 1), (40, 1), (100, 1), (20, 5), (40, 5), (100, 5)):
        records = f"{patients} patients" + (f" with {each} records" if each > 1 else "")
        for name, share in auroc_coverage(runs, patients, each).items():
            yield f"AUROC 0.7 to 0.8, {name}", records, f"{100 * share:.1f} %"
    for patients in (20, 40, 100):
        for name, share in auroc_coverage(runs, patients, shift=2.5).items():
            yield f"AUROC 0.96, {name}", f"{patients} patients", f"{100 * share:.1f} %"
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
