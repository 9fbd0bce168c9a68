"""Record ids become file names: safe, short, never twice, whatever people call their scans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.modalities.record import RecordRef
from medfm.workflows.standardize import _free_name


def names(ids: list[str], path: str = "scan.nii.gz") -> list[str]:
    taken: set[str] = set()
    return [_free_name(RecordRef(one, Path("/data", path)), taken) for one in ids]


@given(st.lists(st.text(min_size=1, max_size=150), min_size=1, max_size=12, unique=True))
@settings(max_examples=40, deadline=None)
def test_names_are_safe_and_never_meet(ids: list[str]) -> None:
    made = names(ids)
    assert len({name.casefold() for name in made}) == len(ids), "on disks that do not tell capitals apart"
    for name in made:
        assert re.fullmatch(r"[\w.-]+", name) and not name.startswith(".") and len(name) < 120
        assert Path(name).name == name and name not in (".", "..")
    assert names(ids) == made, "a second run finds the files of the first"


@pytest.mark.parametrize(
    ("record", "path", "expected"),
    [
        ("sub-01/ses-M006", "x.nii.gz", "sub-01_ses-M006"),
        ("train/scan.nii.gz", "scan.nii.gz", "train_scan"),
        ("train/scan.mgz", "scan.mgz", "train_scan"),
        ("series/401", "401", "series_401"),
        ("visit.2", "x.nii.gz", "visit.2"),
        ("../../etc/passwd", "x.nii.gz", "etc_passwd"),
        ("///", "x.nii.gz", "record"),
    ],
)
def test_by_example(record: str, path: str, expected: str) -> None:
    assert names([record], path) == [expected]


def test_a_number_for_the_second() -> None:
    assert names(["a/b", "A_b", "a-b", "a_b-2"]) == ["a_b", "A_b-2", "a-b", "a_b-2-2"]
