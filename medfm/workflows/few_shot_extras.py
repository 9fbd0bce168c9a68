"""What stands beside the figures of a few-shot run: the learning curve and the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfm.core.errors import EvaluationError
from medfm.evaluation.few_shot import REFERENCE, ZERO_SHOT
from medfm.evaluation.multiple import holm
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.summary import Summary
from medfm.workflows.compare import compare


@dataclass(frozen=True)
class _Part:
    """One variant as a result of its own, for the comparison."""

    predictions: Predictions
    summary: Summary
    title: str


def few_shot_extras(
    predictions: Predictions, summary: Summary, plan: Protocol, levels: Sequence[int], texts: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Plain data for ``extras["few_shot"]``: ``levels, curve, comparison, texts``.

    ``curve`` has a row per series, number of shots and headline metric: ``series, shots, metric,
    value, low, high`` (patient-clustered) and ``draws``, the figure of every single draw.
    """
    top = levels[-1]
    series: list[tuple[str, int | None, str]] = []
    for k in levels:
        series.append((plan.id, k, MAIN if k == top else f"shots={k}"))
        series.append((REFERENCE, k, f"{REFERENCE},shots={k}"))
    series.append((ZERO_SHOT, None, ZERO_SHOT))
    present = set(predictions.variants)
    curve = [
        {
            "series": name,
            "shots": k,
            "metric": head.metric,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "draws": _draws(summary, variant, head.metric),
        }
        for name, k, variant in series
        if variant in present
        for head in summary.headline
        for found in [summary.estimate(head.metric, variant)]
    ]
    return {
        "levels": list(levels),
        "curve": curve,
        "comparison": _comparison(predictions, summary, plan, levels),
        "texts": None if texts is None else dict(texts),
    }


def _draws(summary: Summary, variant: str, metric: str) -> list[float]:
    """The metric of every draw; folds of one draw are averaged."""
    by_draw: dict[int, list[float]] = {}
    for row in summary.folds:
        value = row.metrics.get(metric)
        if row.variant == variant and value is not None:
            by_draw.setdefault(row.repeat, []).append(value)
    return [sum(values) / len(values) for values in by_draw.values()]


def _comparison(
    predictions: Predictions, summary: Summary, plan: Protocol, levels: Sequence[int]
) -> dict[str, Any] | None:
    """The method against the plain linear probe on the same shots and records, paired; Holm over all rows."""
    if f"{REFERENCE},shots={levels[-1]}" not in predictions.variants:
        return None
    rows = []
    for k in levels:
        parts = [
            _Part(_as_main(predictions, variant), summary, title)
            for variant, title in (
                (f"{REFERENCE},shots={k}", REFERENCE),
                (MAIN if k == levels[-1] else f"shots={k}", plan.id),
            )
        ]
        try:
            found = compare(
                parts[0],
                parts[1],
                metrics=[estimate.metric for estimate in summary.headline],
                seed=plan.statistics.seed,
                resamples=max(plan.statistics.resamples, 1),
                level=plan.statistics.level,
            ).to_dict()
        except EvaluationError:  # a metric that is undefined on these records; the curve says so by itself
            continue
        rows += [
            {key: row[key] for key in ("metric", "title", "first", "second", "difference", "low", "high", "p")}
            | {"shots": k}
            for row in found["rows"]
        ]
    known = [row for row in rows if row["p"] is not None]
    for row in rows:
        row["p_holm"] = None
    for row, p in zip(known, holm([row["p"] for row in known]), strict=True):
        row["p_holm"] = float(p)
    return {"reference": REFERENCE, "method": plan.id, "level": plan.statistics.level, "rows": rows}


def _as_main(predictions: Predictions, variant: str) -> Predictions:
    own = predictions.of_variant(variant)
    return Predictions(own.table.assign(variant=MAIN), own.task, own.classes, own.target)
