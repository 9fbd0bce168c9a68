"""Embeddings: one vector per record, with where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medfm.core.errors import EvaluationError

_BLOCK = 8192


@dataclass(frozen=True)
class Failure:
    """A record that could not be embedded, and why (no patient identifier)."""

    record_id: str
    reason: str


@dataclass(frozen=True)
class Embeddings:
    """Vectors of a cohort's records under one encoder.

    Attributes:
        values: float32 (n, d), all finite; may be a memory-mapped file.
        record_ids: n ids, the rows of `values`; unreadable records are absent and in `failures`.
        provenance: Encoder id and fingerprint, weights kind (``published``, ``local file``,
            ``random``, ``trained here``), precision, cohort digest, versions.
        failures: Records that could not be read, with the reason.
    """

    values: np.ndarray
    record_ids: tuple[str, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.record_ids):
            raise EvaluationError(
                f"Embeddings of shape {self.values.shape} do not fit {len(self.record_ids)} record ids.",
                expected="values of shape (n, d) with one record id per row",
            )
        for start in range(0, len(self.values), _BLOCK):
            finite = np.isfinite(self.values[start : start + _BLOCK]).all(axis=1)
            if not finite.all():
                bad = [self.record_ids[start + i] for i in np.flatnonzero(~finite)[:10]]
                raise EvaluationError("Some embeddings are not finite.", where="records " + ", ".join(bad))

    def __len__(self) -> int:
        return len(self.record_ids)

    def __repr__(self) -> str:
        # Never the vectors or the ids: there may be a million of them.
        about = [f"{len(self)} records x {self.dim}"]
        about += [str(self.provenance[key]) for key in ("encoder", "weights_kind") if self.provenance.get(key)]
        about += [f"{len(self.failures)} unreadable"] if self.failures else []
        return f"Embeddings({', '.join(about)})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def dim(self) -> int:
        """Width d of one vector."""
        return int(self.values.shape[1])

    def rows(self, record_ids: Sequence[str]) -> np.ndarray:
        """Positions of the given ids in :attr:`values`; -1 where an id has no embedding."""
        position = {record_id: i for i, record_id in enumerate(self.record_ids)}
        return np.array([position.get(record_id, -1) for record_id in record_ids], dtype=np.int64)

    def digest(self) -> str:
        """SHA-256 over the ids and the float32 values: equal embeddings have equal digests."""
        blocks = (self.values[start : start + _BLOCK] for start in range(0, len(self.values), _BLOCK))
        return digest_of(self.record_ids, blocks, self.dim)


def digest_of(record_ids: Sequence[str], blocks: Iterable[np.ndarray], dim: int) -> str:
    """SHA-256 over ids and values given as consecutive blocks float32 (any number of rows, `dim`)."""
    digest = hashlib.sha256(f"{len(record_ids)}|{dim}|".encode())
    for record_id in record_ids:
        digest.update(f"{len(record_id)}:{record_id}".encode())
    for block in blocks:
        digest.update(np.ascontiguousarray(block, dtype="<f4").tobytes())
    return digest.hexdigest()
