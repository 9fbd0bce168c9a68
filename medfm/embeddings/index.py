"""Where each key lies: sorted arrays instead of a dictionary, so a million keys take 40 MB."""

from __future__ import annotations

import threading

import numpy as np

KEY_BYTES = 32
KEY_DTYPE = np.dtype(f"S{KEY_BYTES}")


def key_array(keys: bytes | bytearray | list[bytes]) -> np.ndarray:
    """Keys of :data:`KEY_BYTES` bytes each, laid end to end or in a list, as an array (n,)."""
    return np.frombuffer(b"".join(keys) if isinstance(keys, list) else bytes(keys), dtype=KEY_DTYPE)


class KeyIndex:
    """key -> (shard number, row), safe to use from several threads.

    Shards are added as sorted runs; runs of similar size are merged, so that both adding and
    looking up stay logarithmic.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of entries; a key in two shards counts twice."""
        return sum(len(keys) for keys, _, _ in self._runs)

    def add(self, keys: np.ndarray, shard: int) -> None:
        """Add the keys (n,) of shard number `shard`, in the order of its rows."""
        order = np.argsort(keys, kind="stable")
        run = (keys[order], np.full(len(keys), shard, np.int32), order.astype(np.int32))
        with self._lock:
            self._runs.append(run)
            while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
                last, before = self._runs.pop(), self._runs.pop()
                joined = [np.concatenate(pair) for pair in zip(before, last, strict=True)]
                order = np.argsort(joined[0], kind="stable")
                self._runs.append((joined[0][order], joined[1][order], joined[2][order]))

    def locate(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard numbers and rows (n,) int32 of the `keys` (n,); both -1 where a key is unknown."""
        shards = np.full(len(keys), -1, np.int32)
        rows = np.full(len(keys), -1, np.int32)
        with self._lock:
            runs = list(self._runs)
        for known, known_shards, known_rows in runs:
            if not len(known):
                continue
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            hit = (shards < 0) & (known[at] == keys)
            shards[hit] = known_shards[at[hit]]
            rows[hit] = known_rows[at[hit]]
        return shards, rows

    def drop(self, shard: int) -> None:
        """Forget every entry of shard number `shard`."""
        with self._lock:
            kept = []
            for keys, shards, rows in self._runs:
                keep = shards != shard
                kept.append((keys[keep], shards[keep], rows[keep]))
            self._runs = kept
