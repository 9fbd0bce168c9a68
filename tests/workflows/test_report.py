from __future__ import annotations

from pathlib import Path

import pytest
from tiny_results import tiny_result

from medfm.core.errors import StoreError
from medfm.core.progress import Progress
from medfm.workflows.report import rebuild_reports


@pytest.fixture
def saved_result(tmp_path: Path) -> Path:
    return tiny_result().save(tmp_path / "saved")


def test_reports_come_back_the_same(saved_result):
    before = {name: (saved_result / name).read_bytes() for name in ("report.html", "card.md")}
    for name in before:
        (saved_result / name).unlink()
    (done,) = rebuild_reports([saved_result])
    assert done.error is None
    assert done.report is not None and done.report.read_bytes() == before["report.html"]
    assert done.card is not None and done.card.read_bytes() == before["card.md"]
    assert sorted(p.name for p in saved_result.iterdir())[-1] == "result.json"


def test_a_bad_folder_does_not_stop_the_others(saved_result, tmp_path):
    done = rebuild_reports([tmp_path / "nowhere", saved_result])
    assert isinstance(done[0].error, StoreError) and done[0].report is None
    assert done[1].error is None


def test_no_folder_no_work():
    assert rebuild_reports([]) == []


def test_progress_counts_every_folder(saved_result, tmp_path):
    progress = Progress("reports", 2)
    rebuild_reports([saved_result, tmp_path / "nowhere"], progress)
    assert progress.done == 2


def test_a_report_that_cannot_be_written_is_an_error(saved_result, monkeypatch):
    def refused(self: Path, target: object) -> None:
        raise PermissionError(13, "Permission denied")

    before = (saved_result / "report.html").read_bytes()
    monkeypatch.setattr(Path, "replace", refused)
    (done,) = rebuild_reports([saved_result])
    assert isinstance(done.error, StoreError) and "cannot be written to" in str(done.error)
    assert (saved_result / "report.html").read_bytes() == before
    assert not [p for p in saved_result.iterdir() if p.name.endswith(".tmp")]


@pytest.mark.parametrize("kind", ["file", "empty"])
def test_what_is_no_result_folder_is_refused_and_left_alone(tmp_path, kind):
    place = tmp_path / "x"
    place.write_text("mine") if kind == "file" else place.mkdir()
    (done,) = rebuild_reports([place])
    assert isinstance(done.error, StoreError)
    assert place.read_text() == "mine" if kind == "file" else list(place.iterdir()) == []
