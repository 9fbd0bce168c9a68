"""docs/architecture.md says what is: its floors are those of the house, and its files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_house_rules import FLOORS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", TEXT)))


def test_the_floors_are_those_of_the_house_from_the_top() -> None:
    table = TEXT.split("## Floors")[1].split("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.M)
    there = [floor for floor in reversed(FLOORS) if (ROOT / "medfm" / floor).is_dir()]
    assert rows == there


@pytest.mark.parametrize("name", [q for q in QUOTED if re.fullmatch(r"[a-z_/]+\.py", q)])
def test_files_that_it_names_exist(name: str) -> None:
    # Within a sentence the second file of a folder is named without it.
    found = [ROOT / "medfm" / name, ROOT / name, *(ROOT / "medfm").glob(f"*/{name}")]
    assert any(path.is_file() for path in found)


@pytest.mark.parametrize("name", [q for q in QUOTED if q.endswith("/") and q.islower()])
def test_folders_that_it_names_exist(name: str) -> None:
    assert any((base / name).is_dir() for base in (ROOT, ROOT / "medfm"))


@pytest.mark.parametrize(("name", "file"), re.findall(r"`(_[A-Z]+)` in `([a-z_/]+\.py)`", TEXT))
def test_registers_that_it_names_exist(name: str, file: str) -> None:
    assert re.search(rf"^{name}\b", (ROOT / "medfm" / file).read_text(encoding="utf-8"), re.M)


def test_it_stays_readable_in_five_minutes() -> None:
    assert len(TEXT.split()) < 1300
