"""A comparison as one self-contained page: paired differences with their intervals, drawn and tabled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from medfm.core.files import write_text
from medfm.reporting.figures import COLOURS, GREY, Plot, draw, short
from medfm.reporting.html import render_page
from medfm.reporting.tables import Table
from medfm.reporting.words import signed

_POSSESSIVE = {"holm": "Holm's", "bh": "Benjamini and Hochberg's"}
_COLUMN = {"holm": ("p_holm", "p (Holm)"), "bh": ("p_bh", "p (BH)")}
_SHADES = {"other": COLOURS[2], "reference": COLOURS[1], None: GREY}


def comparison_page(found: Mapping[str, Any]) -> str:
    """The page of a comparison.

    Args:
        found: ``Comparison.to_dict()`` of :func:`medfm.compare`, or the JSON file it wrote.
    """
    # Files written before there was a choice have Holm's.
    correction = found.get("correction", "holm")
    groups = []
    for overlap in found["overlaps"]:
        rows = [row for row in found["rows"] if row["other"] == overlap["other"]]
        groups.append(
            {
                "title": overlap["other"],
                "size": _size(overlap),
                "plot": forest_plot(rows, found["level"], correction),
                "table": _table(rows, found["level"], correction),
                "verdicts": [row["verdict"] for row in rows],
            }
        )
    required = ""
    if found.get("required"):
        required = f"Required: better on {found['required']}: {'yes' if found['passed'] else 'no'}."
    return render_page(
        "comparison.html.j2",
        title=f"Compared with {found['reference']}",
        target=f"Target “{found['target']}” ({found['task']}), predictions “{found['variant']}”.",
        groups=groups,
        notes=found["notes"],
        required=required,
    )


def save_comparison_page(found: Mapping[str, Any], path: str | Path) -> Path:
    """Write :func:`comparison_page`, whole or not at all.

    Raises:
        StoreError: The place cannot be written to.
    """
    write_text(path, comparison_page(found))
    return Path(path)


def forest_plot(rows: Sequence[Mapping[str, Any]], level: float, correction: str = "holm") -> Plot | None:
    """One line per metric: the difference (other minus reference) and its interval around zero.

    A metric of which less is better is turned round, so that right of zero always favours the other result.
    """
    shown = [row for row in rows if row["difference"] is not None]
    if not shown:
        return None

    def paint(fig: Figure) -> None:
        axes = fig.subplots()
        for height, row in enumerate(reversed(shown)):
            sign = 1.0 if row["better"] == "higher" else -1.0
            shade = _SHADES[row["winner"]]
            if row["low"] is not None and row["high"] is not None:
                axes.plot([sign * row["low"], sign * row["high"]], [height, height], color=shade, linewidth=1.8)
            # The shape says it too, for those who cannot tell the colours apart.
            axes.plot([sign * row["difference"]], [height], "D" if row["winner"] else "o", color=shade, markersize=6)
        axes.axvline(0.0, linestyle="--", color=GREY, linewidth=0.8)
        names = [short(row["title"], 26 if row["better"] == "higher" else 18) for row in reversed(shown)]
        names = [n if r["better"] == "higher" else f"{n} (turned)" for n, r in zip(names, reversed(shown), strict=True)]
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlabel("other better →", loc="right")
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)

    turned = any(row["better"] != "higher" for row in shown)
    return Plot(
        "Differences",
        draw(paint, 1.1 + 0.32 * len(shown)),
        "Differences with their intervals; the figures are in the table.",
        f"The dot is the difference, the line its {100 * level:g} % interval (not corrected for many comparisons). A "
        f"coloured diamond is a difference shown after {_POSSESSIVE[correction]} correction, a grey dot is none."
        + (" “Turned”: less is better there, so its sign is changed for the drawing." if turned else ""),
    )


def _table(rows: Sequence[Mapping[str, Any]], level: float, correction: str) -> Table:
    key_corrected, title = _COLUMN[correction]
    cells = []
    for row in rows:
        interval = "–"
        if row["low"] is not None and row["high"] is not None:
            interval = f"{signed(row['low'])} to {signed(row['high'])}"
        cells.append(
            (
                row["title"],
                *("–" if row[key] is None else f"{row[key]:.3f}" for key in ("first", "second")),
                signed(row["difference"]),
                interval,
                *("–" if row[key] is None else _p(row[key]) for key in ("p", key_corrected)),
            )
        )
    header = ("metric", "reference", "other", "difference", f"{100 * level:g} % interval", "p", title)
    return Table(header, tuple(cells), "Differences are other minus reference.")


def _size(overlap: Mapping[str, Any]) -> str:
    patients = "patients unknown" if overlap["n_patients"] is None else f"{overlap['n_patients']} patients"
    return (
        f"{overlap['n_common']} common records, {patients} "
        f"(reference {overlap['n_reference']}, other {overlap['n_other']})."
    )


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
