"""The report's section on the brain-age gap: mean and dependence on age before and after the correction, by subgroup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medfm.evaluation.predictions import MAIN
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import figure, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from medfm.reporting.figures import Plot

KEY = "brain_age"
_SIDES = (
    ("uncorrected", "gap", "predicted minus true"),
    ("corrected", "corrected_gap", "without its dependence on age"),
)
_MOST_POINTS = 2000


def brain_age_section(result: Result) -> dict[str, Any] | None:
    """What ``_brain_age.html.j2`` shows; ``None`` for results of another kind."""
    found = result.extras.get(KEY)
    if not isinstance(found, Mapping):
        return None
    rows = result.predictions.table
    rows = rows[rows["variant"] == MAIN]
    return {
        "sentence": gap_sentence(result),
        "figures": _figures(found),
        "groups": [_by(column, groups) for column, groups in found.get("corrected_gap_by", {}).items()],
        "lines": _lines(found["bias"]),
        "plot": _plot(rows),
    }


def gap_sentence(result: Result) -> str:
    """The corrected gap in a sentence; empty for results of another kind."""
    found = result.extras.get(KEY)
    if not isinstance(found, Mapping):
        return ""
    mean, tied = found["corrected"]["mean_gap"], found["corrected"]["correlation_with_age"]
    if mean["value"] is None:
        return "Brain-age gap: undefined here."
    return (
        f"Brain-age gap, corrected for age with training records alone: mean {_years(mean)} years; correlation with age "
        f"{_years(tied)} (before the correction {_years(found['uncorrected']['correlation_with_age'])})."
    )


def _years(one: Mapping[str, float | None]) -> str:
    """``"+1.234 (-0.100 to +2.000)"``: always with its sign."""
    if one["value"] is None:
        return "undefined"
    if one["low"] is None or one["high"] is None:
        return f"{signed(one['value'])} (no interval)"
    return f"{signed(one['value'])} ({signed(one['low'])} to {signed(one['high'])})"


def _figures(found: Mapping[str, Any]) -> Table:
    rows = [
        (f"{name} ({what})", _years(found[name]["mean_gap"]), _years(found[name]["correlation_with_age"]))
        for name, _, what in _SIDES
    ]
    return Table(
        ("gap", "mean, years", "correlation with age"),
        tuple(rows),
        "Brackets: confidence interval over patients. Above 0 the brain looks older than it is. Each record's gaps are the "
        "columns gap and corrected_gap of predictions.parquet.",
    )


def _by(column: str, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        (name, "hidden", "hidden") if one.get("hidden") else (name, str(one["n_patients"]), _years(one))
        for name, one in groups.items()
    ]
    return {"title": f"Corrected gap by {column}", "table": Table((column, "patients", "mean, years"), tuple(rows))}


def _lines(bias: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [(where, str(line["n"]), signed(line["slope"]), figure(line["intercept"])) for where, line in bias.items()]
    return Table(
        ("training", "records", "years of gap per year of age", "intercept, years"),
        tuple(rows),
        "The line of the gap on age that is taken away, fitted on training records that inner folds predicted.",
    )


def _plot(rows: pd.DataFrame) -> Plot:
    from medfm.reporting.figures import Plot, draw  # the terminal's sentence needs no matplotlib

    age = rows["truth"].to_numpy(np.float64)
    sides = [(f"{name}: {what}", rows[column].to_numpy(np.float64)) for name, column, what in _SIDES]
    step = max(1, -(-len(age) // _MOST_POINTS))
    return Plot(
        "Gap against age",
        draw(lambda fig: _paint(fig, age[::step], [(title, gap[::step]) for title, gap in sides]), 4.6),
        f"Two scatter plots of the brain-age gap of {len(age)} predictions against age, before and after the correction.",
        "A point per tested record. A cloud that falls with age is the pull of every regression towards the mean age; the "
        "correction should leave none." + (f" Every {step}th point is drawn." if step > 1 else ""),
    )


def _paint(fig: Figure, age: np.ndarray, sides: Sequence[tuple[str, np.ndarray]]) -> None:
    from medfm.reporting.figures import COLOURS, GREY

    both = fig.subplots(2, 1, sharex=True, sharey=True)
    for axes, (title, gap), colour in zip(both, sides, COLOURS, strict=False):
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.scatter(age, gap, s=12, color=colour, alpha=0.6, linewidths=0)
        axes.set_title(title, loc="left")
        axes.set_ylabel("gap (years)")
    both[-1].set_xlabel("true age (years)")
