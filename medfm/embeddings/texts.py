"""Text embeddings in the store: keyed by the text tower and the text, in shards like those of records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medfm.core.errors import CardError, EvaluationError, StoreError
from medfm.core.hashing import sha256_bytes
from medfm.core.progress import Progress
from medfm.embeddings.index import key_array
from medfm.embeddings.store import EncoderStore, Maker

_log = logging.getLogger(__name__)
_SHARD = 4096


class TextEncoderLike(Protocol):
    """What is needed of an encoder: ``medfm.Encoder`` has it."""

    @property
    def id(self) -> str:
        """The encoder's id."""

    @property
    def modality(self) -> str:
        """Of its records."""

    @property
    def embedding_dim(self) -> int:
        """Width of one vector."""

    @property
    def weights_kind(self) -> Any:
        """Where the weights come from."""

    @property
    def text_fingerprint(self) -> str | None:
        """Of the text tower; ``None`` without one."""

    def encode_text(self, texts: Sequence[str]) -> Any:
        """Tensor (m, d)."""


def embed_texts(
    encoder: TextEncoderLike,
    texts: Sequence[str],
    *,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """float32 (m, d), one row per text; what the store already has is not computed again.

    A shard is written for every 4096 new texts, so a stopped run goes on from there. Texts are
    stored only as SHA-256 keys.

    Args:
        encoder: With a text tower.
        texts: Any number; equal ones are computed once.
        cache: The cache folder, as everywhere.
        progress: Advanced by one per different text.

    Raises:
        CardError: The encoder has no text tower.
        EvaluationError: There are no texts, one is no UTF-8, or the tower gave something else than
            finite rows.
        StoreError: The store cannot be read or written.
    """
    if not len(texts):
        raise EvaluationError("There are no texts to encode.")
    fingerprint = encoder.text_fingerprint
    if fingerprint is None:
        encoder.encode_text(list(texts[:1]))  # says what is missing: the tower, or its weights
        raise CardError(f"The encoder '{encoder.id}' has no text tower.")
    maker = Maker(
        fingerprint,
        "fp32",
        int(encoder.embedding_dim),
        encoder=f"{encoder.id} (texts)",
        modality=encoder.modality,
        weights_kind=str(encoder.weights_kind),
    )
    store = EncoderStore.open(maker, cache)
    distinct = list(dict.fromkeys(texts))
    keys = [_key(text, f"text {place} of {len(distinct)}") for place, text in enumerate(distinct, start=1)]
    place = {text: i for i, text in enumerate(distinct)}
    for attempt in (1, 2):
        _fill(encoder, store, distinct, keys, progress if attempt == 1 else None)
        try:
            vectors = store.gather(key_array(keys))
            break
        except StoreError:
            if attempt == 2:
                raise
            _log.warning("Some kept text embeddings are damaged and are computed again.")
    store.touch()
    if len(distinct) == len(texts):
        return vectors
    return vectors[[place[text] for text in texts]]


def _key(text: str, where: str) -> bytes:
    try:
        return bytes.fromhex(sha256_bytes(f"text|{text}".encode()))
    except UnicodeEncodeError as error:  # a shell hands on bytes that are no UTF-8 as lone surrogates
        raise EvaluationError(
            "A text holds characters that cannot be written as UTF-8.", where=where, fix="type it again as UTF-8"
        ) from error


def _fill(
    encoder: TextEncoderLike, store: EncoderStore, texts: list[str], keys: list[bytes], progress: Progress | None
) -> None:
    todo = np.flatnonzero(store.missing(key_array(keys)))
    if progress is not None:
        progress.advance(len(texts) - len(todo))
    for start in range(0, len(todo), _SHARD):
        part = todo[start : start + _SHARD]
        given = encoder.encode_text([texts[i] for i in part])
        rows = np.array(given.cpu().numpy() if hasattr(given, "cpu") else given, dtype=np.float32)
        if rows.shape != (len(part), store.maker.dim) or not np.isfinite(rows).all():
            raise EvaluationError(
                f"The text tower of '{encoder.id}' gave an array of shape {rows.shape} for {len(part)} texts.",
                expected=f"finite rows of {store.maker.dim} numbers",
            )
        store.write([keys[i] for i in part], rows)
        if progress is not None:
            progress.advance(len(part))
