from collections.abc import Callable
from pathlib import Path

import pytest

from medfm.cohorts.checks import CODES, run_checks
from medfm.cohorts.checks.run import default_target
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError


def test_errors_come_first_and_passed_checks_last(make_cohort: Callable) -> None:
    cohort = make_cohort(label=list("abab"), split=["train", "train", "test", "test"], patient_id=list("pqpr"))
    severities = [f.severity for f in run_checks(cohort)]
    order = ["error", "warning", "info", "passed"]
    assert severities == sorted(severities, key=order.index)
    assert severities[0] == "error"


def test_quick_checks_never_open_a_file(make_cohort: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make_cohort(label=list("abab"))

    def forbidden(*_: object, **__: object) -> None:
        raise RuntimeError("a file was opened")

    monkeypatch.setattr(Path, "open", forbidden)
    codes = {f.code for f in run_checks(cohort, deep=False)}
    assert codes
    assert not any(CODES[code].deep for code in codes)


def test_deep_checks_run_every_code_that_applies(make_cohort: Callable) -> None:
    columns = {"label": list("abab"), "site": list("nsns"), "sex": list("FMFM"), "study_id": list("wxyz")}
    cohort = make_cohort(split=["train", "train", "test", "test"], info={"copies": "eight turns of each"}, **columns)
    found = run_checks(cohort, training_data=["BMC"])
    # Codes that begin with E are about recordings, those with H about tissue patches, those with R about the retina,
    # those with M about brain volumes, those with X about chest radiographs.
    assert {f.code for f in found} == {code for code in CODES if code[0] not in "EHMRX"}


def test_the_target_is_named_found_or_left_out(make_cohort: Callable) -> None:
    cohort = make_cohort(label=["a"] * 3, grade=list("xyz"), info={"target": "grade"})
    assert default_target(cohort) == "grade"
    assert default_target(make_cohort(label=[1, 2])) == "label"
    assert default_target(make_cohort(grade=[1, 2])) is None
    severity = {f.code: f.severity for f in run_checks(cohort, "label", deep=False)}
    assert severity["S001"] == "error"
    assert "S001" not in {f.code for f in run_checks(cohort, False, deep=False)}
    with pytest.raises(CohortError, match="no column 'labels'"):
        run_checks(cohort, "labels", deep=False)


def test_allowed_codes_are_stamped(make_cohort: Callable) -> None:
    cohort = make_cohort(label=["a"] * 3, info={"allowed_codes": ["S001"]})
    allowed = {f.code: f.allowed for f in run_checks(cohort, deep=False)}
    assert allowed["S001"] is True
    assert allowed["T001"] is False


@pytest.mark.parametrize("task", ["pbc_cell", "bccd_cell", "chula_rbc12"])
def test_real_cells_have_no_errors_and_no_warnings(shared: Path, task: str) -> None:
    cohort = load_cohort(shared / "labels.csv", where={"task": task}, map={"patient_id": "source_id"})
    found = {f.code: f.severity for f in run_checks(cohort)}
    assert set(found.values()) == {"passed", "info"}
    assert found["L005"] == "passed"
    assert found["L007"] == "info"
