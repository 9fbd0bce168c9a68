"""Calibration of absolute risks at the horizon: predicted against observed risk, and a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medfm.evaluation.summary import Estimate
from medfm.reporting.figures import COLOURS, GREY, Plot, draw
from medfm.reporting.tables import Table, with_interval
from medfm.reporting.words import count, figure, word


def calibration_plot(absolute: Mapping[str, Any], unit: str = "") -> Plot:
    """Observed against predicted risk by group, with pointwise intervals, beside the diagonal.

    Args:
        absolute: Of :func:`medfm.evaluation.survival_summary.absolute_figures`.
        unit: Of the horizon, such as ``" months"``.
    """
    groups = absolute["groups"]
    x = np.array([g["predicted"] for g in groups])
    y = np.array([g["observed"] for g in groups])
    ends = [(g["observed"] if g["low"] is None else g["low"], g["observed"] if g["high"] is None else g["high"]) for g in groups]  # fmt: skip
    at = f"{absolute['horizon']:g}{unit}"

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        top = float(max(x.max(), *(high for _, high in ends), 0.05)) * 1.06
        axes.plot([0, top], [0, top], "--", color=GREY, linewidth=0.8)
        for place, (low, high) in zip(x, ends, strict=True):
            axes.plot([place, place], [low, high], color=COLOURS[0], linewidth=1.2, alpha=0.6)
        axes.plot(x, y, "o", color=COLOURS[0], markersize=5)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_box_aspect(1)
        axes.set_xlabel(f"predicted risk by {at}")
        axes.set_ylabel("observed risk")

    said = "; ".join(f"{figure(a)} predicted, {figure(b)} observed" for a, b in zip(x, y, strict=True))
    return Plot(
        f"Calibration of the risk by {at}",
        draw(paint, 4.0),
        f"Calibration of the absolute risk by {at}, by group of predicted risk: {said}.",
        f"On the dashed diagonal as many have the event by {at} as predicted. Points: {count(len(groups), 'group')} of "
        "about equal size by predicted risk; lines: pointwise intervals.",
    )


def calibration_table(absolute: Mapping[str, Any], unit: str = "", competing: bool = False) -> Table:
    """The figures of calibration with their intervals."""
    rows = []
    for entry in absolute["figures"]:
        found = Estimate(**entry)
        title = word(found.metric)
        rows.append((title.title, with_interval(found), title.meaning))
    first, last = absolute["span"]
    said = ""
    if competing:
        said = " Predicted risks count competing events (cause-specific hazards of both)."
    note = (
        f"At {absolute['horizon']:g}{unit}; records censored before are weighted for (inverse probability of censoring, from "
        f"the training records), and intervals take these weights as given.{said} The integrated Brier score above covers "
        f"{figure(first)} to {figure(last)}{unit}."
    )
    return Table(("figure", "value", "meaning"), tuple(rows), note, figures=False)
