"""Patch tokens through the embedding pipeline: cached, resumable, mapped from disk.

The tokens of a record are stored as one long vector under a fingerprint of their own, so the store
needs no second layout. Two hundred tokens of width 384 are 0.3 MB per record.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medfm.core.errors import CardError
from medfm.core.hashing import sha256_bytes
from medfm.embeddings.stored import StoredEmbeddings
from medfm.modalities.record import Record

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

_SHARD_BYTES = 64 << 20


class TokenView:
    """An encoder whose embedding is all patch tokens one after the other.

    Attributes:
        shape: (tokens, width) of one record.

    Raises:
        CardError: The encoder has no tokens.
    """

    def __init__(self, encoder: Encoder) -> None:
        if not encoder.has_tokens:
            raise CardError(
                f"The encoder '{encoder.id}' has no patch tokens.",
                expected="a vision transformer, or a network with a feature map",
                fix="choose another encoder (medfm encoders), or a method on embeddings: few-shot-lp@1, flair-lp@1",
            )
        self._encoder = encoder
        blank = torch.zeros(1, *encoder.input_shape, device=encoder.device)
        self.shape: tuple[int, int] = tuple(encoder.tokens(blank).shape[1:])  # type: ignore[assignment]
        self.also_for = encoder.also_for

    @property
    def id(self) -> str:
        """The encoder's id."""
        return self._encoder.id

    @property
    def fingerprint(self) -> str:
        """Another than the encoder's own, so that tokens and embeddings never share a place in the store."""
        return sha256_bytes(f"tokens|{self._encoder.fingerprint}".encode())

    @property
    def modality(self) -> str:
        """The encoder's modality."""
        return self._encoder.modality

    @property
    def weights_kind(self) -> str:
        """As of the encoder."""
        return str(self._encoder.weights_kind)

    @property
    def embedding_dim(self) -> int:
        """Tokens x width."""
        return self.shape[0] * self.shape[1]

    @property
    def device(self) -> Any:
        """Where the weights lie."""
        return self._encoder.device

    @property
    def preprocess(self) -> Callable[[Record], torch.Tensor]:
        """The encoder's own."""
        return self._encoder.preprocess

    @property
    def flush_every(self) -> int:
        """Records in a shard of about 64 MB."""
        return max(1, _SHARD_BYTES // (4 * self.embedding_dim))

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (n, tokens x width)."""
        return self._encoder.tokens(batch).flatten(1)


def map_tokens(stored: StoredEmbeddings, shape: tuple[int, int], path: str | Path) -> np.ndarray:
    """Tokens float32 (n, tokens, width) in a memory-mapped file at `path`, shard after shard."""
    count = len(stored)
    if not count:
        return np.zeros((0, *shape), dtype=np.float32)
    out = np.lib.format.open_memmap(Path(path), mode="w+", dtype=np.float32, shape=(count, *shape))
    for positions, values in stored.store.by_shard(stored.keys):
        out[positions] = values.reshape(-1, *shape)
    out.flush()
    del out
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
