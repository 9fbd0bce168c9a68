"""Curves of a run on pairs: loss terms and retrieval accuracies, training and validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfm.core.files import atomic_open
from medfm.training.log import smooth

_PANELS = (
    ("total", "loss"),
    ("l1", "mean absolute difference"),
    ("adversarial", "against the discriminator"),
    ("discriminator", "discriminator"),
    ("cma", "signal and report"),
    ("uma", "signal and itself"),
    ("contrast", "picture and text"),
    ("caption", "writing the text"),
    ("image_to_text", "picture to text"),
    ("text_to_image", "text to picture"),
    ("scale", "multiplier"),
    ("top1", "found first (share)"),
    ("top5", "found among 5 (share)"),
    ("zero_shot_auroc", "zero-shot AUROC"),
)


def draw_curves(path: str | Path, rows: Sequence[dict[str, Any]], title: str, kept: int | None = None) -> None:
    """Every logged term over the steps as a PNG: thin as measured, thick as running mean, dots on validation.

    Args:
        path: File to write.
        rows: Lines of a log; validation values are under ``val_NAME`` in the last line of an epoch.
        title: Shown above.
        kept: Epoch that was kept; marked by a vertical line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(n, label) for n, label in _PANELS if any(n in row or f"val_{n}" in row for row in rows)]
    figure = Figure(figsize=(7.5, 1.0 + 1.5 * max(len(panels), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(len(panels), 1), 1, sharex=True, squeeze=False)
    window = max(1, math.ceil(len(rows) / 20))
    ends = [row["step"] + 1 for row in rows if row.get("epoch") == kept]
    for axis, (name, label) in zip(grid[:, 0], panels, strict=False):
        trained = [(row["step"] + 1, row[name]) for row in rows if name in row]
        if trained:
            steps, values = zip(*trained, strict=True)
            axis.plot(steps, values, linewidth=0.6, color="0.75")
            axis.plot(steps, smooth(values, window), linewidth=1.6, color="tab:blue", label="training")
        judged = [(row["step"] + 1, row[f"val_{name}"]) for row in rows if f"val_{name}" in row]
        if judged:
            axis.plot(
                *zip(*judged, strict=True), "o-", markersize=3, linewidth=1, color="tab:orange", label="validation"
            )
        if ends:
            axis.axvline(max(ends), color="0.4", linewidth=0.8, linestyle=":", label=f"epoch {kept} is kept")
        axis.set_ylabel(label, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    if panels:
        grid[0, 0].legend(fontsize=8, frameon=False)
    grid[-1, 0].set_xlabel("step")
    figure.suptitle(title)
    with atomic_open(path) as handle:
        figure.savefig(handle, format="png", dpi=110)
