"""Files are whole or absent: interrupted, failed and full-disk writes leave nothing behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from medfm.core import files
from medfm.core.errors import StoreError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_write_and_replace(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.json"
    files.write_json(target, {"a": 1})
    files.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 2}
    assert names(target.parent) == ["a.json"]


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(target, {"a": float("nan")})
    assert json.loads(target.read_text()) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_failing_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.atomic_open(tmp_path / "a.bin") as handle:
        handle.write(b"half")
        raise RuntimeError
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "cannot be written"),
        (errno.EROFS, "cannot be written"),
        (errno.EIO, "Writing failed"),
    ],
)
def test_os_errors_become_clear_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=words):
        files.write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == []


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(StoreError, match="where a folder is needed"):
        files.write_text(tmp_path / "a" / "b.txt", "x")


def test_folder_appears_whole(tmp_path: Path) -> None:
    with files.atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["a"]


def test_an_existing_folder_is_kept_unless_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("1")
    with pytest.raises(StoreError, match="exists already"), files.atomic_folder(tmp_path / "out"):
        pass
    assert names(tmp_path / "out") == ["old"]
    with files.atomic_folder(tmp_path / "out", replace=True) as folder:
        (folder / "new").write_text("2")
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["out"]


def test_a_failing_replacement_keeps_the_old_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("1")
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "out", replace=True) as folder:
        (folder / "new").write_text("2")
        raise RuntimeError
    assert names(tmp_path / "out") == ["old"]
    assert names(tmp_path) == ["out"]


def test_killed_while_writing_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, time
        from medfm.core.files import atomic_open
        with atomic_open(sys.argv[1]) as handle:
            handle.write(b"half"); handle.flush()
            print("writing", flush=True)
            time.sleep(60)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.bin")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "a.bin").exists()


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    files.write_text(target, "0" * 100_000)
    end = time.monotonic() + 0.3
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < end:
            for digit in "123":
                files.write_text(target, digit * 100_000)
        os._exit(0)
    while time.monotonic() < end:
        text = target.read_text()
        assert len(text) == 100_000
        assert len(set(text)) == 1
    os.waitpid(pid, 0)
