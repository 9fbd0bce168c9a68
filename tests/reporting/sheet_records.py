"""ECG records made of formulas, and SVG sheets read back into millimetres."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

from medfm.modalities.ecg import LEADS
from medfm.modalities.record import Record
from medfm.reporting.drawing import PER_MM

SVG = "{http://www.w3.org/2000/svg}"


def ecg_record(seconds: float = 10.0, hz: float = 500.0, name: str = "rec-1", **facts: Any) -> Record:
    """Beats of about 1 mV once a second; each lead has its own height, so that leads can be told apart."""
    time = np.arange(round(seconds * hz)) / hz
    beat = np.exp(-0.5 * (((time % 1.0) - 0.4) / 0.012) ** 2)
    array = np.stack([(0.2 + 0.1 * row) * beat for row in range(12)]).astype(np.float32)
    array[3] *= -1
    known: dict[str, Any] = {
        "sampling_hz": hz,
        "leads": list(LEADS),
        "derived_leads": [],
        "absent_leads": [],
        "missing": [],
        "flat_leads": [],
    }
    return Record(name, "ecg", array, {**known, **facts})


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]


def paths(svg: str, colour: str) -> list[np.ndarray]:
    """The lines (points, 2) in mm of all paths of one pen or fill."""
    found = []
    for element in parsed(svg).iter(f"{SVG}path"):
        if colour in (element.get("stroke"), element.get("fill")):
            found += path_lines(element.get("d") or "")
    return found


def path_lines(data: str) -> list[np.ndarray]:
    """An independent reader of the few path commands that drawings use."""
    lines: list[list[tuple[float, float]]] = []
    x = y = 0.0
    for command, rest in re.findall(r"([mhvzMHV])([^mhvzMHV]*)", data):
        numbers = [float(n) for n in re.findall(r"-?\d+", rest)]
        if command == "m":
            steps = list(zip(numbers[::2], numbers[1::2], strict=True))
            x, y = x + steps[0][0], y + steps[0][1]
            lines.append([(x, y)])
            for dx, dy in steps[1:]:
                x, y = x + dx, y + dy
                lines[-1].append((x, y))
        elif command in "hv":
            x, y = (x + numbers[0], y) if command == "h" else (x, y + numbers[0])
            lines[-1].append((x, y))
        elif command == "z":
            x, y = lines[-1][0]
    return [np.array(line) / PER_MM for line in lines]
