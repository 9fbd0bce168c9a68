"""The checkpoint before the last one is kept, and a run goes on from it when the last is damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medfm.core.errors import StoreError, TrainingError
from medfm.training.checkpoint import check_same_run, load_checkpoint, newest_checkpoint, save_checkpoint
from medfm.training.config import PretrainConfig
from medfm.training.dinov2 import Dinov2
from medfm.training.log import read_log
from medfm.training.loop import train
from medfm.training.pictures import Pictures

Recipe = Callable[..., PretrainConfig]
Model = Callable[[PretrainConfig], Dinov2]
PATCH = 4


def steps_in(folder: Path) -> dict[str, int]:
    return {path.name: load_checkpoint(path)["step"] for path in folder.iterdir()}


def states_equal(one: Dinov2, other: Dinov2) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture
def last(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint" / "last.ckpt"


def test_the_last_two_are_kept(last: Path) -> None:
    save_checkpoint(last, {"step": 1})
    assert steps_in(last.parent) == {"last.ckpt": 1}
    for step in (2, 3):
        save_checkpoint(last, {"step": step})
        assert steps_in(last.parent) == {"last.ckpt": step, "previous.ckpt": step - 1}


def test_also_where_the_file_system_has_no_hard_links(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2, 3):
        save_checkpoint(last, {"step": step})
    assert steps_in(last.parent) == {"last.ckpt": 3, "previous.ckpt": 2}


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "zeros"])
def test_a_damaged_last_falls_back_with_a_warning(last: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    for step in (4, 8):
        save_checkpoint(last, {"step": step, "model": torch.arange(100.0)})
    data = last.read_bytes()
    if damage == "gone":
        last.unlink()
    else:
        last.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "zeros": bytes(len(data))}[damage])
    assert newest_checkpoint(last)["step"] == 4
    assert "of step 4" in caplog.text and "last.ckpt" in caplog.text


def test_two_damaged_ones_say_what_to_do(last: Path) -> None:
    for step in (1, 2):
        save_checkpoint(last, {"step": step})
    for path in last.parent.iterdir():
        path.write_bytes(b"PK half")
    with pytest.raises(TrainingError, match=r"damaged") as caught:
        newest_checkpoint(last)
    assert "last.ckpt" in str(caught.value) and "start again without --resume" in str(caught.value)
    for path in last.parent.iterdir():
        path.unlink()
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        newest_checkpoint(last)


def test_a_run_resumed_from_the_one_before_follows_the_same_trajectory(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path
) -> None:
    config = recipe()
    straight, again = model(config), model(config)
    train(straight, pictures, PATCH, tmp_path / "a", identity={})
    train(model(config), pictures, PATCH, tmp_path / "b", identity={})
    folder = tmp_path / "b/checkpoint"
    assert steps_in(folder) == {"last.ckpt": 6, "previous.ckpt": 4}
    with (folder / "last.ckpt").open("r+b") as handle:
        handle.truncate(2000)
    # A killed process left half a file: it goes, that of a living process stays.
    (folder / f".last.ckpt.{2**22 + 1}.0123abcd.tmp").write_bytes(b"half")
    (folder / f".last.ckpt.{os.getpid()}.0123abcd.tmp").write_bytes(b"half")
    assert train(again, pictures, PATCH, tmp_path / "b", identity={}, resume=True) == 4
    assert states_equal(straight, again)
    assert [row["step"] for row in read_log(tmp_path / "b/log.jsonl")] == list(range(6))
    assert [path.name for path in folder.glob(".*")] == [f".last.ckpt.{os.getpid()}.0123abcd.tmp"]


def test_a_full_disk_at_a_checkpoint_ends_the_run_and_resuming_is_exact(
    recipe: Recipe, model: Model, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe()
    save = torch.save

    def full(state: dict[str, Any], handle: Any) -> None:
        if state["step"] == 4:
            handle.write(b"half")
            raise OSError(errno.ENOSPC, "no space")
        save(state, handle)

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="disk is full"):
        patch.setattr(torch, "save", full)
        train(model(config), pictures, PATCH, tmp_path / "b", identity={})
    assert steps_in(tmp_path / "b/checkpoint") == {"last.ckpt": 2}
    straight, resumed = model(config), model(config)
    assert train(resumed, pictures, PATCH, tmp_path / "b", identity={}, resume=True) == 2
    train(straight, pictures, PATCH, tmp_path / "a", identity={})
    assert states_equal(straight, resumed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_really_full_device_is_an_os_error_not_a_runtime_error() -> None:
    """torch's own writer turns it into "unexpected pos 576 vs 534"; save_checkpoint relies on this."""
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb") as handle:
        torch.save({"w": torch.zeros(200_000)}, handle)
    assert caught.value.errno == errno.ENOSPC


def test_changed_pixels_are_noticed_where_they_are_known(pictures: Pictures) -> None:
    digest = pictures.digest()
    assert digest is not None and pictures.digest() == digest
    assert pictures.held is not None
    pictures.held[3, 1, 2, 2] ^= 1
    changed = pictures.digest()
    with pytest.raises(TrainingError, match="content: "):
        check_same_run({"content": digest}, {"content": changed}, "x")
    on_demand = Pictures(pictures.refs, pictures.modality, pictures.size)
    assert on_demand.digest() is None
    check_same_run({"content": digest}, {"content": on_demand.digest()}, "x")
    check_same_run({}, {"content": digest}, "x")
