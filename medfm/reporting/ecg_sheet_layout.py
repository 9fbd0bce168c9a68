"""Which lead stands where on an ECG sheet, and which stretch of time it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from medfm.core.config import StrictConfig

SPEED = 25.0  # mm/s
TRACK = 250.0  # mm of trace in a row: 10 s
TOLERATED = 0.5  # share of the last column that must be recorded for the columns to follow each other

Layout = Literal["3x4", "6x2", "12x1"]
Order = Literal["standard", "cabrera"]

_LIMBS = {
    "standard": ("I", "II", "III", "aVR", "aVL", "aVF"),
    # Cabrera: by the angle of the lead, from the left arm downwards; aVR is turned round.
    "cabrera": ("aVL", "I", "-aVR", "II", "aVF", "III"),
}
_CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
# Rows, columns, height of a row in mm.
_GRIDS: dict[Layout, tuple[int, int, float]] = {"3x4": (3, 4, 31.0), "6x2": (6, 2, 21.5), "12x1": (12, 1, 12.75)}


class SheetSettings(StrictConfig):
    """How an ECG sheet is drawn; the speed is always 25 mm/s."""

    layout: Layout = Field("3x4", description="rows x columns of leads")
    order: Order = Field("standard", description="order of the limb leads; cabrera turns aVR round")
    gain: Literal["auto", "5", "10", "20"] = Field(
        "auto", description="mm per mV; auto is 10, and 5 where 10 would cut off the trace"
    )
    colours: Literal["clinical", "neutral"] = Field("clinical", description="red or grey grid")
    start: float = Field(0.0, ge=0, description="seconds into the record at which the sheet begins")
    rhythm: bool = Field(True, description="a strip of lead II over 10 s below (not in 12x1)")


@dataclass(frozen=True)
class Lane:
    """A place for one trace.

    Attributes:
        lead: Canonical name of the lead.
        turned: Whether the trace is drawn upside down (-aVR).
        row: Row from the top, 0-based.
        x: Left end in mm from the start of the row.
        width: mm.
        begin: Seconds of the record at the left end.
        strip: Whether this is the rhythm strip.
    """

    lead: str
    turned: bool
    row: int
    x: float
    width: float
    begin: float
    strip: bool = False

    @property
    def label(self) -> str:
        """The name as it is written beside the trace."""
        return f"\N{MINUS SIGN}{self.lead}" if self.turned else self.lead

    @property
    def end(self) -> float:
        """Seconds of the record at the right end."""
        return self.begin + self.width / SPEED


@dataclass(frozen=True)
class Plan:
    """All lanes of a sheet.

    Attributes:
        lanes: The places, row by row.
        rows: Number of rows, the rhythm strip included.
        row_height: mm.
        consecutive: Whether the columns show one stretch of time after the other; otherwise all
            show the same.
    """

    lanes: tuple[Lane, ...]
    rows: int
    row_height: float
    consecutive: bool


def plan_sheet(settings: SheetSettings, seconds: float) -> Plan:
    """Where every lead goes for a record of which `seconds` are left from the start of the sheet.

    As on a printed sheet the columns follow each other in time, so that the rhythm strip below
    shows the same beats. A record too short for that shows its beginning in every column.
    """
    rows, columns, height = _GRIDS[settings.layout]
    width = TRACK / columns
    span = width / SPEED
    consecutive = seconds >= span * (columns - 1 + TOLERATED) or columns == 1
    lanes = []
    for place, name in enumerate((*_LIMBS[settings.order], *_CHEST)):
        column, row = divmod(place, rows)
        begin = settings.start + (span * column if consecutive else 0.0)
        lanes.append(Lane(name.lstrip("-"), name.startswith("-"), row, width * column, width, begin))
    if settings.rhythm and columns > 1:
        lanes.append(Lane("II", False, rows, 0.0, TRACK, settings.start, strip=True))
        rows += 1
    return Plan(tuple(lanes), rows, height, consecutive)
