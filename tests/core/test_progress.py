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


def test_the_last_line_is_not_said_twice() -> None:
    out = io.StringIO()
    with Lines("embedding", 2, every=0.0, out=out) as progress:
        progress.advance(2)
    assert len(out.getvalue().splitlines()) == 1


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


def test_steps_of_an_earlier_run_do_not_count_for_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run resumed at step 100 of 120 used to promise its end within a second."""
    clock = [50.0]
    monkeypatch.setattr("medfm.core.progress.time.monotonic", lambda: clock[0])
    out = io.StringIO()
    with Lines("training", 120, "steps", every=1.0, out=out) as progress:
        progress.skip(100)
        clock[0] += 10
        progress.advance(5)
    assert out.getvalue() == "training: 105/120 steps, 0.5/s, 30 s left\n"
    assert progress.done == 105


def test_nothing_done_but_skipped_has_no_time_left() -> None:
    out = io.StringIO()
    with Lines("training", 120, "steps", out=out) as progress:
        progress.skip(100)
    assert out.getvalue() == "training: 100/120 steps, 100 from before\n"


def test_a_bar_starts_where_the_earlier_run_ended() -> None:
    with Bar("training", 120, "steps") as progress:
        progress.skip(100)
        (task,) = progress._bar.tasks
        assert task.completed == 100 and task.speed is None
        progress.advance(1)
        assert task.completed == 101 and progress.done == 101


def test_work_that_an_earlier_run_did_whole_has_no_rate_of_zero() -> None:
    out = io.StringIO()
    with Lines("preparing", 3, "volumes", out=out) as progress:
        progress.skip(3)
    assert out.getvalue() == "preparing: 3/3 volumes, 3 from before\n"
    out = io.StringIO()
    with Lines("preparing", 0, "volumes", out=out):
        pass
    assert "0.0/s" in out.getvalue(), "nothing from before: nothing else to say"
