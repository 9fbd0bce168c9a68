"""The report's section on a retrieval: figures by direction, where right answers stand, examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medfm.evaluation.protocol import Protocol
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.retrieval_metrics import direction_words, parts
from medfm.reporting.figures import COLOURS, GREY, Plot, draw
from medfm.reporting.result import Result
from medfm.reporting.retrieval_search import SearchFacts
from medfm.reporting.tables import Table, with_interval
from medfm.reporting.words import count, figure

_EXAMPLES = 5
_BARS = 40
_LONGEST_TEXT = 300


def retrieval_section(result: Result) -> dict[str, Any] | None:
    """What ``_retrieval.html.j2`` shows; ``None`` for results of another kind."""
    method = result.protocol.method
    if result.summary.task != "retrieval" or not isinstance(method, Retrieval):
        return None
    table = result.predictions.of_variant().table
    search = SearchFacts.of(result)
    return {
        "search": search.lines,
        "trust": search.table,
        "table": figure_table(result),
        "plots": [rank_plot(table, direction, search.depth) for direction in method.directions],
        "examples": [_example_tables(result, table, direction) for direction in method.directions],
        "counts": _counts(table, result.protocol),
        "with_text": bool(result.extras.get("shown_texts")),
    }


def examples(table: pd.DataFrame, direction: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The best and the worst queries of a direction: rows of predictions, ties in order of the record id."""
    ranked = table.assign(record_id=table["record_id"].astype(str))
    column = f"{direction}:rank"
    best = ranked.sort_values([column, "record_id"], kind="stable").head(_EXAMPLES)
    worst = ranked.sort_values([column, "record_id"], ascending=[False, True], kind="stable").head(_EXAMPLES)
    return best, worst


def figure_table(result: Result) -> Table:
    """A row per figure, a column per direction, each with its interval, and what guessing would give."""
    chance: dict[str, float] = result.extras.get("chance", {})
    cells: dict[str, dict[str, tuple[str, str]]] = {}
    directions: list[str] = []
    for estimate in result.summary.headline:
        split = parts(estimate.metric)
        if split is None:
            continue
        direction, name = split
        directions += [direction] if direction not in directions else []
        guess = chance.get(estimate.metric)
        cells.setdefault(name, {})[direction] = (with_interval(estimate), "–" if guess is None else figure(guess))
    header = ["figure"]
    for direction in directions:
        header += [direction_words(direction), "guessing"]
    rows = [
        (_title(name), *(cell for d in directions for cell in found.get(d, ("–", "–"))))
        for name, found in cells.items()
    ]
    return Table(
        tuple(header),
        tuple(rows),
        "Brackets give the confidence interval; guessing is the exact mean over random orders.",
    )


def rank_plot(table: pd.DataFrame, direction: str, depth: int | None = None) -> Plot:
    """How many queries have their first right answer at each rank, up to `depth` where only so many were listed."""
    found = table[f"{direction}:rank"].to_numpy(dtype=np.float64)
    ranks, candidates = found[np.isfinite(found)], int(table[f"{direction}:candidates"].max())
    most = candidates if depth is None else min(depth, candidates)
    edges = np.unique(np.round(np.geomspace(1, max(most, 2), _BARS + 1)).astype(np.int64))
    edges = np.append(edges, edges[-1] + 1)

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        counts, _ = np.histogram(ranks, bins=edges)
        # By hand: a histogram over a logarithmic axis; each bar goes to the next whole rank.
        axes.bar(
            edges[:-1], counts, width=np.diff(edges), align="edge", color=COLOURS[0], edgecolor="white", linewidth=0.3
        )
        if depth is None:
            middle = float(np.median(ranks))
            axes.axvline(max(middle, 1.0), linestyle="--", color=GREY, linewidth=1.2)
            axes.text(max(middle, 1.0), 1.01, f" median {middle:g}", transform=axes.get_xaxis_transform(), fontsize=9)
        axes.set_xscale("log")
        ticks = [t for t in (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000) if t <= most] or [1]
        axes.set_xticks(ticks, [f"{t:,}".replace(",", "\u202f") for t in ticks])
        axes.minorticks_off()
        axes.set_xlim(0.9, max(most, 2) * 1.15)
        axes.set_xlabel("rank of the first right answer")
        axes.set_ylabel("queries")

    name = direction_words(direction)
    if depth is not None:
        beyond = (
            f"{count(len(found) - len(ranks), 'query', 'queries')} of {len(found)} found none among the first {most}"
        )
        return Plot(
            f"Ranks to {most}, {name}",
            draw(paint, 2.9),
            f"Histogram of the rank of the first right answer up to {most}, {name}; {beyond}.",
            f"Rank 1 is best; {beyond} of {count(candidates, 'candidate')} and are beyond the picture.",
        )
    return Plot(
        f"Ranks, {name}",
        draw(paint, 2.9),
        f"Histogram of the rank of the first right answer, {name}; median {np.median(ranks):g} of {most} candidates.",
        f"Rank 1 is best, {count(most, 'candidate')} at most; the axis is logarithmic, so bars to the right span more ranks.",
    )


def _counts(table: pd.DataFrame, protocol: Protocol) -> list[str]:
    method = protocol.method
    assert isinstance(method, Retrieval)
    lines = []
    for direction in method.directions:
        sizes = table[f"{direction}:candidates"]
        relevant = table[f"{direction}:relevant"]
        span = count(int(sizes.max()), "candidate")
        right = f"{relevant.min()} to {relevant.max()}" if relevant.min() != relevant.max() else str(relevant.min())
        lines.append(
            f"{direction_words(direction).capitalize()}: {count(len(table), 'query', 'queries')}, {span} each, "
            f"{right} of them right."
        )
    return lines


def _example_tables(result: Result, table: pd.DataFrame, direction: str) -> dict[str, Any]:
    texts: dict[str, str] = result.extras.get("shown_texts") or {}
    header, depth = ["query", "rank", "found first"], SearchFacts.of(result).depth
    if texts:
        header = ["query", "its text", "rank", "found first", "text found"]
    made = []
    for rows in examples(table, direction):
        lines = []
        for row in rows.to_dict("records"):
            own, near = str(row["record_id"]), str(row[f"{direction}:nearest"] or "–")
            rank = _rank(float(row[f"{direction}:rank"]), depth) + f" of {row[f'{direction}:candidates']}"
            lines.append((own, _cut(texts.get(own)), rank, near, _cut(texts.get(near))) if texts else (own, rank, near))
        made.append(Table(tuple(header), tuple(lines), figures=False))
    return {"title": direction_words(direction).capitalize(), "best": made[0], "worst": made[1]}


def _rank(rank: float, depth: int | None) -> str:
    return f"{rank:g}" if np.isfinite(rank) else f"beyond {depth}"


def _cut(text: str | None) -> str:
    if text is None:
        return "–"
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _title(name: str) -> str:
    names = {"median_rank": "median rank", "mrr": "mean reciprocal rank", "map": "mean average precision"}
    figure_name, _, depth = name.partition("@")
    return names[figure_name] + (f" to place {depth}" if depth else "") if figure_name in names else name.upper()
