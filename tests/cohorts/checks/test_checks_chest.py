"""X001 to X011: each on pictures that have the fault, on ones that have not, and on real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medfm.cohorts.checks import run_checks
from medfm.cohorts.checks.chest import (
    check_chests,
    check_views,
    inverted,
    not_a_chest,
    odd_header,
    other_way_up,
    poor_values,
    written,
)
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import synthesize
from medfm.modalities.chest_quality import ChestQuality, measure
from medfm.modalities.registry import read_record

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "chest_xray"
GOOD = ChestQuality(
    size=(1024, 1024), likeness=0.5, upside_down=0.1, turned=-0.2, spread=0.6, clipped=0.0, brightest=1.0, border=0.0,
    letters=1, view="PA", plane="frontal", sides=True, orientation=("L", "F"),
)  # fmt: skip


def cohort_of(number: int, **columns: list[Any]) -> Cohort:
    table = pd.DataFrame(
        {"record_id": [f"r{i}" for i in range(number)], "path": "x", "patient_id": None, "split": None}
    )
    return Cohort(table.assign(**columns), "chest_xray", Path("/"), "c")


def findings(*qualities: ChestQuality, **columns: list[Any]) -> dict[str, Any]:
    seen = [Seen("k", None, q.size, quality=q) for q in qualities]
    return {f.code: f for f in check_chests(cohort_of(len(seen), **columns), seen)}


def test_good_radiographs_pass_every_check() -> None:
    found = findings(GOOD, GOOD)
    assert set(found) == {f"X{n:03d}" for n in range(1, 11)}
    assert {f.severity for f in found.values()} == {"passed"}
    assert list(check_chests(cohort_of(1), [Seen(error="damaged")])) == []


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"likeness": -0.4, "upside_down": -0.1}, "X001", "error"),
        ({"likeness": 0.1, "upside_down": 0.4}, "X002", "warning"),
        ({"likeness": 0.1, "turned": 0.4}, "X002", "warning"),
        ({"orientation": ("R", "F")}, "X002", "warning"),
        ({"orientation": ("L", "H")}, "X002", "warning"),
        ({"likeness": 0.05, "upside_down": 0.02, "turned": 0.01}, "X004", "warning"),
        ({"spread": 0.05}, "X005", "warning"),
        ({"clipped": 0.2}, "X005", "warning"),
        ({"border": 0.4}, "X006", "warning"),
        ({"letters": 5}, "X007", "warning"),
        ({"burned_in": True}, "X007", "warning"),
        ({"sides": False}, "X008", "info"),
        ({"raw": True}, "X009", "warning"),
        ({"above_bits": 0.01}, "X009", "warning"),
        ({"notes": ("presentation is INVERSE although ...",)}, "X009", "warning"),
        ({"size": (150, 1000)}, "X010", "warning"),
    ],
)
def test_one_fault_meets_one_check(changes: dict[str, Any], code: str, severity: str) -> None:
    found = findings(GOOD, replace(GOOD, **changes), GOOD)
    assert {c for c, f in found.items() if f.severity != "passed"} == {code}
    assert found[code].severity == severity and found[code].records == ("r1",) and "1 of 3" in found[code].detail


def test_lateral_views_among_frontal_ones() -> None:
    lateral = replace(
        GOOD, view="LL", plane="lateral", likeness=0.0, upside_down=0.0, turned=0.0, orientation=("A", "F")
    )
    found = findings(GOOD, lateral, GOOD)
    assert found["X003"].severity == "warning" and found["X003"].records == ("r1",)
    # A lateral view is not judged as a frontal one.
    assert found["X004"].severity == found["X002"].severity == "passed"
    assert findings(lateral, lateral)["X003"].severity == "passed"
    unknown = replace(GOOD, view="unknown", plane="")
    assert findings(unknown, unknown, view=["PA", "Lateral"])["X003"].records == ("r1",)
    assert findings(unknown, unknown, view=["AP Supine", None])["X003"].severity == "passed"
    assert "AP (1)" in findings(unknown, unknown, view=["AP Supine", None])["X003"].detail
    by_plane = findings(unknown, replace(unknown, plane="lateral"))
    assert by_plane["X003"].records == ("r1",)


def test_classes_tied_to_views() -> None:
    seen = [Seen("k", None, (9, 9), quality=GOOD)] * 10
    views = ["AP"] * 4 + ["PA"] + ["AP"] + ["PA"] * 4
    tied = cohort_of(10, label=["sick"] * 5 + ["well"] * 5, view=views)
    (finding,) = check_views(tied, "label", seen)
    assert finding.severity == "warning" and "sick 80%, well 20%" in finding.detail
    even = cohort_of(10, label=["sick", "well"] * 5, view=["AP", "AP", "PA", "PA"] * 2 + ["AP", "AP"])
    assert [f.severity for f in check_views(even, "label", seen)] == ["passed"]
    for cohort, target in ((tied, None), (cohort_of(10, label=["one"] * 10, view=views), "label")):
        assert list(check_views(cohort, target, seen)) == []
    assert list(check_views(cohort_of(10, label=list(range(10)), view=views), "label", [Seen()] * 10)) == []


def test_judgements_at_their_limits() -> None:
    assert not inverted(replace(GOOD, likeness=-0.1)) and not inverted(replace(GOOD, likeness=-0.2, turned=0.3))
    assert other_way_up(replace(GOOD, likeness=0.4, upside_down=0.45)) is None
    assert other_way_up(replace(GOOD, likeness=-0.5)) is None  # a negative is for X001
    assert other_way_up(replace(GOOD, plane="lateral", orientation=("A", "F"))) is None
    assert not not_a_chest(replace(GOOD, plane="lateral", likeness=0.0, upside_down=0.0))
    assert poor_values(replace(GOOD, spread=0.05, bits=16, brightest=0.06)) == "of 16 bits, dark"
    assert written(GOOD) is None and odd_header(GOOD) is None


def test_the_deep_pass_finds_faults_in_files(tmp_path: Path) -> None:
    done = synthesize("chest_xray", tmp_path / "c", records=30, size=96)
    table = pd.read_csv(done.table)
    north = [f for f in table.path if f.startswith("images/north")]
    file = done.table.parent / north[0]
    Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    copy = done.table.parent / north[1]
    copy.write_bytes((done.table.parent / north[2]).read_bytes())
    # A copy saved again, smaller and in another format, in another split.
    row = table[(table.site == "north") & (table.split == "train") & ~table.path.isin(north[:3])].iloc[0]
    Image.open(done.table.parent / row.path).resize((80, 80)).save(
        done.table.parent / "images" / "again.jpg", quality=80
    )
    more = row.copy()
    more["record_id"], more["path"], more["split"], more["patient_id"] = "again", "images/again.jpg", "test", "other"
    pd.concat([table, more.to_frame().T]).to_csv(done.table, index=False)
    cohort = load_cohort(done.table, check=False)
    found = {f.code: f for f in run_checks(cohort, workers=1)}
    names = dict(zip(table.path, table.record_id, strict=True))
    assert found["X001"].records == (names[north[0]],) and found["X001"].severity == "error"
    assert found["X010"].severity == "warning" and found["X004"].severity == "passed"
    assert found["L005"].severity == "error" and "again" in found["L005"].records
    assert found["F002"].severity == "passed"
    assert "X002" in found and found["X008"].severity == "info"
    assert any(found[code].severity != "passed" for code in ("L002", "L004"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are absent")
def test_no_false_alarm_on_real_radiographs_and_their_negatives_are_found() -> None:
    files = sorted((SHARED / "kermany").rglob("*.jpeg"))[::75] + sorted((SHARED / "nih").glob("*.png"))
    arrays = [read_record(file, "chest_xray").array for file in files]
    plain = [measure(array, {}) for array in arrays]
    assert not [q for q in plain if inverted(q) or other_way_up(q) or not_a_chest(q) or poor_values(q) or written(q)]
    negatives = [measure(1 - array, {}) for array in arrays]
    assert sum(map(inverted, negatives)) >= 0.9 * len(files)
    turned = [measure(np.ascontiguousarray(np.rot90(array)), {}) for array in arrays]
    assert sum(other_way_up(q) is not None for q in turned) >= 0.95 * len(files)
