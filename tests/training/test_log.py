"""The log: complete lines, cut tails, dropped steps, the curve, TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from medfm.core.errors import MissingExtraError, StoreError, TrainingError
from medfm.training.log import TrainingLog, draw_loss, read_log, smooth


def write(folder: Path, steps: range, first: int = 0) -> None:
    with TrainingLog(folder, first) as log:
        for step in steps:
            log.write({"step": step, "total": 1.0 / (step + 1)})


def test_lines_are_there_before_the_log_is_closed(tmp_path: Path) -> None:
    with TrainingLog(tmp_path) as log:
        log.write({"step": 0, "total": 2.5})
        assert read_log(tmp_path / "log.jsonl") == [{"step": 0, "total": 2.5}]


def test_a_resumed_log_drops_the_steps_that_are_done_again(tmp_path: Path) -> None:
    write(tmp_path, range(5))
    write(tmp_path, range(3, 6), first=3)
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl")] == [0, 1, 2, 3, 4, 5]
    write(tmp_path, range(1))
    assert len(read_log(tmp_path / "log.jsonl")) == 1


def test_a_cut_last_line_is_left_out_and_damage_before_it_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    path = tmp_path / "log.jsonl"
    text = path.read_text()
    path.write_text(text[:-10])
    assert [row["step"] for row in read_log(path)] == [0, 1]
    path.write_text("{broken\n" + text)
    with pytest.raises(TrainingError, match="log is damaged") as caught:
        read_log(path)
    assert "line 1" in str(caught.value)
    assert read_log(tmp_path / "absent.jsonl") == []


def test_nan_is_never_written(tmp_path: Path) -> None:
    with TrainingLog(tmp_path) as log, pytest.raises(ValueError, match="JSON compliant"):
        log.write({"step": 0, "total": float("nan")})


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        TrainingLog(tmp_path / "file")


def test_running_means() -> None:
    assert smooth([2.0, 4.0, 6.0, 8.0], 2) == [2.0, 3.0, 5.0, 7.0]
    assert smooth([], 3) == []


def test_the_curve_is_a_picture(tmp_path: Path) -> None:
    rows = [{"step": i, "total": 3.0 - i / 50, "global": 1.0, "local": 0.0} for i in range(100)]
    draw_loss(tmp_path / "loss.png", rows, "title")
    few = Image.open(tmp_path / "loss.png").size
    draw_loss(tmp_path / "more.png", [{**r, "ibot": 1.0, "koleo": 0.1} for r in rows], "title")
    assert few[0] > 500 and Image.open(tmp_path / "more.png").size[1] > few[1]
    draw_loss(tmp_path / "none.png", [], "nothing yet")
    assert Image.open(tmp_path / "none.png").size[0] > 500


def test_tensorboard_events_where_asked_for(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, tensorboard=True) as log:
        log.write({"step": 0, "total": 1.0})
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_absent_tensorboard_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match="TensorBoard"):
        TrainingLog(tmp_path, tensorboard=True)
