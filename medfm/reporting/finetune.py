"""The report's section on fine-tuning: before and after, rates and losses over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medfm.reporting.figures import COLOURS, GREY, Plot, draw, short
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import count, figure, signed_with_ends, with_ends, word

_MOST_GROUPS = 16
_WIDTH = 7.0
_HEAD, _OTHERS = COLOURS[1], (COLOURS[0], *COLOURS[2:6])


def finetune_section(result: Result) -> dict[str, Any] | None:
    """What the partial template needs; ``None`` where nothing was fine-tuned."""
    entry = result.extras.get("finetune")
    if not isinstance(entry, dict):
        return None
    kept = entry["kept"]
    chosen = "the last one" if kept["loss"] is None else f"lowest validation loss, {figure(kept['loss'])}"
    facts = [
        ("recipe", entry["recipe"]),
        ("what it does", entry["description"]),
        ("source", entry["source"]),
        ("epoch kept", f"{kept['epoch']} of {len(entry['rows'])}, in the stage '{kept['stage']}' ({chosen})"),
    ]
    if result.summary.task == "binary":
        threshold = entry["threshold"]
        facts.append(("threshold", f"{threshold['value']:.4f}: {threshold['chosen']}"))
    before = entry.get("before")
    return {
        "sentence": before_line(result),
        "table": None if before is None else _table(before),
        "facts": [(key, value) for key, value in facts if value],
        "plot": training_plot(entry),
        "deviations": entry["deviations"],
    }


def before_line(result: Result) -> str:
    """Whether fine-tuning helped against a probe of the untouched encoder, by the figure of the verdict."""
    from medfm.reporting.verdict import deciding

    before = result.extras.get("finetune", {}).get("before")
    if before is None:
        return "No probe of the untouched encoder stands beside it."
    decided = deciding(result)
    name = decided[0].metric if decided else result.summary.headline[0].metric
    row = next(r for r in before["rows"] if r["metric"] == name)
    title, difference = word(name).title, row["difference"]
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return f"Whether fine-tuning helped cannot be said: {title} is undefined here."
    sides = f"{figure(row['after']['value'])} against {figure(row['before']['value'])}"
    if low is None or high is None:
        return f"Fine-tuned and untouched encoder differ by {value:+.3f} in {title} ({sides}), without interval."
    sign = 1 if row["better"] == "higher" else -1
    ends = f"{100 * before['level']:g} % CI {low:+.3f} to {high:+.3f}; {sides}"
    if min(sign * low, sign * high) > 0:
        return f"Fine-tuning helped: {title} is better than by a probe of the untouched encoder by {abs(value):.3f} ({ends})."
    if max(sign * low, sign * high) < 0:
        return f"Fine-tuning did harm: {title} is worse than by a probe of the untouched encoder by {abs(value):.3f} ({ends})."
    return f"Fine-tuning is not shown to help against a probe of the untouched encoder: {title} {value:+.3f} ({ends})."


def _table(before: Mapping[str, Any]) -> Table:
    rows = []
    for row in before["rows"]:
        less = " (less is better)" if row["better"] == "lower" else ""
        p = "–" if row["p"] is None else "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        cells = (with_ends(row["after"]), with_ends(row["before"]), signed_with_ends(row["difference"]), p)
        rows.append((word(row["metric"]).title + less, *cells))
    methods = "; ".join(dict.fromkeys(row["method"] for row in before["rows"] if row["method"]))
    note = (
        f"Brackets give the {100 * before['level']:g} % confidence interval. The difference is fine-tuned minus untouched on "
        f"the same {before['common']} records{f' ({methods})' if methods else ''}; p is not corrected for the number of figures. "
        f"Untouched: {before['encoder']} under {before['protocol']}, fitted on the split 'train'."
    )
    return Table(("figure", "fine-tuned", "untouched", "difference", "p"), tuple(rows), note, figures=False)


def training_plot(entry: Mapping[str, Any]) -> Plot | None:
    """Losses, rates of every group, and which layers learn, epoch by epoch."""
    rows: list[dict[str, Any]] = list(entry["rows"])
    if not rows:
        return None
    layers = list(dict.fromkeys(name for row in rows for name in row["trainable"]))
    shown = layers[-_MOST_GROUPS:][::-1]

    def paint(fig: Figure) -> None:
        # One above the other, so that an epoch is at the same place in all three.
        axes = fig.subplots(3, 1, sharex=True, height_ratios=[3, 3, 0.8 + 0.22 * len(shown)])
        _losses(axes[0], rows, entry["kept"])
        _rates(axes[1], rows)
        _learning(axes[2], rows, shown)
        for axis in axes:
            _stage_lines(axis, rows)
        axes[2].set_xlabel("epoch")
        axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[2].set_xlim(0.5, len(rows) + 0.5)

    left_out = len(layers) - len(shown)
    more = f" The {left_out} lowest layer groups are not drawn." if left_out else ""
    return Plot(
        "Training, epoch by epoch",
        draw(paint, 4.6 + 0.22 * len(shown), _WIDTH),
        "Three panels over the epochs: losses of training and validation, learning rates by group, and a grid of the layers "
        "that learn.",
        "Top: mean loss (training with augmentation and mixing, so it may lie above validation); the ring is the epoch that was "
        "kept. Middle: each group's rate over the epoch, from its first to its last step; a rate is drawn only while its layers "
        f"learn. Bottom: which layers learn, and at the right how many of their parameters.{more} {_total(rows)} "
        "Dashed upright: a new stage.",
    )


def _thin(number: int) -> str:
    """Thousands apart with a thin space, as in the page's text."""
    return f"{number:,}".replace(",", "\u202f")


def _total(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many parameters learn at first and at last."""
    first, last = (sum(row["trainable"].values()) for row in (rows[0], rows[-1]))
    if first == last:
        return f"{count(last, 'parameter')} {'learns' if last == 1 else 'learn'} throughout."
    return f"{count(first, 'parameter')} {'learns' if first == 1 else 'learn'} at first, {_thin(last)} at last."


def _losses(axes: Axes, rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any]) -> None:
    epochs = np.arange(1, len(rows) + 1)
    axes.plot(epochs, [row["loss"] for row in rows], color=COLOURS[0], label="training", marker=".", markersize=4)
    found = [
        (e, row["validation_loss"]) for e, row in zip(epochs, rows, strict=True) if row["validation_loss"] is not None
    ]
    if found:
        axes.plot(*zip(*found, strict=True), color=COLOURS[1], label="validation", marker=".", markersize=4)
    place = next((i for i, row in enumerate(rows) if row["step"] + 1 == kept["epoch"]), None)
    if place is not None:
        row = rows[place]
        height = row["loss"] if row["validation_loss"] is None else row["validation_loss"]
        axes.plot([place + 1], [height], "o", markersize=10, fillstyle="none", color="#333333", label="kept")
    axes.set_ylabel("loss")
    axes.set_ylim(0, 1.08 * max(value for row in rows for value in (row["loss"], row["validation_loss"] or 0)) or 1)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def _rates(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["rates"]))
    many = len(names) > 8
    drawn: list[list[float]] = []
    for place, name in enumerate(names):
        x: list[float] = []
        y: list[float] = []
        for number, row in enumerate(rows):
            if name not in row["rates"] or not _awake(name, row):
                x.append(np.nan)
                y.append(np.nan)
                continue
            x += [number + 0.5, number + 1.5]
            y += [row["rates"][name], row["rates_end"][name]]
        shade = _HEAD if name == "head" else _OTHERS[(place - 1) % len(_OTHERS)]
        if many and name != "head":
            shade = f"{0.15 + 0.6 * place / len(names):.2f}"
        labelled = not many or name == "head" or place in (1, len(names) - 1)
        # Dashes: a line upon another of the same rates, or a colour that is used twice.
        twice = any(_equal(y, other) for other in drawn) or (not many and place > len(_OTHERS))
        drawn.append(y)
        style = (0, (4, 3)) if twice else "-"
        axes.plot(x, y, color=shade, linewidth=1.4, linestyle=style, label=short(name, 18) if labelled else None)
    axes.set_yscale("log")
    highest = max(max(row["rates"].values()) for row in rows)
    # The last steps of a cycle go down to nearly nothing: not they, the groups' own highest rates must be on the page.
    tops = [max(found) for ys in drawn if (found := [y for y in ys if y > 0])]
    axes.set_ylim(min(highest * 1e-4, 0.5 * min(tops, default=highest)), highest * 2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
    axes.set_ylabel("learning rate")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def _equal(one: Sequence[float], two: Sequence[float]) -> bool:
    return len(one) == len(two) and bool(np.allclose(one, two, rtol=1e-9, atol=0, equal_nan=True))


def _awake(name: str, row: Mapping[str, Any]) -> bool:
    """Whether the layers of an optimiser group learn; groups of other names than layers always do."""
    counts = row["trainable"]
    own = name.removesuffix(" (no decay)")
    return counts.get(own, 1) > 0 if own in counts else row["rates"][name] > 0 and _part_awake(own, counts)


def _part_awake(name: str, counts: Mapping[str, int]) -> bool:
    """For a quarter of the layers: whether any of them learns."""
    if not name.startswith("stage"):
        return True
    body = [layer for layer in counts if layer not in ("stem", "top", "head")]
    number = int(name.removeprefix("stage")) - 1
    low, high = (len(body) * i // 4 for i in (number, number + 1))
    return any(counts[layer] for layer in body[low:high])


def _learning(axes: Axes, rows: Sequence[Mapping[str, Any]], layers: Sequence[str]) -> None:
    for height, name in enumerate(reversed(layers)):
        most = max(row["trainable"].get(name, 0) for row in rows)
        place = (len(rows) + 0.5, height)
        said = _thin(most) if most else "–"
        axes.annotate(said, place, (4, 0), textcoords="offset points", va="center", fontsize=8, annotation_clip=False)
        for number, row in enumerate(rows):
            if row["trainable"].get(name, 0):
                axes.barh(height, 1.0, left=number + 0.5, height=0.7, color=COLOURS[2])
    axes.set_yticks(range(len(layers)), [short(name, 14) for name in reversed(layers)])
    axes.set_ylim(-0.6, len(layers) - 0.4)
    axes.tick_params(axis="y", labelsize=8)


def _stage_lines(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for number in range(1, len(rows)):
        if rows[number]["stage"] != rows[number - 1]["stage"]:
            axes.axvline(number + 0.5, color=GREY, linestyle="--", linewidth=0.8)
