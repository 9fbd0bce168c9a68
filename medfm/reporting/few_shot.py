"""What a report says of a few-shot result: the learning curve, the comparison, the texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medfm.reporting.figures import GREY, Plot, colour, draw
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import chance_level, figure, signed, word
from medfm.reporting.zero_shot import Notice

KEY = "few_shot"
_REFERENCE, _ZERO_SHOT = "linear-probe", "zero-shot"
_NAMES = {_REFERENCE: "plain linear probe", _ZERO_SHOT: "texts alone (zero-shot)"}
_MOST_PROMPTS = 400


def few_shot_section(result: Result) -> dict[str, Any] | None:
    """What the template ``_few_shot.html.j2`` shows; ``None`` for results of another kind."""
    extras = result.extras.get(KEY)
    if not isinstance(extras, Mapping):
        return None
    metrics = list(dict.fromkeys(row["metric"] for row in extras["curve"]))
    few = result.protocol.few_shot
    return {
        "plots": [_curve_plot(result, extras["curve"], metric) for metric in _drawn(metrics)],
        "table": _curve_table(extras["curve"], metrics[0]) if metrics else None,
        "metric": word(metrics[0]).title if metrics else "",
        "draws": few.draws if few else 0,
        "comparison": _comparison(extras.get("comparison")),
        "texts": _texts(extras.get("texts")),
    }


def _drawn(metrics: list[str]) -> list[str]:
    """The first metric and the first ranking one; more would show the same."""
    return metrics[:1] + [m for m in metrics[1:] if m.startswith("auroc")][:1]


def few_shot_warnings(result: Result) -> list[Notice]:
    """Level, title and text of what must be known before the figures; empty for other results."""
    from medfm.evaluation.protocol_adapters import TUNED_ON_TEST

    if not isinstance(result.extras.get(KEY), Mapping) or TUNED_ON_TEST not in result.summary.notes:
        return []
    return [("stop", "Settings chosen on the test records", TUNED_ON_TEST)]


def curve_lines(result: Result) -> list[str]:
    """The learning curve of the first headline metric as lines of text."""
    extras = result.extras.get(KEY)
    if not isinstance(extras, Mapping) or not extras["curve"]:
        return []
    metric = extras["curve"][0]["metric"]
    lines = [f"{word(metric).title} by shots per class:"]
    for name, rows in _series(extras["curve"], metric).items():
        cells = [f"{'' if r['shots'] is None else str(r['shots']) + ': '}{figure(r['value'])}" for r in rows]
        lines.append(f"  {_NAMES.get(name, name)}  {'  '.join(cells)}")
    return lines


def _series(curve: list[Mapping[str, Any]], metric: str) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in curve:
        if row["metric"] == metric:
            found.setdefault(row["series"], []).append(row)
    return found


def _curve_plot(result: Result, curve: list[Mapping[str, Any]], metric: str) -> Plot:
    series = _series(curve, metric)
    levels = sorted({row["shots"] for row in curve if row["shots"] is not None})
    summary = result.summary
    chance = chance_level(metric, summary.task, len(summary.classes))

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        if chance is not None:
            axes.axhline(chance, linestyle=":", color=GREY, linewidth=1, label="guessing")
        for position, (name, rows) in enumerate(series.items()):
            _line(axes, rows, levels, colour(position), _NAMES.get(name, name), (position - 0.5) * 0.04)
        if len(levels) > 1:
            axes.set_xscale("log", base=2)
        axes.set_xticks(levels, [str(k) for k in levels])
        axes.minorticks_off()
        axes.set_xlabel("labelled records per class")
        axes.set_ylabel(word(metric).title)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        fig.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper left", ncols=2)

    level = 100 * result.protocol.statistics.level
    words = "; ".join(
        f"{_NAMES.get(name, name)} {', '.join(figure(r['value']) for r in rows)}" for name, rows in series.items()
    )
    return Plot(
        f"{word(metric).title} by shots",
        draw(paint, 3.6),
        f"{word(metric).title} by number of labelled records per class: {words}.",
        f"Line: all draws together. Band: {level:g} % confidence interval over the test patients. Dots: single draws, "
        "which differ by the records that were drawn.",
    )


def _line(axes: Axes, rows: list[Mapping[str, Any]], levels: list[int], shade: str, name: str, shift: float) -> None:
    flat = rows[0]["shots"] is None
    x = np.array([levels[0], levels[-1]] if flat else [r["shots"] for r in rows], dtype=float)
    rows = [rows[0], rows[0]] if flat else rows
    value, low, high = (
        np.array([np.nan if r[key] is None else r[key] for r in rows], dtype=float) for key in ("value", "low", "high")
    )
    axes.fill_between(x, low, high, color=shade, alpha=0.08 if flat else 0.18, linewidth=0)
    axes.plot(x, value, "--" if flat else "-o", color=shade, linewidth=1.4 if flat else 1.8, markersize=4, label=name)
    if not flat:
        for at, row in zip(x, rows, strict=True):
            many = row["draws"]
            axes.plot([at * 2**shift] * len(many), many, ".", color=shade, markersize=5, alpha=0.6)


def _curve_table(curve: list[Mapping[str, Any]], metric: str) -> Table:
    rows = []
    for name, points in _series(curve, metric).items():
        for r in points:
            ends = "–" if r["low"] is None else f"{figure(r['low'])} to {figure(r['high'])}"
            draws = r["draws"]
            spread = f"{figure(min(draws))} to {figure(max(draws))}" if len(draws) > 1 else "–"
            shots = "–" if r["shots"] is None else str(r["shots"])
            rows.append((_NAMES.get(name, name), shots, figure(r["value"]), ends, spread))
    return Table(
        ("method", "shots per class", word(metric).title, "interval", "single draws"), tuple(rows), figures=False
    )


def _comparison(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found or not found["rows"]:
        return None
    rows = []
    for row in found["rows"]:
        ends = "–" if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}"
        difference = signed(row["difference"])
        rows.append(
            (
                row["title"], str(row["shots"]), figure(row["first"]), figure(row["second"]), difference, ends,
                _p(row["p"]), _p(row["p_holm"]),
            )
        )  # fmt: skip
    header = (
        "metric", "shots", "linear probe", found["method"], "difference", f"{100 * found['level']:g} % CI", "p", "Holm"
    )  # fmt: skip
    return {"method": found["method"], "table": Table(header, tuple(rows), figures=False)}


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _texts(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    tokens = {entry["text"]: entry for entry in found.get("texts") or []}
    rows = []
    for row in found["prompts"][:_MOST_PROMPTS]:
        entry = tokens.get(row["text"])
        counted = "–" if entry is None else str(entry["tokens"])
        if entry is not None and entry["kept"] < entry["tokens"]:
            counted += f", cut to {entry['kept']}"
        rows.append((row["label"], row["text"], figure(row["weight"]), counted))
    return {
        "strategy": found["strategy"],
        "table": Table(("class", "prompt", "weight", "tokens"), tuple(rows), figures=False),
    }
