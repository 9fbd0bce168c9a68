from pathlib import Path

import pytest

from medfm.core import memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "meminfo").write_text("MemTotal:  16000 kB\nMemAvailable:   9000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", ((tmp_path / "max", tmp_path / "current"),))
    return tmp_path


def test_what_the_system_says(system: Path) -> None:
    assert memory.available_bytes() == 9000 * 1024


@pytest.mark.parametrize(
    ("limit", "expected"), [("5000000", 4_000_000), ("max", 9000 * 1024), ("10", 0), ("99000000000", 9000 * 1024)]
)
def test_the_smaller_of_system_and_container(system: Path, limit: str, expected: int) -> None:
    (system / "max").write_text(limit + "\n")
    (system / "current").write_text("1000000\n")
    assert memory.available_bytes() == expected


def test_without_meminfo_all_memory_counts(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "meminfo").unlink()
    assert (memory.available_bytes() or 0) > 1 << 28
    monkeypatch.setattr(memory.os, "sysconf", _unknown)
    assert memory.available_bytes() is None


def test_here_it_is_a_number() -> None:
    assert (memory.available_bytes() or 0) > 1 << 20


def _unknown(name: str) -> int:
    raise ValueError(name)
