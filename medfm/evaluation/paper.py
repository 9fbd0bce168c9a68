"""The figures as papers give them: mean and standard deviation over folds and repeats."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfm.evaluation.protocol import Protocol
from medfm.evaluation.summary import Summary


def paper_average(summary: Summary, protocol: Protocol) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and standard deviation of every metric over the folds of each variant.

    Such a deviation is no interval: folds share training data, and runs share test patients.

    Returns:
        ``{variant: {metric: {"mean", "std", "n", "std_kind"}}}``; empty when the protocol does not
        average. ``std`` is ``None`` for a sample deviation of a single fold.
    """
    if protocol.paper_average == "none":
        return {}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    lost = 1 if protocol.paper_std == "sample" else 0
    for variant in dict.fromkeys(row.variant for row in summary.folds):
        rows = [row for row in summary.folds if row.variant == variant]
        names = dict.fromkeys(name for row in rows for name in row.metrics)
        found[variant] = {}
        for name in names:
            values = np.array([v for row in rows if (v := row.metrics.get(name)) is not None], dtype=np.float64)
            found[variant][name] = {
                "mean": float(values.mean()) if len(values) else None,
                "std": float(values.std(ddof=lost)) if len(values) > lost else None,
                "n": len(values),
                "std_kind": protocol.paper_std,
            }
    return found
