"""The largest differences between sites or subgroups, for the report and the documents."""

from __future__ import annotations

from medfm.evaluation.summary import GroupGap, Summary
from medfm.reporting.tables import Table
from medfm.reporting.words import figure, word


def gap_figure(gap: GroupGap) -> str:
    """``"0.120 (0.000 to 0.310)"``, or the figure alone where it has no interval."""
    if gap.low is None or gap.high is None:
        return figure(gap.value)
    return f"{figure(gap.value)} ({figure(gap.low)} to {figure(gap.high)})"


def gap_table(summary: Summary) -> Table | None:
    """A row per gap that is defined; ``None`` where there is none."""
    gaps = [gap for gap in summary.gaps if gap.value is not None]
    if not gaps:
        return None
    rows = tuple(
        (
            f"{word(gap.metric).title}, by {gap.column}",
            gap_figure(gap),
            f"{gap.highest} / {gap.lowest}" if gap.highest else "–",
        )
        for gap in gaps
    )
    return Table(
        ("difference", "largest minus smallest (CI)", "groups"),
        rows,
        "Equal opportunity: of the sensitivities. Equalised odds: of the sensitivities or of the false-positive rates, "
        "whichever is larger. Demographic parity: of the shares called positive. 0 is no difference; the interval allows "
        "for these groups having been picked as the furthest apart, and cannot go below 0. Hidden groups do not count.",
    )
