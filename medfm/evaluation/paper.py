"""The figures as papers give them: mean and standard deviation over folds and repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medfm.evaluation.protocol import Protocol
from medfm.evaluation.summary import Summary


def paper_average(summary: Summary, protocol: Protocol) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and standard deviation of every metric over the folds of each variant.

    Such a deviation is no interval: folds share training data, and runs share test patients.

    With several repeats (the paper's runs), ``runs`` is the mean over the folds of each, ``None`` where all are undefined.

    Returns:
        ``{variant: {metric: {"mean", "std", "n", "std_kind", "runs"}}}``; empty when the protocol does not
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
            values = np.array(fold_values([row.metrics for row in rows], name, protocol), dtype=np.float64)
            found[variant][name] = {
                "mean": float(values.mean()) if len(values) else None,
                "std": float(values.std(ddof=lost)) if len(values) > lost else None,
                "n": len(values),
                "std_kind": protocol.paper_std,
            }
            if len(repeats := sorted({row.repeat for row in rows})) > 1:
                own = [fold_values([r.metrics for r in rows if r.repeat == k], name, protocol) for k in repeats]
                found[variant][name]["runs"] = [float(np.mean(run)) if run else None for run in own]
    return found


def fold_values(rows: Sequence[Mapping[str, float | None]], name: str, protocol: Protocol) -> list[float]:
    """The figure `name` of every fold, an undefined one left out or 0 as the protocol has it (``paper_undefined``)."""
    found = [row.get(name) for row in rows]
    if protocol.paper_undefined == "zero":
        return [0.0 if value is None else value for value in found]
    return [value for value in found if value is not None]
