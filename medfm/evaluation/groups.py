"""Figures by site and by subgroup, with small cells suppressed, and gaps between groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.core.names import did_you_mean
from medfm.evaluation.bootstrap import collect
from medfm.evaluation.group_gaps import with_intervals
from medfm.evaluation.metrics import Metric, number
from medfm.evaluation.metrics_labels import class_recall, selection_rate
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan, columns_of
from medfm.evaluation.statistics_estimates import Sample, cluster_ids, estimate
from medfm.evaluation.summary import Estimate, GroupGap, GroupRow

AGE_EDGES = (18, 40, 65, 80)
MISSING = "missing"
JOINED = " × "


def age_bands(ages: pd.Series) -> np.ndarray:
    """``0-17``, ``18-39``, ``40-64``, ``65-79``, ``80+`` or ``missing`` for each age in years: str (n,)."""
    years = pd.to_numeric(ages, errors="coerce").to_numpy(dtype=np.float64)
    lower = (0, *AGE_EDGES)
    names = [f"{a}-{b - 1}" for a, b in zip(lower, AGE_EDGES, strict=False)] + [f"{AGE_EDGES[-1]}+"]
    place = np.searchsorted(AGE_EDGES, np.nan_to_num(years), side="right")
    return np.where(np.isnan(years) | (years < 0), MISSING, np.array(names)[place]).astype(str)


def group_values(table: pd.DataFrame, column: str) -> np.ndarray:
    """The group of each row under `column`: str (n,); ages in bands, gaps as ``missing``.

    Columns joined by ``*`` give their intersections, ``f × 40-64``; missing where one of them is.

    Raises:
        EvaluationError: The predictions carry no such column.
    """
    if "*" in column and column not in table.columns:
        parts = np.stack([group_values(table, part) for part in columns_of(column)])
        return np.where((parts == MISSING).any(axis=0), MISSING, [JOINED.join(row) for row in parts.T]).astype(str)
    if column not in table.columns:
        raise EvaluationError(
            f"The predictions carry no column '{column}' for a subgroup table.",
            fix=did_you_mean(column, [str(c) for c in table.columns if ":" not in str(c)]),
        )
    if column == "age":
        return age_bands(table[column])
    texts = table[column].astype(str).str.strip()
    return texts.where(table[column].notna() & (texts != ""), MISSING).to_numpy(dtype=str)


def suppressed_cells(sizes: Sequence[int], minimum: int) -> np.ndarray:
    """Which cells of one table must be hidden: bool (m,).

    Cells below `minimum` are hidden. When what is hidden could be recovered by subtracting the
    others from the total (a single hidden cell, or hidden cells that together stay below
    `minimum`), the next smallest cells are hidden as well.
    """
    counts = np.asarray(sizes, dtype=np.int64)
    hidden = counts < minimum
    order = np.argsort(counts, kind="stable")
    for place in order:
        if not hidden.any() or (hidden.sum() >= 2 and counts[hidden].sum() >= minimum):
            break
        hidden[place] = True
    return hidden


def suppressed_crossing(names: Sequence[str], sizes: Sequence[int], minimum: int) -> np.ndarray:
    """As :func:`suppressed_cells` for intersections: bool (m,).

    The total over one part (all of ``f``) may be known from a table of its own, so that what is hidden within it must
    not follow by subtraction either: the rule is applied within every part, again until nothing changes.

    Args:
        names: ``f × 40-64`` ...; ``missing`` belongs to no part.
        sizes: Of the same cells.
        minimum: Smallest cell that may be shown.
    """
    counts = np.asarray(sizes, dtype=np.int64)
    hidden = suppressed_cells(sizes, minimum)
    pieces = [name.split(JOINED) for name in names]
    width = max((len(p) for p in pieces), default=0)
    lines = [
        np.array([j for j, p in enumerate(pieces) if len(p) == width and p[i] == value])
        for i in range(width if width > 1 else 0)
        for value in sorted({p[i] for p in pieces if len(p) == width})
    ]
    while True:
        before = hidden.copy()
        for line in lines:
            order = line[np.argsort(counts[line], kind="stable")]
            for cell in order:
                own = line[hidden[line]]
                if not len(own) or (len(own) >= 2 and counts[own].sum() >= minimum):
                    break
                hidden[cell] = True
        if (hidden == before).all():
            return hidden


def group_rows(
    predictions: Predictions,
    column: str,
    metrics: Sequence[Metric],
    plan: StatisticsPlan,
    *,
    patients_known: bool = True,
) -> tuple[GroupRow, ...]:
    """One row per value of `column`, small cells suppressed without figures or counts.

    Cells are counted in patients where these are known, otherwise in records.

    Args:
        predictions: Rows of one variant.
        column: A carried column; ``age`` is cut into bands.
        metrics: What to compute in each group.
        plan: Level, resamples, seed, minimum cell.
        patients_known: Whether patient ids can be trusted.
    """
    table = predictions.table
    values = group_values(table, column)
    names = sorted(set(values), key=lambda v: (v == MISSING, _natural(v)))
    ids, _ = cluster_ids(table, patients_known)
    sizes = [len(np.unique(ids[values == name])) for name in names]
    rows = []
    for name, size, hide in zip(names, sizes, suppressed_crossing(names, sizes, plan.minimum_cell), strict=True):
        if hide:
            rows.append(GroupRow(column=column, value=name, n_records=None, n_patients=None, suppressed=True))
            continue
        part = table[values == name].reset_index(drop=True)
        made = Predictions(part, predictions.task, predictions.classes, predictions.target)
        sample = Sample.of(made, plan, patients_known=patients_known)
        estimates = estimates_of(sample, metrics)
        rows.append(
            GroupRow(column=column, value=name, n_records=sample.n_records, n_patients=size, estimates=estimates)
        )
    return tuple(rows)


def estimates_of(sample: Sample, metrics: Sequence[Metric]) -> tuple[Estimate, ...]:
    """The metrics of one sample with their intervals."""
    point = Weighted(sample.outcomes, np.ones((len(sample.outcomes), 1)))
    drawn: dict[str, np.ndarray] = {}
    if sample.plan.resamples and sample.clusters.count > 1:
        drawn = collect(
            sample.outcomes,
            sample.clusters,
            {m.name: m.compute for m in metrics},
            resamples=sample.plan.resamples,
            seed=sample.plan.seed,
        )
    positive = {"auroc": 1} if sample.outcomes.task == "binary" else {}
    return tuple(
        estimate(sample, m, float(m.compute(point)[0]), drawn.get(m.name), positive=positive.get(m.name))
        for m in metrics
    )


def fairness_gaps(outcomes: Outcomes, groups: np.ndarray) -> dict[str, float | None]:
    """Largest differences between groups of a binary task's decisions (Fairlearn's definitions).

    Args:
        outcomes: A binary task.
        groups: (n,) group of each record; leave suppressed groups out before.

    Returns:
        ``equal_opportunity_difference`` (of the sensitivities), ``equalized_odds_difference`` (the
        larger of those of sensitivity and false-positive rate), ``demographic_parity_difference``
        (of the share predicted positive); ``None`` with fewer than two groups where defined.
    """
    names = np.unique(groups)
    weights = (np.asarray(groups)[:, None] == names[None, :]).astype(np.float64)
    view = Weighted(outcomes, weights)
    recall = class_recall(view)
    true_rate, false_rate, selected = recall[1], 1 - recall[0], selection_rate(view)
    odds = [gap for gap in (_range(true_rate), _range(false_rate)) if gap is not None]
    return {
        "equal_opportunity_difference": _range(true_rate),
        "equalized_odds_difference": max(odds) if len(odds) == 2 else None,
        "demographic_parity_difference": _range(selected),
    }


def group_gaps(
    predictions: Predictions, rows: Sequence[GroupRow], level: float = 0.95, *, patients_known: bool = True
) -> tuple[GroupGap, ...]:
    """:func:`fairness_gaps` with intervals, between the groups of one column that are not suppressed.

    Args:
        predictions: A binary task, rows of one variant.
        rows: From :func:`group_rows`, all of one column; the group of missing values is left out.
        level: Of the intervals.
        patients_known: Whether patient ids can be trusted.
    """
    shown = [row.value for row in rows if not row.suppressed and row.value != MISSING]
    if len(shown) < 2:
        return ()
    column = rows[0].column
    values = group_values(predictions.table, column)
    kept = np.isin(values, shown)
    found = fairness_gaps(Outcomes.of(predictions).take(kept), values[kept])
    part = Predictions(
        predictions.table[kept].reset_index(drop=True), predictions.task, predictions.classes, predictions.target
    )
    ids, _ = cluster_ids(part.table, patients_known)
    clusters = ids if len(np.unique(ids)) < len(ids) else None
    return with_intervals(found, column, part, values[kept], clusters, level)


def _range(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return number(defined.max() - defined.min()) if len(defined) >= 2 else None


def _natural(text: str) -> tuple[int, float, str]:
    head = text.split("-")[0].rstrip("+")
    return (0, float(head), text) if head.replace(".", "", 1).isdigit() else (1, 0.0, text)
