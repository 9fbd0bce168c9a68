"""The table of the profile: which attribute is removed, emptied, replaced or given a new UID (PS3.15 Table E.1-1)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from medfm.core.resources import data_folder

FILE = "ps3.15-table-e.1-1.csv"
Action = Literal["remove", "empty", "dummy", "uid", "shift", "keep"]
_SHIFTED = ("DA", "DT")


@dataclass(frozen=True)
class Rule:
    """One row.

    Attributes:
        action: As in the table, such as ``X/Z/D``.
        dates: Whether the option of modified dates changes the value instead.
        characteristics: Whether the option of patient characteristics keeps the value.
        keyword: For people.
    """

    action: str
    dates: bool
    characteristics: bool
    keyword: str


@lru_cache(maxsize=1)
def rules() -> dict[str, Rule]:
    """Eight lower-case hexadecimal digits of the tag (``x`` for any) -> rule."""
    path = data_folder("configs") / "deidentify" / FILE
    with path.open(encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(line for line in handle if not line.startswith("#"))
        return {
            row["tag"]: Rule(row["action"], row["dates"] == "C", row["characteristics"] == "K", row["keyword"])
            for row in rows
        }


def rule_of(tag: int) -> Rule | None:
    """The rule of a tag, also of curves and overlays; private attributes are no business of this function."""
    found = rules().get(f"{tag:08x}")
    if found is not None:
        return found
    group = tag >> 24
    if group == 0x50:
        return rules()["50xxxxxx"]
    # The whole overlay goes: its size and place without the picture say nothing.
    return rules()["60xx3000"] if group == 0x60 else None


def action_for(tag: int, vr: str, *, characteristics: bool = False) -> Action | None:
    """What is done to an attribute; ``None`` where the profile does not name it.

    Of actions that depend on the kind of object (``X/D``: removed, or a dummy where the object needs it) the one that
    keeps every object valid is taken: empty before removed, a dummy before empty.

    Args:
        tag: The tag as a number.
        vr: Value representation, such as ``"DA"``.
        characteristics: Whether age, sex, size and weight are kept.
    """
    rule = rule_of(tag)
    if rule is None:
        return None
    if characteristics and rule.characteristics:
        return "keep"
    if rule.dates and vr in _SHIFTED:
        return "shift"
    if rule.dates and vr == "TM":
        return "keep"  # whole days are shifted, so the time of day and every interval stay
    if "U" in rule.action:
        return "uid"
    if vr == "SQ":
        return "remove" if "X" in rule.action else "empty"
    return "dummy" if "D" in rule.action else "empty" if "Z" in rule.action else "remove"
