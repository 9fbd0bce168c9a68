"""The last stage of the pipeline: vectors are collected and written as shards in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import numpy as np

from medfm.embeddings.store import EncoderStore

_QUEUED_BATCHES = 64


class ShardWriter:
    """Writes shards beside the computation; `put` from any thread, then `close`.

    A shard is written when `every` vectors have come together, or `seconds` after the first
    of them: that is the most a killed run loses.

    Args:
        store: Where the shards go.
        every: Vectors in a shard.
        seconds: The longest time a vector waits in memory.
        written: Called in the writer's thread with the keys of each shard that is on disk.
    """

    def __init__(
        self, store: EncoderStore, *, every: int, seconds: float, written: Callable[[list[bytes]], None]
    ) -> None:
        self._store = store
        self._every = every
        self._seconds = seconds
        self._written = written
        self._queue: queue.Queue[tuple[list[bytes], np.ndarray] | None] = queue.Queue(_QUEUED_BATCHES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="medfm-writer", daemon=True)
        self._thread.start()

    def put(self, keys: list[bytes], values: np.ndarray) -> None:
        """Hand over vectors float32 (n, d); waits while too many are queued.

        Raises:
            StoreError: An earlier shard could not be written.
        """
        while True:
            if self._error is not None:
                raise self._error
            try:
                self._queue.put((keys, values), timeout=0.2)
                return
            except queue.Full:
                continue

    def close(self) -> None:
        """Write what is left and end the thread.

        Raises:
            StoreError: A shard could not be written.
        """
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        keys: list[bytes] = []
        parts: list[np.ndarray] = []
        due = 0.0
        ended = False
        while not ended:
            try:
                entry = self._queue.get(timeout=max(0.0, due - time.monotonic()) if keys else None)
            except queue.Empty:
                pass
            else:
                if entry is None:
                    ended = True
                else:
                    if not keys:
                        due = time.monotonic() + self._seconds
                    keys += entry[0]
                    parts.append(entry[1])
            if keys and (ended or len(keys) >= self._every or time.monotonic() >= due) and self._error is None:
                try:
                    self._store.write(keys, np.concatenate(parts))
                    self._written(keys)
                # Whatever happens here must reach the caller of put or close.
                except BaseException as error:
                    self._error = error
                keys, parts = [], []
            if self._error is not None:
                # Keep emptying the queue, so that nobody waits on it for ever.
                keys, parts = [], []
