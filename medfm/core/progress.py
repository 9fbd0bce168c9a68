"""Progress for people: a bar with rate and time left on a terminal, plain lines elsewhere.

Library code receives a :class:`Progress` and never writes to the terminal by itself; the
default :class:`Silent` does nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from typing_extensions import Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress:
    """Counts items of one stage; subclasses show it. Use as a context manager.

    Args:
        title: What is being done, such as ``"embedding"``.
        total: Number of items, or ``None`` when unknown.
        unit: Plural noun of an item, such as ``"records"``.
    """

    def __init__(self, title: str, total: int | None, unit: str = "records") -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0
        self.before = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items as done; `note` is shown beside the bar."""
        self.done += count

    def skip(self, count: int) -> None:
        """Count `count` items that an earlier run did: they say nothing about the rate or the time left."""
        self.done += count
        self.before += count


class Silent(Progress):
    """Shows nothing: the default of library calls."""


class Bar(Progress):
    """A bar with count, rate and estimated time left, for terminals."""

    _bar: RichProgress
    _task: TaskID

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._start = time.monotonic()
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._task = self._bar.add_task(self.title, total=self.total, rate="", note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items as done."""
        super().advance(count, note)
        seconds = time.monotonic() - self._start
        rate = f"{(self.done - self.before) / seconds:.1f} {self.unit}/s" if seconds > 0 else ""
        self._bar.update(self._task, advance=count, rate=rate, note=note)

    def skip(self, count: int) -> None:
        """Count `count` items of an earlier run."""
        super().skip(count)
        # Not update: it would take them for work of this moment.
        self._bar.reset(self._task, completed=self.done)


class Lines(Progress):
    """A plain line at most every `every` seconds, for logs and pipes."""

    def __init__(
        self, title: str, total: int | None, unit: str = "records", *, every: float = 5.0, out: TextIO | None = None
    ) -> None:
        super().__init__(title, total, unit)
        self.every = every
        self.out = out if out is not None else sys.stderr

    def __enter__(self) -> Self:
        self._start = self._last = time.monotonic()
        self._shown = -1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or self._shown != self.done:
            self._line("" if kind is None else "stopped")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items as done."""
        super().advance(count, note)
        if time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            self._line(note)

    def _line(self, note: str) -> None:
        self._shown = self.done
        seconds = max(time.monotonic() - self._start, 1e-9)
        new = self.done - self.before
        rate = new / seconds
        of = f"/{self.total}" if self.total is not None else ""
        left = (
            f", {(self.total - self.done) / rate:.0f} s left"
            if self.total and rate > 0 and self.done < self.total
            else ""
        )
        tail = f", {note}" if note else ""
        # Where nothing was left to do, a rate of 0 would look like a run that hangs.
        pace = f"{rate:.1f}/s" if new or not self.before else f"{self.before} from before"
        print(f"{self.title}: {self.done}{of} {self.unit}, {pace}{left}{tail}", file=self.out, flush=True)


# Makes the display of one stage from its title, number of items (if known) and unit.
ProgressMaker = Callable[[str, "int | None", str], Progress]


def for_people(title: str, total: int | None, unit: str = "records") -> Progress:
    """A bar when standard error is a terminal, plain lines otherwise."""
    return Bar(title, total, unit) if sys.stderr.isatty() else Lines(title, total, unit)
