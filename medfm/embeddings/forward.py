"""The third stage of the pipeline: the encoder's forward pass.

Matrix products give a row different last bits depending on its place in a batch. So that a
resumed run equals an uninterrupted one bit by bit, a CPU forwards records one at a time
(``exact``); several streams run side by side, each with one thread. That costs a few percent
against batches on one stream, and is faster than one stream of several threads: a thread that
loses its core to a decoding process holds up nobody else. A value then depends neither on the
batch size nor on the number of cores.

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
        exact: Whether records are forwarded one at a time instead.
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
        # Whether a vector's last bits are independent of its batch; unknown before the first one.
        self.exact: bool | None = True if self._rows == 1 else None
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
        for start in range(0, len(keys), self._rows):
            if self._stop.is_set():
                return
            self._forward_rows(keys[start : start + self._rows], batch[start : start + self._rows])

    def _forward_rows(self, keys: list[bytes], batch: torch.Tensor) -> None:
        try:
            values = self._vectors(batch)
        except ConfigError:
            # The shape or type of the input does not fit: no other batch would fare better.
            raise
        except MedfmError as error:
            if len(keys) == 1:
                self._failed(keys[0], error.what)
                return
            # The encoder refuses the batch, perhaps for one record: find out which.
            for key, row in zip(keys, batch, strict=True):
                self._forward_rows([key], row[None])
        else:
            self._hand_on(keys, values)

    def _vectors(self, batch: torch.Tensor) -> np.ndarray:
        n = len(batch)
        if n < self._rows:
            batch = torch.cat([batch, batch[:1].expand(self._rows - n, *batch.shape[1:])])
        mixed = self._precision == "bf16"
        with torch.inference_mode(), torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=mixed):
            vectors = self._encoder(batch.to(self._device, non_blocking=True))
        dim = self._encoder.embedding_dim
        if tuple(vectors.shape) != (self._rows, dim):
            raise ConfigError(
                f"The encoder gave an array of shape {tuple(vectors.shape)}.",
                where=self._encoder.id,
                expected=f"({self._rows}, {dim})",
            )
        # A copy: a view would keep the memory of the whole padded batch.
        return vectors[:n].float().cpu().numpy().copy()

    def _try_reversed(self, batch: torch.Tensor) -> None:
        with contextlib.suppress(MedfmError):  # refused records are dealt with when their turn comes
            self.exact = bool((self._vectors(batch) == self._vectors(batch.flip(0))[::-1]).all())
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
