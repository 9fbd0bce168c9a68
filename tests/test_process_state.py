"""The guard that names a test file which changes its process for the files after it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pytest
import torch
from process_state import left_behind, snapshot

from medfm.encoders import registry

pytest_plugins = ["pytester"]


def test_nothing_done_is_nothing_left() -> None:
    assert left_behind(snapshot(), snapshot()) == []


def _changes() -> list[tuple[str, Callable[[pytest.MonkeyPatch], object]]]:
    return [
        ("os.environ: MEDFM_LEFT", lambda patch: patch.setenv("MEDFM_LEFT", "1")),
        ("os.environ: HOME", lambda patch: patch.delenv("HOME")),
        ("os.environ: PATH", lambda patch: patch.setenv("PATH", "/nowhere")),
        ("the working folder", lambda patch: patch.chdir("/")),
        ("the path of modules: /nowhere", lambda patch: patch.syspath_prepend("/nowhere")),
        ("modules that were loaded: medfm", lambda patch: patch.setitem(sys.modules, "medfm", ModuleType("medfm"))),
        ("modules that were loaded: medfm", lambda patch: patch.delitem(sys.modules, "medfm")),
        ("sys.excepthook", lambda patch: patch.setattr(sys, "excepthook", print)),
        ("folders of cards", lambda patch: patch.setattr(registry, "_added", [Path("/nowhere")])),
        ("matplotlib's settings: font.size", lambda patch: patch.setitem(mpl.rcParams, "font.size", 3.0)),
        ("the level of medfm's log", lambda patch: patch.setattr(logging.getLogger("medfm"), "level", 3)),
        ("the handlers", lambda patch: patch.setattr(logging.getLogger("medfm"), "handlers", [logging.NullHandler()])),
    ]


@pytest.mark.parametrize(
    ("words", "change"), _changes(), ids=[f"{i} {words}" for i, (words, _) in enumerate(_changes())]
)
def test_what_is_changed_is_named(words: str, change: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot()
    with monkeypatch.context() as patch:
        change(patch)
        (line,) = left_behind(before, snapshot())
    assert line.startswith(words)
    assert left_behind(before, snapshot()) == []


def test_libraries_and_signals_that_are_set_by_calls() -> None:
    before, kept = snapshot(), (torch.get_num_threads(), signal.getsignal(signal.SIGTERM), np.geterr())
    try:
        torch.set_num_threads(kept[0] + 1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        np.seterr(over="ignore" if kept[2]["over"] != "ignore" else "raise")
        lines = left_behind(before, snapshot())
    finally:
        torch.set_num_threads(kept[0])
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        signal.signal(signal.SIGTERM, kept[1])
        np.seterr(**kept[2])
    for words in ("torch's threads", "default type: torch.float32", "gradients: True", "SIGTERM", "overflow: over"):
        assert [line for line in lines if words in line], words
    assert len(lines) == 5 and left_behind(before, snapshot()) == []


def test_more_modules_and_pytests_own_variable_are_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot()
    monkeypatch.setitem(sys.modules, "a_module_loaded_later", ModuleType("later"))
    monkeypatch.setitem(sys.modules, "torch.loaded_later", ModuleType("later"))
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "another")
    monkeypatch.setenv("KMP_OF_A_LIBRARY", "1")
    assert left_behind(before, snapshot()) == []


def test_a_library_loaded_later_is_compared_from_then_on() -> None:
    before = {name: value for name, value in snapshot().items() if "torch" not in name}
    assert left_behind(before, snapshot()) == []


def test_a_folder_that_is_gone_is_no_fault_of_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert "gone" in snapshot()["the working folder"]


def test_it_costs_next_to_nothing() -> None:
    snapshot()
    start = time.process_time()
    for _ in range(5):
        left_behind(snapshot(), snapshot())
    assert (time.process_time() - start) / 5 < 0.05  # measured: 2 ms with 5,000 modules loaded


def test_the_file_is_named_and_later_files_are_judged_by_themselves(pytester: pytest.Pytester) -> None:
    here = Path(__file__).parent
    fixture = "from collections.abc import Iterator\nimport pytest\nfrom process_state import left_behind, snapshot\n"
    source = (here / "conftest.py").read_text(encoding="utf-8")
    start = source.index('@pytest.fixture(scope="module", autouse=True)\ndef nothing_left_behind')
    pytester.makeconftest(fixture + source[start:].split("\n\n\n", 1)[0])
    pytester.makepyfile(
        test_bad="import os\ndef test_one():\n    os.environ['MEDFM_LEFT'] = '1'\n",
        test_good="import os\ndef test_two():\n    assert os.environ['MEDFM_LEFT'] == '1'\n",
    )
    pytester.syspathinsert(here)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    os.environ.pop("MEDFM_LEFT", None)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*test_bad.py leaves its process otherwise than it found it:*", "*os.environ: MEDFM_LEFT"]
    )
