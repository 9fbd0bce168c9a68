"""Progress: counts everywhere, lines in pipes, a bar on a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest

from medfm.core.progress import Bar, Lines, Silent, for_people


def test_silent_counts() -> None:
    with Silent("x", 3) as progress:
        progress.advance()
        progress.advance(2)
    assert progress.done == 3


def test_lines_show_count_rate_and_time_left() -> None:
    out = io.StringIO()
    with Lines("embedding", 4, every=0.0, out=out) as progress:
        progress.advance(2, "two failed")
        progress.advance(2)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("embedding: 2/4 records, ")
    assert " s left, two failed" in lines[0]
    assert lines[-1].startswith("embedding: 4/4 records")


def test_lines_say_when_stopped() -> None:
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Lines("embedding", None, out=out) as progress:
        progress.advance()
        raise KeyboardInterrupt
    assert out.getvalue().rstrip().endswith("stopped")


def test_lines_are_used_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(for_people("x", 1), Lines)


def test_a_bar_is_drawn_on_a_terminal() -> None:
    code = (
        "from medfm.core.progress import for_people, Bar\n"
        "with for_people('embedding', 2) as p:\n"
        "    assert isinstance(p, Bar)\n"
        "    p.advance(2)\n"
    )
    main, side = pty.openpty()
    process = subprocess.run([sys.executable, "-c", code], stderr=side, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(side)
    shown = os.read(main, 65536).decode()
    os.close(main)
    assert process.returncode == 0
    assert "embedding" in shown and "2/2" in shown and "records/s" in shown


def test_bar_is_a_progress() -> None:
    assert Bar("x", 1).total == 1
