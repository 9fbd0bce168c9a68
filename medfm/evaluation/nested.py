"""Nested cross-validation by patient: outer folds test, everything that is chosen is chosen inside their training patients.

What trains is a function, so that this file knows nothing of networks. It is handed rows that train, rows that
choose and rows that are tested; selection sees scores and truth of the choosing rows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.evaluation.balanced_folds import training_seed
from medfm.evaluation.conformal import FEWEST, LEVEL, fit_conformal
from medfm.evaluation.path_order import first_by_order
from medfm.evaluation.protocol import Scheme
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.recalibration import recalibrate
from medfm.evaluation.schemes import Fold, make_folds, split_rows
from medfm.evaluation.selection import quality
from medfm.evaluation.site_folds import site_names, site_strata
from medfm.evaluation.target import Target
from medfm.evaluation.thresholds import youden

# Groups of patients of the jackknife; more say little more and cost more.
_MOST_GROUPS = 50
_SHARED = 10_007


@dataclass(frozen=True)
class OuterFold:
    """Rows (int64) that train and test, the pairs of rows (train, validation) inside the training rows, the site tested."""

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    inner: tuple[tuple[np.ndarray, np.ndarray], ...]
    site: str = ""


@dataclass(frozen=True)
class Job:
    """One training: a candidate on the rows `train`; `validation` chooses its epoch; `test` is only scored.

    `seed` is of the training; ``None`` for that of the recipe.
    """

    repeat: int
    fold: int
    candidate: int
    part: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    seed: int | None = None

    @property
    def name(self) -> str:
        """Such as ``r0-f2-c1-p0``: repeat, outer fold, candidate, inner part."""
        return f"r{self.repeat}-f{self.fold}-c{self.candidate}-p{self.part}"


@dataclass(frozen=True)
class Fitted:
    """Scores, float64 (rows, classes) or (rows, 1), of the validation and test rows of a job, and what was kept.

    `alarms` is how many test rows a gate for unusual records, fitted in this training, calls unusual; ``None`` without one.
    """

    validation: np.ndarray
    tested: np.ndarray
    kept: dict[str, Any] = field(default_factory=dict)
    alarms: int | None = None


@dataclass(frozen=True)
class FoldOutcome:
    """Recalibrated scores of an outer fold's test rows, its threshold, and everything that was chosen.

    `sets` is what prediction sets made inside held on the test rows; a measurement, with which nothing is chosen.
    """

    outer: OuterFold
    scores: np.ndarray
    threshold: float
    chosen: dict[str, Any]
    sets: dict[str, Any] | None = None


def plan_folds(
    truth: Target,
    patients: np.ndarray,
    scheme: Scheme,
    method: NestedFineTune,
    sites: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> tuple[list[OuterFold], list[str]]:
    """The outer folds with their inner parts, and notes. Nothing is trained; what cannot work is said here.

    Where the fold models themselves become the final model (``method.common``), all folds hold out the validation
    patients of :func:`final_parts`, so that these were seen by no model of any fold.

    Args:
        truth: Of n records.
        patients: object (n,).
        scheme: Outer folds: ``kfold``, ``balanced_kfold`` or ``leave_one_site_out``; another kind is taken as ``kfold``.
        method: Inner parts.
        sites: object (n,), missing where unknown.
        order: int64 (n,), the records' places by path (:func:`medfm.evaluation.path_order.path_order`); ``None``: as they
            stand.

    Raises:
        EvaluationError: A patient with two classes, too few patients of a class, a part of a single class, too few sites.
    """
    by_site = scheme.kind == "leave_one_site_out"
    if truth.task in ("binary", "multiclass"):
        _check_patients(truth, patients, 0 if by_site else scheme.folds, method)
    folds, notes = _outer_folds(truth, patients, scheme, sites, order)
    if method.tested == "first":
        folds, said = _first_tested(folds, patients, np.arange(len(truth)) if order is None else order)
        notes += said
    names = site_names(sites, len(truth))
    shared = final_parts(truth, patients, scheme, method, sites, order)[1] if method.common else None
    found = []
    for fold in folds:
        site = str(names[fold.test[0]]) if by_site else ""
        place = f"the fold that tests the site '{site}'" if by_site else f"outer fold {fold.fold + 1} of {scheme.folds}"
        if by_site and truth.task in ("binary", "multiclass") and len(np.unique(truth.values[fold.test])) < 2:
            notes.append(
                f"The site '{site}' has records of one class only: figures that need two are not given for it."
            )
        elif not by_site:
            _check_classes(truth, fold.test, f"the tested records of {place}", ("scheme.folds", scheme.folds))
        if shared is None:
            seed = scheme.seed + 1 + fold.repeat
            inner = inner_parts(
                truth, patients, fold.train, method, seed=seed, place=place, sites=_sites(scheme, sites)
            )
        else:
            held = np.isin(fold.train, shared)
            inner = ((fold.train[~held], fold.train[held]),)
            _check_parts(truth, inner, place, method)
        found.append(OuterFold(fold.repeat, fold.fold, fold.train, fold.test, inner, site))
    return found, notes


def _first_tested(folds: list[Fold], patients: np.ndarray, order: np.ndarray) -> tuple[list[Fold], list[str]]:
    """The folds with one tested record per patient, and a note where that leaves records out."""
    kept = [replace(fold, test=first_by_order(fold.test, patients, order)) for fold in folds]
    left = np.concatenate([np.setdiff1d(a.test, b.test) for a, b in zip(folds, kept, strict=True)])
    if not len(left):
        return kept, []
    return kept, [
        "Of a tested patient only the first record in the sorted order of paths is tested: "
        f"{len(np.unique(left))} other records of these patients train where their patient is not tested, and are never tested."
    ]


def _outer_folds(
    truth: Target, patients: np.ndarray, scheme: Scheme, sites: np.ndarray | None, order: np.ndarray | None
) -> tuple[list[Fold], list[str]]:
    named = scheme.kind in ("leave_one_site_out", "balanced_kfold")
    plan = scheme if named else scheme.model_copy(update={"kind": "kfold"})
    nowhere = np.full(len(truth), "", dtype=object)
    strata = truth.strata(scheme.folds)
    return make_folds(plan, split=nowhere, patients=patients, strata=strata, sites=sites, order=order)


def final_parts(
    truth: Target,
    patients: np.ndarray,
    scheme: Scheme,
    method: NestedFineTune,
    sites: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (int64) that the final model learns from, and those that choose for it.

    Raises:
        EvaluationError: Too few patients, or a part of a single class.
    """
    every, known, seed = np.arange(len(truth)), _sites(scheme, sites), scheme.seed
    if method.common:
        # Shared validation patients come from all outer folds alike, so that every fold keeps some of each class. The
        # seed of the folds would draw one of them again.
        known, seed = np.full(len(truth), "", dtype=object), seed + _SHARED
        for fold in _outer_folds(truth, patients, scheme, sites, order)[0]:
            if fold.repeat == 0:
                known[fold.test] = f"fold {fold.fold}"
    return inner_parts(truth, patients, every, method, seed=seed, place="the final model", sites=known)[0]


def _sites(scheme: Scheme, sites: np.ndarray | None) -> np.ndarray | None:
    return sites if scheme.balance_sites else None


def inner_parts(
    truth: Target,
    patients: np.ndarray,
    rows: np.ndarray,
    method: NestedFineTune,
    *,
    seed: int,
    place: str,
    sites: np.ndarray | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pairs (train, validation) of rows out of `rows`, cut by patient; ``inner_trained`` of them.

    Where nothing is chosen (``inner_folds: 0``) all rows train and none validates.

    Raises:
        EvaluationError: Too few patients, or a part of a single class.
    """
    if not method.chooses:
        part = (rows, rows[:0])
        _check_classes(truth, rows, f"the training records of {place}", all_of_them=True)
        return (part,)
    strata = truth.take(rows).strata(method.inner_folds)
    if sites is not None:
        strata = site_strata(strata, sites[rows], patients[rows], method.inner_folds)
    pairs, _ = split_rows(method.inner_folds, patients[rows], strata, seed=seed, count=len(rows))
    parts = tuple((rows[a], rows[b]) for a, b in pairs[: method.inner_trained])
    _check_parts(truth, parts, place, method)
    return parts


def _check_parts(
    truth: Target, parts: Sequence[tuple[np.ndarray, np.ndarray]], place: str, method: NestedFineTune
) -> None:
    cut = ("method.inner_folds", method.inner_folds)
    for train, validation in parts:
        _check_classes(truth, train, f"the inner training records of {place}", all_of_them=True)
        _check_classes(truth, validation, f"the validation records of {place}", cut)


def _check_patients(truth: Target, patients: np.ndarray, folds: int, method: NestedFineTune) -> None:
    owners = patients.astype(str)
    pairs = {(p, int(c)) for p, c in zip(owners, truth.values, strict=True)}
    double = sorted(p for p, n in Counter(p for p, _ in pairs).items() if n > 1)
    if double and method.patient_labels == "one":
        raise EvaluationError(
            f"{len(double)} patients have records of two or more classes.",
            where=f"column '{truth.name}', patients {', '.join(double[:5])}{' ...' if len(double) > 5 else ''}",
            expected="one class per patient",
            fix="mend the table; where a label belongs to the record: --set method.patient_labels=any",
        )
    # Every class must reach every outer test fold and every inner part.
    need = max(folds, method.inner_folds + 1)
    counts = Counter(c for _, c in pairs)
    few = [f"{truth.classes[c]} ({counts[c]})" for c in range(len(truth.classes)) if counts[c] < need]
    if few:
        least = min(counts[c] for c in range(len(truth.classes)))
        outer = f"--set scheme.folds={least} " if folds > least else ""
        inner = f"--set method.inner_folds={least - 1} " if method.inner_folds >= least else ""
        fewer = f"fewer folds ({(outer + inner).strip()}), or " if least > 2 else ""
        raise EvaluationError(
            f"Too few patients for {f'{folds} outer folds' if folds else 'outer folds by site'} with "
            f"{method.inner_folds} inner parts: {', '.join(few)}.",
            where=f"column '{truth.name}'",
            expected=f"at least {need} patients of each class, in practice many more",
            fix=f"{fewer}more patients of that class, or leave it out (--where)",
        )


def _check_classes(
    truth: Target, rows: np.ndarray, what: str, cut: tuple[str, int] | None = None, *, all_of_them: bool = False
) -> None:
    """Refuse rows without two classes (or without one of all); `cut`: the setting that makes such parts, and its value."""
    if truth.task not in ("binary", "multiclass"):
        return
    present = set(np.unique(truth.values[rows]).tolist())
    wanted = len(truth.classes) if all_of_them else 2
    if len(present) < wanted:
        absent = [name for c, name in enumerate(truth.classes) if c not in present]
        # Two is the least there can be; larger parts are of no help to what is left for training.
        fewer = f"fewer folds (--set {cut[0]}={cut[1] - 1}), " if cut is not None and cut[1] > 2 else ""
        raise EvaluationError(
            f"There is no record of the class {', '.join(absent)} among {what}.",
            where=f"column '{truth.name}'",
            fix=f"{fewer}another --set scheme.seed, or more patients of that class",
        )


def run_fold(
    outer: OuterFold,
    truth: Target,
    patients: np.ndarray,
    method: NestedFineTune,
    fit: Callable[[Job], Fitted],
) -> FoldOutcome:
    """Train every candidate inside, choose on validation rows, and score the test rows with the chosen one.

    With several inner parts the probabilities of their models are averaged; no model is trained on top.
    """
    seed = training_seed(outer.repeat + 1, outer.fold) if method.training_seed == "published" else None
    fits = [
        [fit(Job(outer.repeat, outer.fold, c, p, *rows, outer.test, seed)) for p, rows in enumerate(outer.inner)]
        for c in range(len(method.candidates))
    ]
    rows = np.concatenate([validation for _, validation in outer.inner])
    inner = truth.take(rows)
    given = {n: np.concatenate([f.validation for f in own]) for n, own in zip(method.candidates, fits, strict=True)}
    picked, table = choose(given, inner, patients[rows], method) if method.chooses else (method.candidates[0], [])
    mend = recalibrate(given[picked], inner, method.recalibration)
    threshold, rule = inner_threshold(mend(given[picked], inner.task), inner, method)
    own = fits[method.candidates.index(picked)]
    scores = mend(np.mean([f.tested for f in own], axis=0), truth.task)
    chosen = {
        "candidate": picked,
        "inner": table,
        "threshold": threshold,
        "threshold_rule": rule,
        "recalibration": mend.about(),
        "kept": [f.kept for f in own],
        "validation": len(rows),
        "alarms": _alarms(own, len(outer.test)),
        **({"site": outer.site} if outer.site else {}),
        **({} if seed is None else {"seed": seed}),
    }
    sets = _sets(mend(given[picked], inner.task), scores, truth, outer, patients)
    return FoldOutcome(outer, scores, threshold, chosen, sets)


def _alarms(fits: Sequence[Fitted], tested: int) -> list[int] | None:
    """How many of how many tested records the gates of these trainings call unusual; ``None`` without gates."""
    counted = [f.alarms for f in fits if f.alarms is not None]
    return [sum(counted), tested * len(counted)] if counted else None


def first_of_patients(rows: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Places in `rows` of the first record of each patient, rising: records of one patient are not exchangeable."""
    return np.sort(np.unique(patients[rows].astype(str), return_index=True)[1])


def _sets(
    validation: np.ndarray, tested: np.ndarray, truth: Target, outer: OuterFold, patients: np.ndarray
) -> dict[str, Any] | None:
    """Prediction sets by the fold's validation patients on its tested records; ``None`` for other tasks or too few.

    With several inner parts the validation scores are of single models and the tested ones of their mean, so that no
    rate is promised: ``None`` too.
    """
    if truth.task not in ("binary", "multiclass") or len(outer.inner) > 1:
        return None
    rows = outer.inner[0][1]
    first = first_of_patients(rows, patients)
    if len(first) < FEWEST:
        return None
    labels, own = truth.values[outer.test], fit_conformal(validation[first], truth.values[rows[first]], LEVEL)
    share, size = own.coverage(tested, labels)
    count = len(labels)
    people = len(np.unique(patients[outer.test].astype(str)))
    return {"held": round(share * count), "tested": count, "kept": round(size * count), "patients": people}


def choose(
    scores: Mapping[str, np.ndarray], truth: Target, patients: np.ndarray, method: NestedFineTune
) -> tuple[str, list[dict[str, Any]]]:
    """The candidate to take, and each candidate's quality with the standard error of the best one.

    Args:
        scores: Candidate -> scores of the validation records, the simplest candidate first.
        truth: Of the same records.
        patients: object, of the same records.
        method: Metric (higher is better; the log loss counts negative) and rule.
    """
    names = list(scores)
    values = np.array([quality(method.metric, truth, scores[name]) for name in names])
    ranked = np.where(np.isnan(values), -np.inf, values)
    best = int(np.argmax(ranked))
    error = _jackknife_error(scores[names[best]], truth, patients, method.metric)
    picked = best
    if method.rule == "one_standard_error" and np.isfinite(error):
        picked = int(np.flatnonzero(ranked >= ranked[best] - error)[0])
    table = [
        {
            "candidate": name,
            "quality": None if np.isnan(value) else float(value),
            "error": float(error) if place == best and np.isfinite(error) else None,
        }
        for place, (name, value) in enumerate(zip(names, values, strict=True))
    ]
    return names[picked], table


def _jackknife_error(scores: np.ndarray, truth: Target, patients: np.ndarray, metric: str) -> float:
    """Standard error of the quality by leaving out (groups of) patients in turn; NaN where it cannot be had."""
    codes = np.unique(patients.astype(str), return_inverse=True)[1].reshape(-1)
    groups = codes % min(_MOST_GROUPS, int(codes.max()) + 1)
    count = int(groups.max()) + 1
    values = np.array(
        [quality(metric, truth.take(np.flatnonzero(k)), scores[k]) for k in groups != np.arange(count)[:, None]]
    )
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan")
    return float(np.sqrt((len(values) - 1) / len(values) * np.square(values - values.mean()).sum()))


def inner_threshold(scores: np.ndarray, truth: Target, method: NestedFineTune) -> tuple[float, str]:
    """The threshold of two classes and how it was chosen, on recalibrated scores of validation records."""
    if truth.task != "binary":
        return 0.5, "not used"
    if method.threshold == "half":
        return 0.5, "0.5 by convention"
    found = youden(scores[:, 1], truth.values == 1)
    if found is None:
        return 0.5, "0.5, since the validation scores are all equal"
    return found, f"highest sensitivity + specificity on {len(truth)} validation records"


def majority(outcomes: Sequence[FoldOutcome], candidates: Sequence[str]) -> str:
    """The candidate that most outer folds chose; of equals the first, which is the simplest."""
    counts = Counter(o.chosen["candidate"] for o in outcomes)
    return max(candidates, key=lambda name: (counts[name], -list(candidates).index(name)))
