"""Checkpoints: whole or absent, safe, and tied to their run."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from medfm.core.errors import StoreError, TrainingError
from medfm.training.checkpoint import check_same_run, load_checkpoint, save_checkpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    state = {"step": 3, "model": {"w": torch.arange(4.0)}, "identity": {"a": [1, "x", None, 0.5]}}
    save_checkpoint(tmp_path / "deep/last.ckpt", state)
    found = load_checkpoint(tmp_path / "deep/last.ckpt")
    assert found["step"] == 3 and found["identity"] == state["identity"]
    assert torch.equal(found["model"]["w"], torch.arange(4.0))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04half a zip"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="damaged or not safe"):
        load_checkpoint(path)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"model": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(TrainingError, match="damaged or not safe"):
        load_checkpoint(path)


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_that_executes_code_is_refused_and_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    path = tmp_path / "last.ckpt"
    torch.save({"format": "medfm-training-1", "model": Evil(mark)}, path)
    with pytest.raises(TrainingError, match="not safe to load"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil(mark), protocol=2))
    with pytest.raises(TrainingError, match="not safe to load"):
        load_checkpoint(path)
    assert not mark.exists()


def test_another_kind_of_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pth"
    torch.save({"teacher": {}}, path)
    with pytest.raises(TrainingError, match="not a training checkpoint"):
        load_checkpoint(path)
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        load_checkpoint(tmp_path / "absent.ckpt")


def test_a_failed_write_keeps_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"step": 1})

    def full(value: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match="disk is full"):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_differences_between_runs_are_named() -> None:
    check_same_run({"a": {"b": 1}}, {"a": {"b": 1}}, "x")
    with pytest.raises(TrainingError) as caught:
        check_same_run({"a": {"b": 1}, "old": 1}, {"a": {"b": 2}, "new": 1}, "run/last.ckpt")
    text = str(caught.value)
    for part in ("a.b: 1 there, 2 now", "old: 1 there, absent now", "new: absent there, 1 now", "run/last.ckpt"):
        assert part in text
