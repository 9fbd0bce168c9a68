"""The report's section on survival: curves by risk group with numbers at risk, tests, what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medfm.evaluation.survival_config import Survival
from medfm.reporting.figures import COLOURS, Plot, draw
from medfm.reporting.result import Result
from medfm.reporting.survival_risk import calibration_plot, calibration_table
from medfm.reporting.tables import Table
from medfm.reporting.words import count, figure

_ORDER = {2: (0, 1), 3: (0, 4, 1)}  # blue to vermilion


def survival_section(result: Result) -> dict[str, Any] | None:
    """What ``_survival.html.j2`` shows; ``None`` for results of another kind."""
    found = result.extras.get("survival")
    if result.summary.task != "survival" or not found:
        return None
    events = sum(g["events"] for g in found["groups"])
    total = sum(g["n"] for g in found["groups"])
    method = result.protocol.method
    by_record = isinstance(method, Survival) and method.unit == "record"
    unit = "record" if by_record or not result.summary.patients_known else "patient"
    follow_up = found["median_follow_up"]
    competing = any(g["competing"] for g in found["groups"])
    lines = [
        f"{events} of {count(total, unit)} had the event (column {result.summary.target}); "
        + (f"median follow-up {figure(follow_up)}{_unit(found)}." if follow_up is not None else "no median follow-up."),
        logrank_sentence(found["logrank"]),
        proportional_sentence(found["proportional"]),
    ]
    plots = [curve_plot(found, result.summary.target)]
    if competing:
        plots.append(incidence_plot(found, result.summary.target))
    absolute = found.get("absolute")
    if absolute:
        plots.append(calibration_plot(absolute, _unit(found)))
    return {
        "lines": [line for line in lines if line],
        "plots": plots,
        "groups": group_table(found, competing),
        "hazards": hazard_table(found["hazards"], found["codes"]),
        "absolute": calibration_table(absolute, _unit(found), competing) if absolute else None,
    }


def logrank_sentence(found: Mapping[str, Any]) -> str:
    """Whether the curves of the risk groups differ, in words."""
    if "p" not in found:
        return f"No log-rank test: {found.get('note', 'not computed')}."
    return f"Log-rank test between the risk groups: chi² {figure(found['statistic'])}, df {found['df']}, p {p_text(found['p'])}."


def proportional_sentence(found: Mapping[str, Any]) -> str:
    """What the Schoenfeld residuals say, in words."""
    if "p" not in found:
        return f"Proportional hazards: {found.get('note', 'not computed')}."
    text = f"Proportional hazards of the risk (Schoenfeld residuals against time ranks): p {p_text(found['p'])}; "
    if found["p"] < 0.05:
        return text + "the effect of the risk changes over time, so one hazard ratio does not describe it."
    return text + "no sign that the effect of the risk changes over time."


def p_text(p: float) -> str:
    """``"= 0.031"`` or ``"< 0.001"``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def group_table(found: Mapping[str, Any], competing: bool) -> Table:
    """A row per risk group: size, events, median time."""
    header = [
        "risk group",
        "tested",
        "events",
        *(["competing events"] if competing else []),
        "median time" + (f" ({found['unit']})" if found.get("unit") else ""),
    ]
    rows = []
    for g in found["groups"]:
        median = "not reached" if g["median"] is None else figure(g["median"])
        rows.append((g["name"], str(g["n"]), str(g["events"]), *([str(g["competing"])] if competing else []), median))
    return Table(
        tuple(header), tuple(rows), "Groups are cut at quantiles of the risks of each fold's training records."
    )


def hazard_table(hazards: Sequence[Mapping[str, Any]], codes: Sequence[int]) -> Table:
    """A row per cause: hazard ratio per standard deviation of the risk; its slope for the event of interest."""
    rows = []
    for h in hazards:
        code = codes[h["event"] - 1] if h["event"] <= len(codes) else h["event"]
        name = f"event of interest (code {code})" if h["event"] == 1 else f"competing (code {code})"
        if "ratio" not in h:
            rows.append((name, str(h["events"]), h.get("note", "–"), "–", "–"))
            continue
        ratio = f"{figure(h['ratio'])} ({figure(h['low'])}–{figure(h['high'])})"
        slope = f"{figure(h['slope'])} ({figure(h['slope_low'])}–{figure(h['slope_high'])})" if "slope" in h else "–"
        rows.append((name, str(h["events"]), ratio, p_text(h["p"]).removeprefix("= "), slope))
    return Table(
        ("cause-specific hazard", "events", "hazard ratio per SD of the risk", "p", "slope"),
        tuple(rows),
        "Cox regression on the out-of-fold risk, a baseline per fold, robust standard errors. Slope: 1 is best; below 1 the "
        "predicted log hazards are too extreme.",
    )


def curve_plot(found: Mapping[str, Any], target: str) -> Plot:
    """Kaplan-Meier curves with intervals, censoring marks, and the numbers at risk below the axis."""
    text = "; ".join(
        f"{g['name']}: {g['events']} events of {g['n']}, median "
        + ("not reached" if g["median"] is None else figure(g["median"]))
        for g in found["groups"]
    )
    return Plot(
        "Kaplan-Meier curves by risk group",
        draw(lambda fig: _paint(fig, found, "curve", f"without {target}"), _height(found)),
        f"Kaplan-Meier curves. {text}.",
        "Share still without the event. Ticks: follow-up ended. Bands: pointwise intervals. Below: how many are still "
        "followed.",
    )


def incidence_plot(found: Mapping[str, Any], target: str) -> Plot:
    """Cumulative incidence of the event of interest, other events competing."""
    ends = ", ".join(f"{g['name']} {figure(g['incidence']['value'][-1])}" for g in found["groups"])
    return Plot(
        "Cumulative incidence by risk group",
        draw(lambda fig: _paint(fig, found, "incidence", f"with {target}"), _height(found)),
        f"Cumulative incidence (Aalen-Johansen) with competing events; at the end {ends}.",
        "Share that has had the event, where competing events take patients away (Aalen-Johansen). It is lower than one "
        "minus Kaplan-Meier.",
    )


def _height(found: Mapping[str, Any]) -> float:
    return 3.3 + 0.22 * len(found["groups"])


def _paint(fig: Figure, found: Mapping[str, Any], key: str, label: str) -> None:
    groups = found["groups"]
    axes, below = fig.subplots(2, 1, height_ratios=(3.0, 0.32 + 0.24 * len(groups)))
    ticks = found["ticks"]
    start = 1.0 if key == "curve" else 0.0
    end = max(g[key]["time"][-1] for g in groups)
    places = _ORDER.get(len(groups), tuple(range(len(groups))))
    for place, g in zip(places, groups, strict=False):
        curve = g[key]
        times = np.array([0.0, *curve["time"]])
        values = np.array([start, *curve["value"]])
        low, high = (np.array([start, *[np.nan if v is None else v for v in curve[k]]]) for k in ("low", "high"))
        colour = COLOURS[place]
        axes.step(times, values, where="post", color=colour, linewidth=1.6, label=g["name"])
        axes.fill_between(times, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
        if key == "curve" and curve["censored"]:
            marks = np.array(curve["censored"], dtype=np.float64)
            level = values[np.searchsorted(times, marks, side="right") - 1]
            axes.plot(marks, level, linestyle="none", marker="|", markersize=4, markeredgewidth=0.7, color=colour)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_ylabel(f"share {label}" if len(label) < 28 else "share")
    axes.set_xlabel("time" + (f" ({found['unit']})" if found.get("unit") else ""))
    axes.legend(frameon=False, loc="upper right" if key == "curve" else "upper left")
    for panel in (axes, below):
        panel.set_xlim(-0.03 * end, 1.03 * end)
        panel.set_xticks(ticks, [f"{t:g}" for t in ticks])
    _at_risk(below, groups, places, ticks)


def _at_risk(axes: Any, groups: Sequence[Mapping[str, Any]], places: Sequence[int], ticks: Sequence[float]) -> None:
    """The table of numbers at risk as an axis of its own, its columns under the ticks."""
    axes.set_ylim(len(groups) - 0.4, -1.0)
    axes.set_yticks(range(len(groups)), [g["name"] for g in groups])
    axes.tick_params(length=0, labelbottom=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title("number at risk", loc="left", fontsize=9, pad=2)
    for row, (g, place) in enumerate(zip(groups, places, strict=False)):
        axes.get_yticklabels()[row].set_color(COLOURS[place])
        for tick, n in zip(ticks, g["at_risk"], strict=True):
            axes.text(tick, row, str(n), ha="center", va="center", fontsize=9)


def _unit(found: Mapping[str, Any]) -> str:
    return f" {found['unit']}" if found.get("unit") else ""
