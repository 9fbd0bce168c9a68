"""Figures of the embedding: the map coloured by class and by site, and the batch effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medfm.evaluation.summary import BatchEffect
from medfm.reporting.figures import COLOURS, GREY, Plot, colour, draw, marker, short
from medfm.reporting.result import Result
from medfm.reporting.words import figure, interval, sentence

_MOST_DRAWN = 4000
_MOST_GROUPS = 20


def map_plots(result: Result) -> list[Plot]:
    """The map coloured by class (or true value) and, where sites are known, by site."""
    if result.embedding_map is None or result.embedding_map.empty:
        return []
    predictions = result.predictions.of_variant()
    rows = predictions.table.assign(record_id=predictions.table["record_id"].astype(str))
    rows = rows.drop_duplicates("record_id")
    joined = result.embedding_map.merge(rows, on="record_id", how="inner")
    if joined.empty:
        return []
    if len(joined) > _MOST_DRAWN:
        joined = joined.iloc[np.linspace(0, len(joined) - 1, _MOST_DRAWN).astype(int)]
    method = str(joined["method"].iloc[0])
    plots = []
    unit = "patient" if result.kind == "mil" else "record"
    if predictions.task == "regression":
        plots.append(_by_value(joined, predictions.target, method, unit))
    elif predictions.task == "multilabel":
        frequent = max(predictions.classes, key=lambda c: float((joined[f"truth:{c}"] == 1).sum()))
        labels = joined[f"truth:{frequent}"]
        # The label stands in the title; a legend has room for few words.
        groups = np.select([labels == 1, labels == 0], ["present", "absent"], "unknown")
        plots.append(_by_group(joined, pd.Series(groups), f"the label {frequent}", method, unit))
    else:
        plots.append(_by_group(joined, joined["truth"].astype(str), "class", method, unit, list(predictions.classes)))
    if "site" in joined.columns and joined["site"].notna().any():
        sites = joined["site"].astype(object).where(joined["site"].notna(), "unknown").astype(str)
        if sites.nunique() > 1:
            plots.append(_by_group(joined, sites, "site", method, unit))
    return plots


def _by_group(
    table: pd.DataFrame, groups: pd.Series, word: str, method: str, unit: str, order: list[str] | None = None
) -> Plot:
    values = groups.to_numpy()
    counts = groups.value_counts()
    names = [n for n in (order or sorted(counts.index)) if n in counts.index]
    if len(names) > _MOST_GROUPS:
        names = sorted(names, key=lambda n: -int(counts[n]))[: _MOST_GROUPS - 1]
        values = np.where(np.isin(values, names), values, "others")
        names = [*names, "others"]
    size = 16 if len(table) < 500 else 7
    legend_rows = -(-len(names) // 2)

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        for position, name in enumerate(names):
            rows = values == name
            axes.scatter(
                table["x"].to_numpy()[rows],
                table["y"].to_numpy()[rows],
                s=size,
                color=colour(position),
                marker=marker(position),
                alpha=0.7,
                linewidths=0,
                label=short(name, 24),
                rasterized=len(table) > 300,
            )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        fig.legend(loc="outside lower center", ncols=2, frameon=False, markerscale=1.4, handletextpad=0.2)

    return Plot(
        f"Embedding by {word}",
        draw(paint, 3.6 + 0.22 * legend_rows),
        f"{method} map of the embedding, coloured by {word}.",
        f"{method}. Each point is one {unit}; near points look alike to the encoder. Distances on such a map are only "
        "a rough guide.",
    )


def _by_value(table: pd.DataFrame, target: str, method: str, unit: str) -> Plot:
    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        points = axes.scatter(
            table["x"],
            table["y"],
            c=table["truth"].astype(float),
            cmap="viridis",
            s=12,
            linewidths=0,
            rasterized=len(table) > 300,
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        fig.colorbar(points, label=short(target))

    return Plot(
        f"Embedding by {target}",
        draw(paint, 3.6),
        f"{method} map of the embedding, coloured by {target}.",
        f"{method}. Each point is one {unit}; near points look alike to the encoder.",
    )


def batch_plot(effect: BatchEffect | None) -> Plot | None:
    """How well the site can be told from the embedding, and how well neighbours mix across sites."""
    if effect is None or (effect.balanced_accuracy is None and effect.knn_mixing is None):
        return None
    estimate = effect.balanced_accuracy

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        labels = []
        if estimate is not None and estimate.value is not None:
            axes.barh([1], [estimate.value], color=COLOURS[1], height=0.5)
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [1, 1], color="black", linewidth=1.6)
            if effect.null_low is not None and effect.null_high is not None:
                # What shuffled sites give: a bar that ends inside the band shows no effect.
                axes.axvspan(
                    effect.null_low, effect.null_high, ymin=0.4, ymax=0.85, color=GREY, alpha=0.35, linewidth=0
                )
            axes.plot([effect.chance, effect.chance], [0.6, 1.4], "--", color="black", linewidth=1.2)
            axes.text(effect.chance, 1.45, "guessing", ha="center", va="bottom", fontsize=9)
            labels.append((1, f"{short(effect.column, 12)} can\nbe predicted"))
        if effect.knn_mixing is not None:
            axes.barh([0], [effect.knn_mixing], color=COLOURS[0], height=0.5)
            labels.append((0, "neighbours\nmix"))
        axes.axvline(1.0, color=GREY, linewidth=0.6)
        axes.set_yticks([at for at, _ in labels], [text for _, text in labels])
        axes.set_xlim(0, max(1.05, 1.05 * (effect.knn_mixing or 0)))
        axes.set_ylim(-0.5, 1.9)

    parts = []
    if estimate is not None:
        parts.append(f"predicting the {effect.column}: {sentence(estimate)}, guessing {figure(effect.chance)}")
    if effect.knn_mixing is not None:
        parts.append(f"mixing of the {effect.k} nearest neighbours {figure(effect.knn_mixing)}")
    shown = interval(estimate) if estimate is not None else ""
    return Plot(
        "Batch effect",
        draw(paint, 2.2),
        "Batch effect: " + "; ".join(parts) + ".",
        f"How strongly the {effect.column} shows in the embedding ({shown}). If it can be predicted far above "
        "guessing, a model may learn the scanner instead of the disease. Mixing of 1 means neighbours come from "
        f"every {effect.column} as by chance, 0 that each keeps to itself. {_as_sentence(effect.note)}".replace(
            " ()", ""
        ).strip(),
    )


def _as_sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].rstrip('.')}." if note else ""
