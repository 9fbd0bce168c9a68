"""Figures of estimates with their intervals: per class, per variant, regression scatter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import KNN, Protocol, ZeroShot
from medfm.evaluation.similarity_config import Reconstruction
from medfm.evaluation.summary import ClassRow, Estimate, Summary
from medfm.reporting.figures import COLOURS, GREY, Plot, draw, short
from medfm.reporting.words import word

_MOST_CLASSES = 40
_AXES = {"fraction": "share of the training patients", "k": "number of neighbours"}


def class_plot(rows: Sequence[ClassRow]) -> Plot | None:
    """One line per class: the figures with their intervals, up to two metrics side by side."""
    shown = [row for row in rows if any(e.value is not None for e in row.estimates)][:_MOST_CLASSES]
    if not shown:
        return None
    metrics = list(dict.fromkeys(e.metric for row in shown for e in row.estimates))
    preferred = [m for m in ("recall", "sensitivity", "f1", "auroc", "precision") if m in metrics]
    chosen = (preferred + [m for m in metrics if m not in preferred])[:2]

    def paint(fig: Figure) -> None:
        grid = fig.subplots(1, len(chosen), squeeze=False, sharey=True)[0]
        heights = np.arange(len(shown))[::-1]
        for position, (axes, metric) in enumerate(zip(grid, chosen, strict=True)):
            for height, row in zip(heights, shown, strict=True):
                estimate = next((e for e in row.estimates if e.metric == metric), None)
                _bar(axes, estimate, float(height), COLOURS[position])
            axes.set_title(word(metric).title)
            axes.set_xlim(-0.02, 1.02)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.grid(axis="x", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
        grid[0].set_yticks(heights, [short(row.name, 20) for row in shown])
        grid[0].set_ylim(-0.7, len(shown) - 0.3)

    names = " and ".join(word(m).title for m in chosen)
    more = f" {len(rows) - len(shown)} further classes are in the table only." if len(rows) > len(shown) else ""
    return Plot(
        "Per class",
        draw(paint, 0.9 + 0.27 * len(shown)),
        f"{names} of each class with confidence intervals; the figures are in the table of classes.",
        f"The dot is the figure, the line its 95 % confidence interval.{more}",
    )


def _bar(axes: Axes, estimate: Estimate | None, height: float, shade: str) -> None:
    if estimate is None or estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [height, height], color=shade, linewidth=1.8, solid_capstyle="butt")
    axes.plot([estimate.value], [height], "o", color=shade, markersize=5)


def main_variant(protocol: Protocol) -> str:
    """What the headline would be called as a variant: ``"k=1"``, ``"fraction=1"``, or nothing."""
    parts = [f"fraction={max(protocol.fractions):g}"] if len(protocol.fractions) > 1 else []
    if isinstance(protocol.method, KNN) and len(protocol.method.k) > 1:
        parts.append(f"k={protocol.method.k[0]}")
    if isinstance(protocol.method, Reconstruction):
        parts.append(protocol.method.headline)
    if isinstance(protocol.method, ZeroShot):
        parts.append(protocol.method.strategy)
    return ",".join(parts)


def variant_plot(summary: Summary, main: str = "") -> Plot | None:
    """The first headline metric against the variants: training fraction, number of neighbours ...

    Args:
        summary: The statistics.
        main: What the headline is as a variant, such as ``"k=1"``; it is drawn beside the others.
    """
    if not summary.variants or not summary.headline:
        return None
    head = summary.headline[0]
    estimates = [e for e in summary.variants if e.metric == head.metric and e.value is not None]
    main = main if head.value is not None else ""
    if not estimates:
        return None
    if main:
        estimates = [head.model_copy(update={"variant": main}), *estimates]
    keys = {e.variant.partition("=")[0] for e in estimates}
    numeric = len(keys) == 1 and all(_number(e.variant) is not None for e in estimates)
    key = keys.pop() if numeric else ""
    points = [(_number(e.variant) or 0.0 if numeric else float(i), e) for i, e in enumerate(estimates)]
    points.sort(key=lambda point: point[0])

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        x = [point[0] for point in points]
        for at, estimate in points:
            if estimate.low is not None and estimate.high is not None:
                axes.plot([at, at], [estimate.low, estimate.high], color=COLOURS[0], linewidth=1.8)
        axes.plot(x, [e.value or 0.0 for _, e in points], "o-" if numeric else "o", color=COLOURS[0], linewidth=1)
        if numeric and min(x) > 0:
            axes.set_xscale("log")
        labels = [_label(key, at) for at, _ in points] if numeric else [short(e.variant, 16) for _, e in points]
        axes.set_xticks(x, labels, rotation=0 if len(points) < 6 else 45)
        axes.minorticks_off()
        axes.set_xlabel(_AXES.get(key, key or "variant"))
        axes.set_ylabel(word(head.metric).title)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)

    return Plot(
        f"{word(head.metric).title} by {_AXES.get(key, key or 'variant')}",
        draw(paint, 3.0),
        f"{word(head.metric).title} of the variants; the figures are in the table of variants.",
        "The line through each dot is its 95 % confidence interval.",
    )


def _number(variant: str) -> float | None:
    try:
        return float(variant.partition("=")[2])
    except ValueError:
        return None


def _label(key: str, at: float) -> str:
    return f"{100 * at:g} %" if key == "fraction" else f"{at:g}"


def regression_plots(predictions: Predictions) -> list[Plot]:
    """Predicted against true values, and residuals against predicted values."""
    table = predictions.of_variant().table
    truth, predicted = table["truth"].to_numpy(dtype=float), table["predicted"].to_numpy(dtype=float)
    if not len(truth):
        return []
    dense = len(truth) > 300

    def scatter(fig: Figure) -> None:
        axes = fig.subplots()
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        axes.plot(ends, ends, "--", color=GREY, linewidth=0.8)
        axes.scatter(truth, predicted, s=12, color=COLOURS[0], alpha=0.5, linewidths=0, rasterized=dense)
        axes.set_xlabel(f"true {short(predictions.target)}")
        axes.set_ylabel("predicted")

    def residuals(fig: Figure) -> None:
        axes = fig.subplots()
        axes.axhline(0, linestyle="--", color=GREY, linewidth=0.8)
        axes.scatter(predicted, predicted - truth, s=12, color=COLOURS[1], alpha=0.5, linewidths=0, rasterized=dense)
        axes.set_xlabel("predicted")
        axes.set_ylabel("predicted minus true")

    return [
        Plot(
            "Predicted against true",
            draw(scatter, 3.6),
            "Scatter plot of predicted against true values.",
            "On the dashed line prediction and truth agree.",
        ),
        Plot(
            "Errors",
            draw(residuals, 3.6),
            "Scatter plot of errors against predictions.",
            "An even cloud around the dashed line is what one hopes for; a slope or a funnel is a systematic error.",
        ),
    ]
