"""Files and folders: rights, long names, what is flushed, what killed processes leave behind."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medfm.core import files
from medfm.core.errors import StoreError


@pytest.fixture
def umask():
    """Sets the umask for a test."""
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_alone_decides_who_may_read(tmp_path: Path, umask, mask: int, mode: int) -> None:
    umask(mask)
    files.write_text(tmp_path / "a/file.txt", "x")
    with files.atomic_folder(tmp_path / "run") as folder:
        files.write_json(folder / "result.json", {})
    for path in (tmp_path / "a/file.txt", tmp_path / "run/result.json"):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == mode | (mode >> 2 & 0o111)


@pytest.mark.parametrize(
    "name", ["a" * 250 + ".json", "ä" * 120 + ".json", "細胞" * 40, "with space", ".hidden", "a.b.c"]
)
def test_any_name_the_file_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    files.write_text(tmp_path / name, "x")
    files.write_text(tmp_path / name, "y")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "y"
    with files.atomic_folder(tmp_path / "folders" / name) as folder:
        (folder / "inside").write_text("z")
    assert (tmp_path / "folders" / name / "inside").read_text() == "z"


def test_a_name_that_is_too_long_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Writing failed"):
        files.write_text(tmp_path / ("a" * 300), "x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_and_its_folder_reach_the_disk_before_anyone_relies_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data first, then the rename, then the folder: a power cut leaves the old file or the new one."""
    events: list[str] = []
    replace, fsync = Path.replace, os.fsync

    def noted_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    def noted_fsync(handle: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(Path, "replace", noted_replace)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    files.write_text(tmp_path / "a.txt", "x")
    assert events == ["file", "rename", *(["folder"] if os.name != "nt" else [])]
    events.clear()
    with files.atomic_folder(tmp_path / "run") as folder:
        (folder / "deep").mkdir()
        for name in ("one", "deep/two"):
            (folder / name).write_text("plain writes, not flushed by themselves")
    assert events == ["file", "file", "rename", *(["folder"] if os.name != "nt" else [])]


def test_a_folder_that_cannot_be_flushed_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not on this network share")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    files.write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_a_folder_that_disappears_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="disappeared") as caught, files.atomic_path(tmp_path / "f" / "a.txt") as path:
        path.write_text("x")
        path.unlink()
        path.parent.rmdir()
    assert "run the same command again" in str(caught.value) and "a.txt" in str(caught.value)


def ended_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot ask whether a process lives")
def test_leftovers_of_ended_processes_go_and_nothing_else(tmp_path: Path) -> None:
    gone, target = ended_process(), tmp_path / "last.ckpt"
    doomed = [f".last.ckpt.{gone}.0123abcd.tmp", f".last.ckpt.{gone}.89ef4567.tmp"]
    kept = [
        "last.ckpt",
        f".last.ckpt.{os.getpid()}.0123abcd.tmp",  # of a living process
        f".other.ckpt.{gone}.0123abcd.tmp",
        f".last.ckpt.{gone}.0123abcd",
        f".lastXckpt.{gone}.0123abcd.tmp",
        f".last.ckpt.{gone}.0123abc.tmp",
        ".last.ckpt.x.0123abcd.tmp",
    ]
    for name in doomed + kept:
        (tmp_path / name).write_text("x")
    (tmp_path / f".last.ckpt.{gone}.aaaabbbb.tmp").mkdir()
    assert files.remove_leftovers(target) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted(kept)
    assert files.remove_leftovers(target) == 0
    assert files.remove_leftovers(tmp_path / "absent" / "x") == 0


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_the_temporary_name_is_on_the_same_file_system_as_the_target(tmp_path: Path, monkeypatch) -> None:
    """Renames do not cross devices, so TMPDIR must play no part."""
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    with files.atomic_path(tmp_path / "a.txt") as path:
        assert path.parent == tmp_path
        path.write_text("x")
    with files.atomic_folder(tmp_path / "b") as folder:
        assert folder.parent == tmp_path
    assert (tmp_path / "a.txt").stat().st_dev == tmp_path.stat().st_dev


def test_replacing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("kept")
    (tmp_path / "link.txt").symlink_to(tmp_path / "data.txt")
    files.write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "data.txt").read_text() == "kept"
    assert (tmp_path / "link.txt").read_text() == "new" and not (tmp_path / "link.txt").is_symlink()
