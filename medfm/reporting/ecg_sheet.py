"""A standard ECG sheet: twelve leads on millimetre paper, 25 mm/s, to scale.

What the sheet does to the recording is only this: every lead is set to its median (recordings
carry offsets that a machine would have removed), and a trace that leaves its place is cut off and
marked. Nothing is filtered. The only name on it is the cohort's own id of the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medfm.core.errors import ConfigError, ReadError
from medfm.modalities.ecg import LEADS
from medfm.modalities.record import Record
from medfm.reporting.drawing import Anchor, Areas, Drawing, Lines, Text, hatching, rectangle
from medfm.reporting.ecg_sheet_attention import STRIP_HEIGHT, attention_strip
from medfm.reporting.ecg_sheet_layout import SPEED, TRACK, Lane, Plan, SheetSettings, plan_sheet
from medfm.reporting.ecg_sheet_trace import trace

if TYPE_CHECKING:
    from medfm.encoders.attention import TimeAttention

MARGIN = 5.0  # mm around the paper
PULSE = 10.0  # mm in front of each row for the calibration pulse
HEADER, FOOTER, AXIS = 9.0, 13.0, 5.0  # mm
PAD = 8.0, 4.0  # mm of paper above the first and below the last row
_REACH = (12.0, 28.0)  # mm: a trace may go nearly to the baseline of the next row, within these limits
_PEN = 0.28
_COLOURS = {  # paper, fine line, bold line
    "clinical": ("#fff8f7", "#f4cfcb", "#e2938c"),
    "neutral": ("#ffffff", "#dfe3e6", "#aab2b9"),
}
_HATCH = "#6b7075"
_MARK = "#0072B2"
_SMALL = 3.0


def ecg_sheet(
    record: Record,
    settings: SheetSettings | None = None,
    attention: TimeAttention | None = None,
    synthetic: bool = False,
) -> Drawing:
    """The sheet of one recording.

    Args:
        record: A record of modality ``ecg`` in its canonical form.
        settings: Layout, order of leads, gain, colours, start.
        attention: Where an encoder looked; a heat strip below the last row shows it.
        synthetic: Whether to say that the recording was drawn by a program.

    Raises:
        ReadError: The record is of another modality or shape.
        ConfigError: The sheet would begin behind the end of the recording.
    """
    chosen = settings or SheetSettings()
    signal, rate = _checked(record)
    seconds = signal.shape[1] / rate
    if chosen.start >= seconds:
        raise ConfigError(
            f"The sheet would begin at {chosen.start:g} s, but the recording lasts {seconds:.1f} s.",
            where=record.record_id,
            expected="a start inside the recording",
        )
    plan = plan_sheet(chosen, seconds - chosen.start)
    # Of the ten seconds shown: over a long recording the level drifts.
    shown = slice(round(chosen.start * rate), round((chosen.start + TRACK / SPEED) * rate) + 1)
    levels = {lead: _median(row[shown]) for lead, row in zip(LEADS, signal, strict=True)}
    paper = _Paper(plan, attention is not None)
    gain = _gain(chosen, plan, paper, signal, rate, levels)
    drawing = Drawing(paper.width, paper.height, _title(record, plan, chosen, gain, seconds))
    _grid(drawing, paper, chosen.colours)
    pen: list[np.ndarray] = []
    marks: list[np.ndarray] = []
    flat = set(record.facts.get("flat_leads") or ())
    for lane in plan.lanes:
        drawn = _draw_lane(drawing, paper, lane, signal, rate, levels, gain)
        pen += drawn[0]
        marks += drawn[1]
    pen += [_pulse(paper, row, gain) for row in range(plan.rows)]
    drawing.add(Lines(pen, width=_PEN), Lines(_separators(paper, plan), "#333333", 0.25), Areas(marks, _MARK))
    for lane in plan.lanes:
        absent = not np.isfinite(signal[LEADS.index(lane.lead)]).any()
        note = " not recorded" if absent else " constant" if lane.lead in flat else ""
        x, y = paper.x(lane.x) + 1.0, paper.baseline(lane.row) - plan.row_height / 2 + 4.0
        drawing.add(Text(x, y, lane.label + note, 3.8, bold=True, halo=True))
    _seconds(drawing, paper, plan, chosen)
    if attention is not None:
        attention_strip(drawing, attention, paper.x(0.0), paper.bottom + AXIS, chosen.start)
    _words(drawing, paper, plan, record, chosen, gain, seconds, bool(marks), synthetic)
    return drawing


class _Paper:
    """Places on the sheet in mm."""

    def __init__(self, plan: Plan, strip: bool) -> None:
        self.plan = plan
        self.left, self.top = MARGIN, MARGIN + HEADER
        self.right = self.left + PULSE + TRACK
        # Whole 5 mm squares.
        needed = plan.rows * plan.row_height + sum(PAD)
        self.bottom = self.top + 5.0 * np.ceil(needed / 5.0)
        self.width = self.right + MARGIN
        self.height = float(self.bottom + AXIS + (STRIP_HEIGHT if strip else 0.0) + FOOTER)

    def x(self, along: float) -> float:
        """Of a place `along` mm from the start of a row."""
        return self.left + PULSE + along

    def baseline(self, row: int) -> float:
        """On whole millimetres, as a pen is set on paper."""
        return float(np.floor(self.top + PAD[0] + (row + 0.5) * self.plan.row_height))

    def borders(self, row: int) -> tuple[float, float]:
        """How far a trace may go up and down from its baseline, mm (the second is negative)."""
        reach = min(max(self.plan.row_height - 2.0, _REACH[0]), _REACH[1])
        base = self.baseline(row)
        return min(reach, base - self.top - 1.0), -min(reach, self.bottom - base - 1.0)


def _checked(record: Record) -> tuple[np.ndarray, float]:
    array = np.asarray(record.array)
    rate = record.facts.get("sampling_hz")
    if record.modality != "ecg" or array.ndim != 2 or array.shape[0] != len(LEADS) or array.shape[1] == 0 or not rate:
        raise ReadError(
            f"A record of modality '{record.modality}' and shape {array.shape} is no ECG of twelve leads.",
            where=record.record_id,
            expected="a record of modality ecg, float32 (12, samples) in mV, with its sampling_hz",
            fix="read the file with medfm.modalities.registry.read_record(path, 'ecg')",
        )
    return array, float(rate)


def _median(row: np.ndarray) -> float:
    known = row[np.isfinite(row)]
    return float(np.median(known)) if len(known) else 0.0


def _window(lane: Lane, samples: int, rate: float) -> slice:
    return slice(min(round(lane.begin * rate), samples), min(round(lane.end * rate) + 1, samples))


def _gain(
    settings: SheetSettings, plan: Plan, paper: _Paper, signal: np.ndarray, rate: float, levels: dict[str, float]
) -> float:
    """mm per mV: as asked, or 10, and 5 where 10 would cut a trace off."""
    if settings.gain != "auto":
        return float(settings.gain)
    for lane in plan.lanes:
        values = signal[LEADS.index(lane.lead), _window(lane, signal.shape[1], rate)] - levels[lane.lead]
        known = values[np.isfinite(values)] * (-10.0 if lane.turned else 10.0)
        upper, lower = paper.borders(lane.row)
        if len(known) and (known.max() > upper or known.min() < lower):
            return 5.0
    return 10.0


def _draw_lane(
    drawing: Drawing,
    paper: _Paper,
    lane: Lane,
    signal: np.ndarray,
    rate: float,
    levels: dict[str, float],
    gain: float,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Hatch the gaps of one lane; return its lines and the marks where it was cut off."""
    window = _window(lane, signal.shape[1], rate)
    values = signal[LEADS.index(lane.lead), window].astype(np.float64)
    if len(values) == 0:
        return [], []
    along = (np.arange(window.start, window.stop) / rate - lane.begin) * SPEED
    upper, lower = paper.borders(lane.row)
    drawn = trace(along, (values - levels[lane.lead]) * (-gain if lane.turned else gain), upper, lower)
    x, base = paper.x(lane.x), paper.baseline(lane.row)
    lines = [np.column_stack([x + line[:, 0], base - line[:, 1]]) for line in drawn.lines]
    for start, stop in drawn.gaps:
        half = min(0.4 * paper.plan.row_height, 9.0)
        begin, end = max(start, 0.0), min(max(stop, start + 0.5), lane.width)
        if end <= begin:
            continue
        drawing.add(
            Areas([rectangle(x + begin, base - half, end - begin, 2 * half)], "#f1f2f3"),
            Lines(hatching(x + begin, base - half, end - begin, 2 * half), _HATCH, 0.15),
        )
    marks = [_triangle(x + at, base - upper, 1.0) for at in drawn.above]
    marks += [_triangle(x + at, base - lower, -1.0) for at in drawn.below]
    return lines, marks


def _triangle(x: float, y: float, up: float) -> np.ndarray:
    """A mark whose tip stands where the trace left, pointing outwards."""
    return np.array([(x - 1.1, y + 1.0 * up), (x + 1.1, y + 1.0 * up), (x, y - 1.0 * up)])


def _pulse(paper: _Paper, row: int, gain: float) -> np.ndarray:
    """The calibration pulse: 1 mV for 0.2 s."""
    x, y = paper.left + 1.5, paper.baseline(row)
    steps = [(0, 0), (1.5, 0), (1.5, -gain), (6.5, -gain), (6.5, 0), (8, 0)]
    return np.array(steps, dtype=np.float64) + (x, y)


def _grid(drawing: Drawing, paper: _Paper, colours: str) -> None:
    ground, fine, bold = _COLOURS[colours]
    width, height = paper.right - paper.left, paper.bottom - paper.top
    drawing.add(Areas([rectangle(paper.left, paper.top, width, height)], ground))
    for keep, colour, pen in ((lambda i: i % 5 != 0, fine, 0.1), (lambda i: i % 5 == 0, bold, 0.18)):
        lines = []
        for number, i in enumerate(i for i in range(round(width) + 1) if keep(i)):
            ends = (paper.top, paper.bottom) if number % 2 == 0 else (paper.bottom, paper.top)  # short in the file
            lines.append(np.array([(paper.left + i, ends[0]), (paper.left + i, ends[1])]))
        for number, i in enumerate(i for i in range(round(height) + 1) if keep(i)):
            ends = (paper.left, paper.right) if number % 2 == 0 else (paper.right, paper.left)
            lines.append(np.array([(ends[0], paper.top + i), (ends[1], paper.top + i)]))
        drawing.add(Lines(lines, colour, pen))


def _separators(paper: _Paper, plan: Plan) -> list[np.ndarray]:
    """Short upright strokes where one lead ends and the next begins."""
    lines = []
    for lane in plan.lanes:
        if lane.x > 0:
            x, y = paper.x(lane.x), paper.baseline(lane.row)
            lines += [np.array([(x, y + side * 3.0), (x, y + side * 7.0)]) for side in (-1.0, 1.0)]
    return lines


def _seconds(drawing: Drawing, paper: _Paper, plan: Plan, settings: SheetSettings) -> None:
    """Seconds of the record below the paper, where a row shows one stretch of time."""
    if not (plan.consecutive or any(lane.strip for lane in plan.lanes)):
        return
    count = int(TRACK / SPEED)
    ticks = [np.array([(paper.x(SPEED * i), paper.bottom), (paper.x(SPEED * i), paper.bottom + 1)]) for i in range(11)]
    drawing.add(Lines(ticks, "#333333", 0.2))
    for i in range(count + 1):
        anchor: Anchor = "end" if i == count else "middle"
        text = f"{settings.start + i:g}" + (" s" if i == count else "")
        drawing.add(Text(paper.x(SPEED * i), paper.bottom + 4.0, text, _SMALL, anchor, colour="#333333"))


def _words(
    drawing: Drawing,
    paper: _Paper,
    plan: Plan,
    record: Record,
    settings: SheetSettings,
    gain: float,
    seconds: float,
    cut: bool,
    synthetic: bool,
) -> None:
    y = paper.top - 2.8
    name = _middle_out(record.record_id, 70)
    drawing.add(Text(paper.left, y, name + (" \N{MIDDLE DOT} SYNTHETIC" if synthetic else ""), 4.2, bold=True))
    scale = f"25 mm/s \N{MIDDLE DOT} {gain:g} mm/mV"
    if gain != 10:
        # Half or double size is easily overlooked: it is framed.
        box = rectangle(paper.right - 52.0, paper.top - 7.2, 52.0, 6.2)
        drawing.add(Lines([np.vstack([box, box[:1]])], "#b3261e", 0.5))
        drawing.add(Text(paper.right - 1.5, y, scale, 4.2, "end", bold=True, colour="#b3261e"))
    else:
        drawing.add(Text(paper.right, y, scale, 4.2, "end", bold=True))
    y = paper.height - FOOTER + 4.5
    for line in _footer(plan, record, settings, seconds, cut):
        drawing.add(Text(paper.left, y, line, _SMALL, colour="#333333"))
        y += 4.4


def _footer(plan: Plan, record: Record, settings: SheetSettings, seconds: float, cut: bool) -> list[str]:
    facts = record.facts
    shown = min(settings.start + TRACK / SPEED, seconds)
    strips = any(lane.strip for lane in plan.lanes)
    parts = [f"{facts['sampling_hz']:g} Hz, no filter, each lead at its median"]
    if plan.consecutive or strips:
        whole = settings.start == 0 and shown == seconds
        parts.append(
            f"shown: all {seconds:.1f} s" if whole else f"shown: {settings.start:g} to {shown:.1f} s of {seconds:.1f} s"
        )
    if not plan.consecutive:
        first = plan.lanes[0]
        parts.append(f"too short for a row: every column shows {first.begin:g} to {min(first.end, seconds):.1f} s")
    second = []
    if facts.get("derived_leads"):
        second.append("computed from I and II: " + ", ".join(facts["derived_leads"]))
    if facts.get("absent_leads"):
        second.append("not recorded: " + ", ".join(facts["absent_leads"]))
    if any(lead not in (facts.get("absent_leads") or ()) for lead, *_ in facts.get("missing") or ()):
        second.append("hatched: samples missing")
    if cut:
        second.append("\N{BLACK UP-POINTING TRIANGLE} cut off at the border of its place")
    if any(lane.turned for lane in plan.lanes):
        second.append("\N{MINUS SIGN}aVR is drawn upside down (Cabrera)")
    return [" \N{MIDDLE DOT} ".join(words) for words in (parts, second) if words]


def _title(record: Record, plan: Plan, settings: SheetSettings, gain: float, seconds: float) -> str:
    return (
        f"12-lead ECG of record {_middle_out(record.record_id, 70)}, {seconds:.1f} s at {record.facts['sampling_hz']:g} Hz, "
        f"layout {settings.layout}, 25 mm/s, {gain:g} mm/mV"
    )


def _middle_out(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"
