"""Figures of ranking and calibration: ROC, precision-recall, reliability, decision curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medfm.evaluation.summary import Calibration, Curve, Summary
from medfm.reporting.figures import COLOURS, GREY, Plot, colour, draw, short, unit_axes
from medfm.reporting.words import figure

_MOST_PANELS = 24
_BAND = "The shaded band is the 95 % confidence interval at each point."


def roc_plot(summary: Summary) -> Plot | None:
    """ROC curves with bands, one small panel per class; ``None`` where there are none."""
    return _panels(
        summary.roc,
        "ROC curves",
        "false positive rate",
        "true positive rate",
        f"Up and to the left is better; the dashed diagonal is guessing. {_BAND}",
        diagonal=True,
    )


def pr_plot(summary: Summary) -> Plot | None:
    """Precision-recall curves with bands, one small panel per class."""
    return _panels(
        summary.pr,
        "Precision-recall curves",
        "recall (sensitivity)",
        "precision",
        f"Up and to the right is better. {_BAND}",
        diagonal=False,
    )


def _panels(
    curves: Sequence[Curve], title: str, x_label: str, y_label: str, caption: str, *, diagonal: bool
) -> Plot | None:
    shown = [c for c in curves if any(v is not None for v in c.y)][:_MOST_PANELS]
    if not shown:
        return None
    columns = 1 if len(shown) == 1 else 2 if len(shown) in (2, 4) else 3 if len(shown) <= 12 else 4
    rows = -(-len(shown) // columns)

    def paint(fig: Figure) -> None:
        grid = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, curve in zip(grid, shown, strict=False):
            if diagonal:
                axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=0.8)
            band(axes, curve, COLOURS[0])
            unit_axes(axes)
            if len(shown) > 1:
                axes.set_title(short(curve.name, {2: 30, 3: 18}.get(columns, 14)), fontsize=9)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        fig.supxlabel(x_label, fontsize=10)
        fig.supylabel(y_label, fontsize=10)

    left_out = len(curves) - len(shown)
    more = f" {left_out} further curves are not drawn." if left_out else ""
    height = 0.5 + rows * {1: 4.0, 2: 2.15, 3: 1.55}.get(columns, 1.2)
    names = ", ".join(curve.name for curve in shown)
    return Plot(title, draw(paint, height), f"{title} of {names}.", caption + more)


def band(axes: Axes, curve: Curve, shade: str, label: str | None = None, style: str = "-") -> None:
    """Draw one curve with its confidence band."""
    x, y = np.array(curve.x, float), _floats(curve.y)
    if curve.low and curve.high:
        axes.fill_between(x, _floats(curve.low), _floats(curve.high), color=shade, alpha=0.22, linewidth=0)
    axes.plot(x, y, style, color=shade, linewidth=1.6, label=label)


def reliability_plot(calibration: Calibration | None) -> Plot | None:
    """Observed frequency against stated probability, with intervals, above a histogram of the scores."""
    if calibration is None or not any(b.n for b in calibration.bins):
        return None
    bins = [b for b in calibration.bins if b.n and b.mean_score is not None and b.observed is not None]

    def paint(fig: Figure) -> None:
        top, bottom = fig.subplots(2, 1, height_ratios=[4, 1], sharex=True)
        top.plot([0, 1], [0, 1], "--", color=GREY, linewidth=0.8)
        x = np.array([b.mean_score for b in bins], float)
        y = np.array([b.observed for b in bins], float)
        low = _floats([b.observed if b.low is None else b.low for b in bins])
        high = _floats([b.observed if b.high is None else b.high for b in bins])
        top.fill_between(x, low, high, color=COLOURS[0], alpha=0.22, linewidth=0)
        top.plot(x, y, "-o", color=COLOURS[0], linewidth=1.6, markersize=4)
        top.set_ylim(-0.02, 1.02)
        top.set_ylabel("observed share right")
        edges = [b.lower for b in calibration.bins]
        widths = [b.upper - b.lower for b in calibration.bins]
        bottom.bar(edges, [b.n for b in calibration.bins], widths, align="edge", color=COLOURS[5], edgecolor="white")
        bottom.set_ylabel("count")
        bottom.set_xlabel("stated probability")
        bottom.set_xlim(-0.02, 1.02)

    return Plot(
        "Reliability",
        draw(paint, 4.4),
        f"Reliability diagram: observed frequency against stated probability; expected calibration error "
        f"{figure(calibration.ece.value)}.",
        "On the dashed diagonal a stated probability of 0.8 comes true in 80 % of the cases; below it the model is "
        "too sure of itself. The bars show how many records fall into each bin; the band is the 95 % confidence "
        "interval.",
    )


def decision_plot(summary: Summary) -> Plot | None:
    """Net benefit against threshold for the model, treating all and treating none."""
    if not summary.decision:
        return None
    models = [c for c in summary.decision if not _is_reference(c.name)]
    references = [c for c in summary.decision if _is_reference(c.name)]
    top = max((v for c in models for v in c.y if v is not None), default=0.1)
    whole = not models or len(models[0].x) < 2 or models[0].x[-1] - models[0].x[0] > 0.9

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        for position, curve in enumerate(models[:6]):
            band(axes, curve, colour(position), label=short(curve.name, 30))
        for curve, style in zip(references, ("--", ":", "-."), strict=False):
            axes.plot(curve.x, _floats(curve.y), style, color=GREY, linewidth=1.2, label=short(curve.name, 30))
        axes.set_xlim(*((0, 1) if whole else (models[0].x[0], models[0].x[-1])))
        axes.set_ylim(min(-0.05, -0.15 * top), max(top * 1.15, 0.05))
        axes.set_xlabel("threshold probability")
        axes.set_ylabel("net benefit")
        axes.legend(frameon=False, loc="best")

    return Plot(
        "Decision curve",
        draw(paint, 3.4),
        "Decision curve: net benefit of " + ", ".join(c.name for c in summary.decision) + ".",
        "If you would act above a certain probability (the threshold), the model helps where its curve lies above "
        "both acting on everybody and acting on nobody."
        + (
            " Look only at thresholds at which somebody would act; statistics.decision_range shows these alone."
            if whole
            else ""
        ),
    )


def _is_reference(name: str) -> bool:
    lowered = name.lower().replace("_", " ").replace("-", " ")
    return lowered.split(":")[-1].strip() in ("treat all", "treat none", "all", "none")


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
