"""The flow of records into an evaluation as a diagram, and Table 1."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from medfm.reporting.figures import Plot, draw
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import count

_EDGE, _FILL, _OUT = "#3b4252", "#eef2f7", "#fdf3e7"


def participants_section(result: Result) -> dict[str, Any] | None:
    """The diagram and the table; ``None`` for results that do not say who took part."""
    entry = result.extras.get("participants")
    if not entry:
        return None
    return {"plot": flow_plot(entry), "table": table_one(entry)}


def flow_plot(entry: Mapping[str, Any]) -> Plot:
    """Boxes from the cohort's table, past what was left out, to the parts."""
    lines = [f"{count(e['records'], 'record')}: {e['reason']}" for e in entry["excluded"]]
    alt = f"{_size(entry['asked'])} in the table; left out: {'; '.join(lines) or 'none'}; used: " + "; ".join(
        f"{part['name']} {_size(part)}" for part in entry["parts"]
    )

    height = 3.1 + 0.17 * max(len(lines) - 1, 0)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(0, 10)
        axes.set_ylim(0, 10)

        def box(x: float, y: float, text: str, fill: str, anchor: str = "center") -> None:
            axes.text(
                x, y, text, ha=anchor, va="center", fontsize=9, linespacing=1.4,
                bbox={"boxstyle": "round,pad=0.5", "facecolor": fill, "edgecolor": _EDGE, "linewidth": 0.8},
            )  # fmt: skip

        def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
            axes.annotate(
                "", end, start, zorder=0,
                arrowprops={"arrowstyle": "-|>", "color": _EDGE, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip

        parts = entry["parts"]
        places = [10 * (i + 0.5) / len(parts) for i in range(len(parts))]
        axes.plot([2.6, 2.6], [9, 5.0], color=_EDGE, linewidth=0.9, zorder=0)
        arrow((2.6, 6.9), (4.45, 6.9))
        axes.plot([2.6, 2.6], [5.0, 3.0], color=_EDGE, linewidth=0.9, zorder=0)
        axes.plot([min(2.6, *places), max(2.6, *places)], [3.0, 3.0], color=_EDGE, linewidth=0.9, zorder=0)
        for place in places:
            arrow((place, 3.0), (place, 1.95))
        box(2.6, 9.0, f"In the table\n{_size(entry['asked'])}", _FILL)
        box(4.6, 6.9, "Left out\n" + ("\n".join(lines) or "none"), _OUT, "left")
        box(2.6, 4.6, f"Used\n{_size(entry['kept'])}", _FILL)
        for place, part in zip(places, parts, strict=True):
            box(place, 1.0, f"{part['name']}\n{_size(part, apart=True)}", _FILL)

    caption = (
        "Records from the cohort's table to the evaluation. What was filtered before the table was read is not seen."
    )
    return Plot("Flow of records", draw(paint, height, 6.4), alt, caption)


def flow_svg(entry: Mapping[str, Any]) -> bytes:
    """The diagram as an SVG file."""
    return base64.b64decode(flow_plot(entry).uri.split(",", 1)[1])


def table_one(entry: Mapping[str, Any]) -> Table | None:
    """Characteristics by part; hidden cells say so."""
    if not entry["rows"]:
        return None
    minimum, unit = entry["minimum"], entry["unit"]
    known = unit == "patients"
    rows = [("records", *(str(p["records"]) for p in entry["parts"]))]
    if known:
        rows.append(("patients", *(str(p["patients"]) for p in entry["parts"])))
    for row in entry["rows"]:
        rows.append((f"{row['variable']}: {row['level']}", *(_cell(cell, minimum) for cell in row["cells"])))
    counted = "Age, sex and site are counted in patients, labels in records." if known else "Counted in records."
    note = (
        f"{counted} “hidden”: fewer than {minimum} {unit}, or a figure from which such a number would follow. "
        "The parts are described, not compared by tests."
    )
    return Table(("", *(p["name"] for p in entry["parts"])), tuple(rows), note)


def _cell(cell: Mapping[str, Any] | None, minimum: int) -> str:
    if cell is None:
        return "hidden"
    if "median" in cell:
        return f"{cell['median']:.4g} ({cell['low']:.4g}–{cell['high']:.4g})"
    return f"{cell['n']} ({cell['percent']:.0f} %)"


def _size(part: Mapping[str, Any], apart: bool = False) -> str:
    records = count(part["records"], "record")
    if part["patients"] is None:
        return records
    return f"{records}{chr(10) if apart else ', '}{count(part['patients'], 'patient')}"
