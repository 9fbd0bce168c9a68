"""Embeddings that stay in the store: for cohorts whose vectors do not fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.files import atomic_path
from medfm.embeddings.embeddings import Embeddings, Failure, digest_of
from medfm.embeddings.store import EncoderStore


@dataclass(frozen=True)
class StoredEmbeddings:
    """A handle on the vectors of a cohort's records; nothing is read before it is asked for.

    Attributes:
        store: Where the vectors lie.
        keys: (n,) content keys of 32 bytes, in the order of `record_ids`.
        record_ids: n ids.
        provenance: As in :class:`Embeddings`.
        failures: Records that could not be embedded.
    """

    store: EncoderStore
    keys: np.ndarray
    record_ids: tuple[str, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.record_ids)

    @property
    def dim(self) -> int:
        """Width d of one vector."""
        return self.store.maker.dim

    def batches(self, rows: int = 4096) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        """Ids and vectors float32 (at most `rows`, d), in order; a few shards are held at a time."""
        for start in range(0, len(self), rows):
            yield self.record_ids[start : start + rows], self.store.gather(self.keys[start : start + rows])

    def collect(self) -> Embeddings:
        """All vectors in memory: n x d x 4 bytes."""
        return Embeddings(self.store.gather(self.keys), self.record_ids, dict(self.provenance), self.failures)

    def map(self, path: str | Path) -> Embeddings:
        """All vectors in a memory-mapped ``.npy`` file at `path`, written atomically."""
        target = Path(path)
        with atomic_path(target) as temporary:
            shape = (len(self), self.dim)
            if not len(self):
                with temporary.open("wb") as handle:
                    np.save(handle, np.empty(shape, np.float32))
            else:
                out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
                _reserve(temporary)
                for positions, values in self.store.by_shard(self.keys):
                    out[positions] = values
                out.flush()
                del out
        # An array of no rows cannot be mapped.
        values = np.load(target, mmap_mode="r" if len(self) else None, allow_pickle=False)
        return Embeddings(values, self.record_ids, dict(self.provenance), self.failures)

    def digest(self) -> str:
        """The digest that :meth:`Embeddings.digest` gives of the same vectors."""
        return digest_of(self.record_ids, (values for _, values in self.batches()), self.dim)


def _reserve(path: Path) -> None:
    """Claim the disk space now: a full disk met later, through the mapping, would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
