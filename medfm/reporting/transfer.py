"""The distribution-shift table as text, Markdown and a self-contained page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from medfm.evaluation.summary import Estimate
from medfm.reporting.card import markdown
from medfm.reporting.html import render_page
from medfm.reporting.tables import Table, with_interval
from medfm.reporting.words import figure

_WIDTH = 100
HEADER = ("source", "target", "result", "classes", "AUROC over shared classes", "over all classes")


def transfer_page(found: Mapping[str, Any]) -> str:
    """One self-contained page; `found` is ``TransferTable.to_dict()``."""
    table = Table(HEADER, tuple(_row(row) for row in found["rows"]), figures=False)
    return render_page(
        "transfer.html.j2",
        title=found["title"],
        about=_about(found),
        table=table,
        classes=[(_pair(row), _classes(row)) for row in found["rows"]],
        notes=found["notes"],
    )


def transfer_markdown(found: Mapping[str, Any]) -> str:
    """The table, the classes behind each figure, and the notes."""
    lines = [f"# {markdown(found['title'])}", "", markdown(_about(found)), ""]
    lines += [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    lines += [f"| {' | '.join(markdown(cell) for cell in _row(row))} |" for row in found["rows"]]
    lines += ["", *(f"- {markdown(_pair(row))}: {markdown(_classes(row))}" for row in found["rows"])]
    return "\n".join([*lines, "", *(f"- Note: {markdown(note)}" for note in found["notes"])]) + "\n"


def transfer_lines(found: Mapping[str, Any]) -> str:
    """The same for a terminal: one block per pair."""
    lines = [found["title"], *_wrap(_about(found)), ""]
    for row in found["rows"]:
        _, _, result, classes, mean, every = _row(row)
        lines += [_pair(row), f"  {result}", f"  AUROC over {classes} classes {mean}; over all {every}"]
        lines += [*_wrap(_classes(row), "  "), ""]
    return "\n".join([*lines, *(line for note in found["notes"] for line in _wrap(f"Note: {note}"))])


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent="  ")


def _about(found: Mapping[str, Any]) -> str:
    return (
        f"Map {found['map_id']} ({found['sourcing']}): {found['source'].rstrip('.')}. Predictions “{found['variant']}”."
    )


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    used = sum(value is not None for value in row["classes"].values())
    return (
        row["source"],
        row["target"],
        row["result"] if row["cohort"] in row["result"] else f"{row['result']} ({row['cohort']})",
        f"{used} of {row['n_classes']}",
        with_interval(Estimate(**row["mean"])),
        with_interval(Estimate(**row["all_classes"])),
    )


def _pair(row: Mapping[str, Any]) -> str:
    return f"{row['source']} → {row['target']}"


def _classes(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {figure(value)}" for name, value in row["classes"].items())
