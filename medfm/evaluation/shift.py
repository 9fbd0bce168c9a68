"""Batch effect: how strongly the site (scanner, laboratory) shows in an embedding.

Two views. How well a linear discriminant tells the site of patients it has not seen (balanced
accuracy against 1 / sites), and how far the nearest neighbours of a record mix sites (after the idea
of kBET, Büttner et al., Nature Methods 16, 2019): 1 means as by chance, 0 means sites lie apart.
Sites that differ in their patients or classes differ in the embedding for good reason, so neither
figure alone proves an artefact.

The interval of the accuracy resamples fixed predictions: how much another sample of patients would
have trained the model differently is not in it, so it misses 1 / sites too often where no site shows.
Whether the site shows at all is therefore judged by a permutation test (``site_discriminant.py``):
the band that the same figure falls into when the sites are dealt out anew among the patients.
"""

from __future__ import annotations

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
from medfm.evaluation.site_discriminant import SiteDiscriminant
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.summary import BatchEffect

_BLOCK = 1024
_MOST_PERMUTATIONS = 499


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
        plan: Level, resamples (also of the permutation test, at most 499) and seed.
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
    notes = []
    if int((np.array([_name(s) for s in sites]) != "").sum()) > len(kept):
        notes.append(f"computed on {len(kept)} records drawn at random by patient")
    if patients is None:
        notes.append("patients are unknown: records of one patient on both sides make the site look easier to tell")
    per_site = [len(np.unique(ids[site == s])) for s in range(len(names))]
    accuracy, low, high, p = None, None, None, None
    parts = min(folds, min(per_site))
    if parts < 2:
        notes.append("a site has a single patient, so its accuracy cannot be told apart from that patient's")
    else:
        model = SiteDiscriminant.prepare(x, site, ids, parts, plan.seed)
        scores = model.scores()
        task: TaskKind = "binary" if len(names) == 2 else "multiclass"
        outcomes = Outcomes(task, tuple(names), site.astype(np.int64), scores.argmax(axis=1), scores)
        sample = Sample(outcomes, Clusters.of(ids, site), plan, len(x), patients_known=patients is not None)
        (accuracy,) = estimates_of(sample, [metric("balanced_accuracy", task)])
        if plan.resamples:
            null = model.null(min(plan.resamples, _MOST_PERMUTATIONS), rng)
            low, high = (float(v) for v in np.quantile(null, [(1 - plan.level) / 2, (1 + plan.level) / 2]))
            observed = accuracy.value if accuracy.value is not None else 0.0
            p = float((1 + (null >= observed - 1e-12).sum()) / (1 + len(null)))
            notes.append(
                f"with the sites dealt out at random among the patients the accuracy falls between {low:.2f} and "
                f"{high:.2f} ({100 * plan.level:g} % of {len(null)} permutations; p = {p:.2g}); judge by this band "
                "whether the site shows, since the interval leaves out how the model would change with other patients"
            )
    near = min(k, len(x) - 1)
    mixing = knn_mixing(x, site, ids, near)
    return BatchEffect(
        column=column,
        sites=tuple(map(str, names)),
        balanced_accuracy=accuracy,
        chance=1.0 / len(names),
        null_low=low,
        null_high=high,
        p=p,
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
    # Distances do not change, but far from the origin the expanded square would lose digits.
    x = x - x.mean(axis=0)
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
