import pytest
from pydantic import ValidationError

from medfm.cohorts.findings import Finding, allow, stop_on_errors
from medfm.core.errors import ChecksFailedError

ERROR = Finding(code="L001", severity="error", title="no patient is in two splits", detail="3 are", fix="split again")
OTHER = Finding(code="S001", severity="error", title="two classes", detail="one")
WARNING = Finding(code="T002", severity="warning", title="patients are known")


def test_warnings_do_not_stop() -> None:
    stop_on_errors([WARNING])
    stop_on_errors([])


def test_an_error_stops_with_all_that_is_wrong_and_how_to_go_on() -> None:
    with pytest.raises(ChecksFailedError, match="2 checks failed") as caught:
        stop_on_errors([ERROR, WARNING, OTHER])
    text = str(caught.value)
    assert "L001 no patient is in two splits: 3 are" in text
    assert "split again" in text
    assert "--allow L001 --allow S001" in text
    assert "T002" not in text


def test_allowed_errors_do_not_stop_and_stay_visible() -> None:
    found = allow([ERROR, OTHER, WARNING], ["L001"])
    assert [f.allowed for f in found] == [True, False, False]
    assert not ERROR.allowed, "findings are never changed in place"
    with pytest.raises(ChecksFailedError, match="1 check failed") as caught:
        stop_on_errors(found)
    assert "L001" not in str(caught.value)
    stop_on_errors(allow(found, ["S001", "L001"]))


def test_findings_are_strict_and_frozen() -> None:
    with pytest.raises(ValidationError):
        Finding(code="X", severity="fatal", title="x")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        ERROR.severity = "passed"  # type: ignore[misc]


def test_findings_survive_json() -> None:
    assert Finding.model_validate(ERROR.to_dict()) == ERROR
