"""The third stage of the pipeline: the encoder's forward pass.

Matrix products can give a row different last bits depending on its company in a batch. So that
a resumed run equals an uninterrupted one bit by bit, a CPU gives every record the bits that it
gets alone (``exact``): records go one at a time until a trial batch has shown that eight together
get the same bits, as they do in most networks, and together from then on. Several streams run
side by side, each with one thread, which is faster than one stream of several threads: a thread
that loses its core to a decoding process holds up nobody else. A value then depends neither on
the batch size nor on the number of cores.

A GPU needs batches. They are filled up to one fixed size, and the first of them is also run in
reverse order to see whether the last bits depend on the place there.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch

from medfm.core.errors import ConfigError, MedfmError
from medfm.modalities.record import Record

_LOG = logging.getLogger(__name__)
# A CPU gains nothing from larger batches, and memory grows with streams times this.
_TOGETHER = 8


class EncoderLike(Protocol):
    """What the pipeline needs of an encoder."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, architecture and preprocessing."""
        ...

    @property
    def modality(self) -> str:
        """Name of the modality it was made for."""
        ...

    @property
    def weights_kind(self) -> str:
        """``published``, ``local file``, ``random`` or ``trained here``."""
        ...

    @property
    def embedding_dim(self) -> int:
        """Width of an embedding."""
        ...

    @property
    def device(self) -> Any:
        """Where the weights lie."""
        ...

    @property
    def preprocess(self) -> Callable[[Record], torch.Tensor]:
        """Record -> float32 tensor; can be sent to a worker process."""
        ...

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (n, ...) -> float32 (n, embedding_dim)."""
        ...


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread within the block, and with as many as before after it.

    In the main thread this keeps decoding from fighting with the streams for the cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Streams:
    """Threads that take batches and hand vectors on; use as a context manager.

    Leaving the block normally waits for all batches; leaving it by an exception drops those
    that have not begun.

    Args:
        encoder: The encoder.
        batch_size: The most records handed over at a time, and the rows of a forward pass.
        exact: Whether each record gets the bits that it gets alone; one at a time where nothing else gives them.
        precision: ``"fp32"``, or ``"bf16"`` for automatic mixed precision.
        streams: Number of threads.
        done: Called in a stream's thread with keys and float32 vectors (n, d), all finite.
        failed: Called in a stream's thread with a key and a reason.
    """

    def __init__(
        self,
        encoder: EncoderLike,
        *,
        batch_size: int,
        exact: bool,
        precision: str,
        streams: int,
        done: Callable[[list[bytes], np.ndarray], None],
        failed: Callable[[bytes, str], None],
    ) -> None:
        self._encoder = encoder
        self._device = torch.device(encoder.device)
        self._rows = 1 if exact else batch_size
        self._as_alone = exact
        # Whether a vector's last bits are independent of its batch; unknown before the first one.
        self.exact: bool | None = True if self._rows == 1 else None
        # Rows to try together; kernels are chosen by shape, so a shape that was tried can be relied on.
        self._together = min(batch_size, _TOGETHER) if exact and self._device.type == "cpu" else 1
        self._trial = threading.Lock()
        self._tried = self._together == 1
        self._taken = 0
        self._precision = precision
        self._done = done
        self._failed = failed
        self._queue: queue.Queue[tuple[list[bytes], torch.Tensor] | None] = queue.Queue(streams)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"medfm-forward-{i}", daemon=True) for i in range(streams)
        ]

    def __enter__(self) -> Streams:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        else:
            for _thread in self._threads:
                self._offer(None)
        for thread in self._threads:
            thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def submit(self, keys: list[bytes], batch: torch.Tensor) -> None:
        """Hand over a batch (n, ...) of at most `batch_size` rows; waits while all streams are busy."""
        self._offer((keys, batch))
        if self._error is not None:
            raise self._error

    def _offer(self, entry: tuple[list[bytes], torch.Tensor] | None) -> None:
        # A dead stream never empties the queue: look for its error from time to time.
        while self._error is None:
            try:
                return self._queue.put(entry, timeout=0.2)
            except queue.Full:
                continue
        return None

    def _run(self) -> None:
        # The number of threads is a property of each thread; see one_thread for the main one.
        torch.set_num_threads(1)
        while not self._stop.is_set() and self._error is None:
            try:
                entry = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if entry is None:
                return
            try:
                self._forward(*entry)
            # Whatever happens here must reach the caller of submit.
            except BaseException as error:
                self._error = error

    def _forward(self, keys: list[bytes], batch: torch.Tensor) -> None:
        if self.exact is None and len(batch) == self._rows:
            self._try_reversed(batch)
        self._taken += len(keys)
        # A handful of records is done sooner than a trial; other streams go on meanwhile, one record at a time.
        if not self._tried and self._taken > _TOGETHER and self._trial.acquire(blocking=False):
            try:
                while not self._tried and len(keys) >= self._together:
                    self._try_together(keys[: self._together], batch[: self._together])
                    keys, batch = keys[self._together :], batch[self._together :]
            finally:
                self._trial.release()
        rows = self._rows
        for start in range(0, len(keys), rows):
            if self._stop.is_set():
                return
            part, some = keys[start : start + rows], batch[start : start + rows]
            # Up to half a pass costs less one by one than filled up.
            step = 1 if self._as_alone and 2 * len(part) <= rows else rows
            for row in range(0, len(part), step):
                self._forward_rows(part[row : row + step], some[row : row + step], step)

    def _forward_rows(self, keys: list[bytes], batch: torch.Tensor, rows: int) -> None:
        try:
            values = self._vectors(batch, rows)
        except ConfigError:
            # The shape or type of the input does not fit: no other batch would fare better.
            raise
        except MedfmError as error:
            if len(keys) == 1:
                self._failed(keys[0], error.what)
                return
            # The encoder refuses the batch, perhaps for one record: find out which.
            for key, row in zip(keys, batch, strict=True):
                self._forward_rows([key], row[None], 1 if self._as_alone else rows)
        else:
            self._hand_on(keys, values)

    def _vectors(self, batch: torch.Tensor, rows: int) -> np.ndarray:
        n = len(batch)
        if n < rows:
            batch = torch.cat([batch, batch[:1].expand(rows - n, *batch.shape[1:])])
        mixed = self._precision == "bf16"
        with torch.inference_mode(), torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=mixed):
            vectors = self._encoder(batch.to(self._device, non_blocking=True))
        dim = self._encoder.embedding_dim
        if tuple(vectors.shape) != (rows, dim):
            raise ConfigError(
                f"The encoder gave an array of shape {tuple(vectors.shape)}.",
                where=self._encoder.id,
                expected=f"({rows}, {dim})",
            )
        # A copy: a view would keep the memory of the whole padded batch.
        return vectors[:n].float().cpu().numpy().copy()

    def _try_together(self, keys: list[bytes], batch: torch.Tensor) -> None:
        """Forward the records one at a time, and see whether together they get the same bits."""
        try:
            alone = np.concatenate([self._vectors(row[None], 1) for row in batch])
        except ConfigError:
            raise
        except MedfmError:
            for key, row in zip(keys, batch, strict=True):
                self._forward_rows([key], row[None], 1)
            return
        self._hand_on(keys, alone)
        if not np.isfinite(alone).all() or len(np.unique(alone, axis=0)) < len(alone):
            return  # equal rows (blank pictures) could agree by chance: the next batch decides
        # Too little memory for many rows ends the trial, not the run.
        with contextlib.suppress(MedfmError, RuntimeError):
            if np.array_equal(self._vectors(batch, len(batch)), alone):
                self._rows = self._together
        self._tried = True

    def _try_reversed(self, batch: torch.Tensor) -> None:
        with contextlib.suppress(MedfmError):  # refused records are dealt with when their turn comes
            self.exact = bool(
                (self._vectors(batch, len(batch)) == self._vectors(batch.flip(0), len(batch))[::-1]).all()
            )
            if not self.exact:
                _LOG.warning(
                    "On this device the last bits of a vector depend on its place in a batch: a resumed run may "
                    "differ there from an uninterrupted one. exact=true avoids that and is slower."
                )

    def _hand_on(self, keys: list[bytes], values: np.ndarray) -> None:
        finite = np.isfinite(values).all(axis=1)
        for row in np.flatnonzero(~finite):
            self._failed(keys[row], "The encoder gave values that are not finite.")
        if finite.any():
            self._done([key for key, ok in zip(keys, finite, strict=True) if ok], values[finite])
