"""Batch effect: how strongly the site (scanner, laboratory) shows in an embedding.

Two views. How well a linear model tells the site of patients it has not seen (balanced accuracy
against 1 / sites), and how far the nearest neighbours of a record mix sites (after the idea of
kBET, Büttner et al., Nature Methods 16, 2019): 1 means as by chance, 0 means sites lie apart.
Sites that differ in their patients or classes differ in the embedding for good reason, so neither
figure alone proves an artefact.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.randomness import generator
from medfm.evaluation.bootstrap import Clusters
from medfm.evaluation.groups import estimates_of
from medfm.evaluation.metrics import metric
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.summary import BatchEffect

_BLOCK = 1024


def batch_effect(
    values: np.ndarray,
    sites: Sequence[str | None] | np.ndarray,
    patients: Sequence[str] | np.ndarray | None = None,
    *,
    column: str = "site",
    k: int = 15,
    folds: int = 5,
    plan: StatisticsPlan | None = None,
    max_records: int = 4000,
) -> BatchEffect | None:
    """How well the site can be told from the embedding, and how far neighbours mix.

    Args:
        values: float (n, d) embeddings, finite.
        sites: n site names; records without one (``None``, NaN, empty) are left out.
        patients: n patient ids; ``None`` when unknown (every record is then its own).
        column: Name of the site column, for the report.
        k: Neighbours looked at.
        folds: Of the cross-validation, grouped by patient.
        plan: Level, resamples and seed.
        max_records: A random part of this size is used when there are more (whole patients).

    Returns:
        ``None`` with fewer than two sites. The accuracy is ``None``, with a note, when some site
        has fewer than two patients: its patients and the site cannot then be told apart.

    Raises:
        EvaluationError: Lengths differ.
    """
    plan = plan if plan is not None else StatisticsPlan()
    x = np.asarray(values, dtype=np.float32)
    given = np.array([_name(site) for site in sites], dtype=str)
    ids = np.arange(len(x)).astype(str) if patients is None else np.asarray(patients).astype(str)
    if x.ndim != 2 or not len(x) == len(given) == len(ids):
        raise EvaluationError("Embeddings, sites and patients differ in length.", expected="one of each per record")
    rng = generator(plan.seed)
    kept = _subset(ids, given != "", max_records, rng)
    x, given, ids = x[kept], given[kept], ids[kept]
    names, site = np.unique(given, return_inverse=True)
    if len(names) < 2:
        return None
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    notes = []
    if int((np.array([_name(s) for s in sites]) != "").sum()) > len(kept):
        notes.append(f"computed on {len(kept)} records drawn at random by patient")
    if patients is None:
        notes.append("patients are unknown: records of one patient on both sides make the site look easier to tell")
    per_site = [len(np.unique(ids[site == s])) for s in range(len(names))]
    accuracy = None
    parts = min(folds, min(per_site))
    if parts < 2:
        notes.append("a site has a single patient, so its accuracy cannot be told apart from that patient's")
    else:
        predicted, scores = _cross_validated(x, site, ids, parts, plan.seed)
        task: TaskKind = "binary" if len(names) == 2 else "multiclass"
        outcomes = Outcomes(task, tuple(names), site.astype(np.int64), predicted, scores)
        sample = Sample(outcomes, Clusters.of(ids, site), plan, len(x), patients_known=patients is not None)
        (accuracy,) = estimates_of(sample, [metric("balanced_accuracy", task)])
    near = min(k, len(x) - 1)
    mixing = knn_mixing(x, site, ids, near)
    return BatchEffect(
        column=column,
        sites=tuple(map(str, names)),
        balanced_accuracy=accuracy,
        chance=1.0 / len(names),
        knn_mixing=mixing,
        k=near,
        note="; ".join(notes),
    )


def knn_mixing(values: np.ndarray, sites: np.ndarray, patients: np.ndarray, k: int) -> float | None:
    """Share of other-site records among the k nearest of other patients, against its expectation.

    Euclidean distance. A patient's own records are not looked at: they lie near one another
    whatever the site.

    Args:
        values: float (n, d).
        sites: int (n,).
        patients: (n,) ids.
        k: Neighbours; fewer where a record has fewer candidates.

    Returns:
        Mean ratio in [0, 1] (mixing beyond chance counts as 1), ``None`` when no record has a
        candidate of another site.
    """
    x = np.ascontiguousarray(values, dtype=np.float32)
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    owner = owner.reshape(-1)
    squares = (x**2).sum(axis=1)
    seen, expected = [], []
    for first in range(0, len(x), _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, len(x)))
        distance = squares[rows, None] + squares[None, :] - 2 * (x[rows] @ x.T)
        own = owner[rows, None] == owner[None, :]
        distance[own] = np.inf
        other = (sites[rows, None] != sites[None, :]) & ~own
        candidates = (~own).sum(axis=1)
        near = np.argpartition(distance, k - 1, axis=1)[:, :k] if k < len(x) else np.argsort(distance, axis=1)[:, :k]
        valid = np.isfinite(np.take_along_axis(distance, near, axis=1))
        hits = (np.take_along_axis(other, near, axis=1) & valid).sum(axis=1)
        good = (candidates > 0) & other.any(axis=1)
        seen.append(hits[good] / np.maximum(valid.sum(axis=1)[good], 1))
        expected.append(other.sum(axis=1)[good] / candidates[good])
    observed, chance = np.concatenate(seen), np.concatenate(expected)
    return float(min(1.0, observed.mean() / chance.mean())) if len(observed) else None


def _cross_validated(
    x: np.ndarray, site: np.ndarray, patients: np.ndarray, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-fold site predictions: int64 (n,) and probabilities (n, sites)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    size = int(site.max()) + 1
    scores = np.full((len(x), size), 1.0 / size)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(x, site, patients):
        present = np.unique(site[train])
        if len(present) < 2:
            # One site in training: nothing to learn, the prediction stays at chance.
            continue
        with warnings.catch_warnings():
            # Stopping a little short of the optimum does not matter for this figure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=200).fit(x[train], site[train])
        found = np.zeros((len(test), size))
        found[:, present] = model.predict_proba(x[test])
        scores[test] = found
    return scores.argmax(axis=1).astype(np.int64), scores


def _subset(patients: np.ndarray, known: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Rows with a known site; whole patients drawn at random until `most` records are reached."""
    rows = np.flatnonzero(known)
    if len(rows) <= most:
        return rows
    _, owner, sizes = np.unique(patients[rows], return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    taken = order[: max(2, int(np.searchsorted(np.cumsum(sizes[order]), most, side="right")))]
    return np.asarray(rows[np.isin(owner.reshape(-1), taken)])


def _name(site: object) -> str:
    missing = site is None or (isinstance(site, float) and np.isnan(site))
    return "" if missing else str(site).strip()
