"""The training log: JSON lines, optionally TensorBoard, and the loss curve as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from medfm.core.errors import TrainingError
from medfm.core.extras import import_extra
from medfm.core.files import atomic_open, make_folder, write_error, write_text


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The complete lines of a log; a last line cut off by a crash is left out.

    Raises:
        TrainingError: A line before the last is not JSON.
    """
    file = Path(path)
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise TrainingError("The training log is damaged.", where=f"{file}, line {number}") from error
    return rows


class TrainingLog:
    """One JSON object per step in ``log.jsonl``; use as a context manager.

    Args:
        folder: Folder of the log.
        first: Step the run starts at; lines of this and later steps (written after the last
            checkpoint of a killed run) are dropped, since those steps are done again.
        tensorboard: Whether to write TensorBoard events to ``tensorboard/`` too.

    Raises:
        StoreError: The folder cannot be written to.
        MissingExtraError: TensorBoard is wanted and absent.
    """

    def __init__(self, folder: str | Path, first: int = 0, tensorboard: bool = False) -> None:
        self.path = make_folder(folder) / "log.jsonl"
        kept = [row for row in read_log(self.path) if row["step"] < first]
        write_text(self.path, "".join(_line(row) for row in kept))
        self._board: Any = None
        if tensorboard:
            import_extra("tensorboard", "tensorboard", "Writing TensorBoard events")
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=first)

    def __enter__(self) -> Self:
        try:
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise write_error(error, self.path) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, row: dict[str, Any]) -> None:
        """Append one step (``row["step"]`` is its number) and hand it to the operating system."""
        try:
            self._file.write(_line(row))
            self._file.flush()
        except OSError as error:
            raise write_error(error, self.path) from error
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, row["step"])


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Running means over up to `window` values ending at each position."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [(sums[i] - sums[max(0, i - window)]) / min(i, window) for i in range(1, len(sums))]


def draw_loss(path: str | Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """The loss terms over the steps as a PNG, thin as measured and thick as running means.

    Args:
        path: File to write.
        rows: Lines of a log.
        title: Shown above the curves.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [n for n in ("total", "global", "local", "ibot", "koleo") if rows and any(row.get(n) for row in rows)]
    figure = Figure(figsize=(7, 1.2 + 1.6 * max(len(names), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(len(names), 1), 1, sharex=True, squeeze=False)
    steps = [row["step"] + 1 for row in rows]
    window = max(1, math.ceil(len(rows) / 20))
    for axis, name in zip(grid[:, 0], names, strict=False):
        values = [row[name] for row in rows]
        axis.plot(steps, values, linewidth=0.6, color="0.7")
        axis.plot(steps, smooth(values, window), linewidth=1.6, color="tab:blue")
        axis.set_ylabel(name)
        axis.spines[["top", "right"]].set_visible(False)
    grid[-1, 0].set_xlabel("step")
    figure.suptitle(title)
    with atomic_open(path) as handle:
        figure.savefig(handle, format="png", dpi=110)
