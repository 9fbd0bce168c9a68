from pathlib import Path

import pytest
from PIL import Image

from medfm.cohorts.adapters import list_adapters
from medfm.core.errors import CohortError
from medfm.workflows.data import check, list_sets, prepare


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for i in range(4):
        Image.linear_gradient("L").rotate(90 * i + i).convert("RGB").resize((30 + i, 30)).save(tmp_path / f"{i}.png")
    rows = "".join(f"{i}.png,p{i},{'xy'[i % 2]},{i * 10.5}\n" for i in range(4))
    (tmp_path / "t.csv").write_text("path,who,label,dose\n" + rows)
    return tmp_path / "t.csv"


def test_a_report_of_a_sound_cohort(table: Path) -> None:
    report = check(table, map={"patient_id": "who"}, folds=2)
    assert report.ok
    assert (report.records, report.patients, report.target) == (4, 4, "label")
    assert report.classes == {"x": 2, "y": 2}
    assert not report.synthetic


def test_another_target_and_no_target(table: Path) -> None:
    report = check(table, target="dose", deep=False)
    assert report.target == "dose"
    assert "S001" not in {f.code for f in report.findings}
    table.write_text("path\n0.png\n1.png\n")
    assert check(table, deep=False).target is None


def test_allowed_errors_do_not_spoil_the_report(table: Path) -> None:
    (table.parent / "3.png").write_bytes((table.parent / "0.png").read_bytes())
    assert not check(table).ok
    assert {f.code for f in check(table).findings if f.severity == "error"} == {"L003"}
    assert check(table, allow=["L003"]).ok


def test_training_data_overlap_is_passed_on(table: Path) -> None:
    found = {f.code: f.severity for f in check(table, where={"label": ["x", "y"]}, trained_on=["t"]).findings}
    assert found["L008"] == "passed", "one letter is no name"


def test_malformed_tables_cannot_be_checked(table: Path) -> None:
    with pytest.raises(CohortError, match="no column 'sex'"):
        check(table, where={"sex": "F"})


def test_all_sets_are_listed_with_their_licence() -> None:
    assert all(facts["licence"] for facts in list_sets())
    assert [facts["id"] for facts in list_sets()] == list_adapters()


def test_prepare_hands_on_to_the_adapter(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="Raabin"):
        prepare("raabin", tmp_path, tmp_path / "out")
