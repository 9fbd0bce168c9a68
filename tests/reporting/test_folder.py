from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from medfm.core.errors import StoreError
from medfm.reporting import folder as folder_module
from medfm.reporting.folder import read_result, rebuild_report


@pytest.fixture
def saved(result, tmp_path) -> Path:
    return result.save(tmp_path / "saved")


def test_an_existing_result_is_replaced_only_when_asked(make, saved):
    with pytest.raises(StoreError, match="exists"):
        make(name="second").save(saved)
    make(name="second").save(saved, overwrite=True)
    assert read_result(saved).name == "second"
    assert [p.name for p in saved.parent.iterdir()] == ["saved"]


def test_a_folder_that_is_no_result_is_never_replaced(result, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="not a result folder"):
        result.save(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_may_be_filled(result, tmp_path):
    (tmp_path / "empty").mkdir()
    assert read_result(result.save(tmp_path / "empty")).id == result.id


def test_a_file_in_the_way_is_a_clear_error(result, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        result.save(tmp_path / "file")
    with pytest.raises(StoreError):
        result.save(tmp_path / "file" / "inside")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("name", ["result.json", "predictions.parquet", "config.yaml"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(StoreError, match=name):
        read_result(saved)


@pytest.mark.parametrize("name", ["report.html", "card.md"])
def test_what_can_be_rebuilt_may_be_missing(saved, name):
    before = (saved / name).read_bytes()
    (saved / name).unlink()
    rebuild_report(saved)
    assert (saved / name).read_bytes() == before


def test_no_folder_at_all(tmp_path):
    with pytest.raises(StoreError, match="no such result folder"):
        read_result(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"no result\.json"):
        read_result(tmp_path)


@pytest.mark.parametrize("name", ["predictions.parquet", "config.yaml"])
def test_a_changed_file_is_refused(saved, name):
    data = bytearray((saved / name).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / name).write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"changed or damaged"):
        read_result(saved)


def test_a_figure_typed_into_the_json_is_refused(saved):
    head = json.loads((saved / "result.json").read_text())
    head["summary"]["headline"][0]["value"] = 0.99
    (saved / "result.json").write_text(json.dumps(head))
    with pytest.raises(StoreError, match="changed after it was written"):
        read_result(saved)


def test_half_a_json_is_refused(saved):
    text = (saved / "result.json").read_text()
    for broken in ("", text[: len(text) // 2], "[]", "null", '"text"'):
        (saved / "result.json").write_text(broken)
        with pytest.raises(StoreError, match="cannot be read as a result"):
            read_result(saved)


def test_another_layout_version_is_refused(saved):
    head = json.loads((saved / "result.json").read_text())
    head["schema_version"] = 2
    (saved / "result.json").write_text(json.dumps(head))
    with pytest.raises(StoreError, match="layout version 2"):
        read_result(saved)


def test_the_report_needs_nothing_but_the_folder(saved, tmp_path):
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    before = {name: (saved / name).read_bytes() for name in ("report.html", "card.md")}
    saved.rename(moved)
    report, card = rebuild_report(moved)
    assert report.read_bytes() == before["report.html"]
    assert card.read_bytes() == before["card.md"]


def test_pictures_survive_a_rebuild(make, images, tmp_path):
    place = make().save(tmp_path / "r", images=images)
    before = (place / "report.html").read_text()
    assert "data:image/jpeg" in before
    rebuild_report(place)
    assert (place / "report.html").read_text() == before


def test_a_full_disk_leaves_nothing(result, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module.os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        result.save(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_earlier_result(result, make, saved, monkeypatch):
    written = []

    def interrupt(path: Path, data: bytes) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        path.write_bytes(data)

    monkeypatch.setattr(folder_module, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(name="second").save(saved, overwrite=True)
    assert [p.name for p in saved.parent.iterdir()] == ["saved"]
    assert read_result(saved).id == result.id


def test_a_read_only_place_is_a_clear_error(result, tmp_path, monkeypatch):
    def refused(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(StoreError, match="cannot be written to"):
        result.save(tmp_path / "new" / "r")


def test_a_result_with_nan_is_refused_by_name(make, result, tmp_path):
    bad = result.summary.headline[0].model_copy(update={"value": float("nan")})
    made = make(summary=result.summary.model_copy(update={"headline": (bad,)}))
    with pytest.raises(StoreError, match=r"summary\.headline\.0\.value"):
        made.save(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []
