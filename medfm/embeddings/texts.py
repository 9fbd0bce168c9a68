"""Text embeddings: each text is encoded once per text tower and kept in shards like those of records.

The one cache of texts, whatever they are for: prompts of classes, concepts, queries of a search. A
vector is found by the fingerprint of the tower and the SHA-256 of the text, so no words are stored.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
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
_BATCH = 64
# Vectors held beside the store; without one all are held, as there is nowhere else.
_HELD = 4096

# Texts in, one row per text out: ``encoder.encode_text`` with its tensor as numpy, or any other.
TextEncoder = Callable[[list[str]], np.ndarray]


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


class TextCache:
    """Text embeddings by (fingerprint of the tower, text): in the store, or in memory where there is none.

    With a store, memory does not grow with the number of texts: some recent vectors are held.

    Args:
        encode: The text tower.
        fingerprint: Of the tower with its weights; another fingerprint never shares a vector.
        store: Where vectors are kept between runs; memory only when ``None``.
        batch: Texts per call of `encode`.
        encode_group: Encodes texts padded to the longest of them, for towers whose vectors depend on
            it; ``None`` where a text always has the same vector.
        name: What errors call the tower.
    """

    def __init__(
        self,
        encode: TextEncoder,
        fingerprint: str,
        *,
        store: EncoderStore | None = None,
        batch: int = _BATCH,
        encode_group: TextEncoder | None = None,
        name: str = "",
    ) -> None:
        if not fingerprint:
            raise EvaluationError("Text embeddings need the encoder's fingerprint as their key.")
        if store is not None and store.maker.fingerprint != fingerprint:
            raise EvaluationError("This store of text embeddings belongs to another tower.")
        self._encode = encode
        self._store = store
        self._batch = max(1, batch)
        self._encode_group = encode_group
        self._tower = f"The text tower of '{name}'" if name else "The text tower"
        self._held: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._new: dict[bytes, np.ndarray] = {}

    def fill(self, texts: Sequence[str], progress: Progress | None = None) -> None:
        """Encode those of the texts that are not here yet; `progress` advances by one per different text.

        What was computed is kept also when this is stopped half-way.
        """
        distinct = list(dict.fromkeys(texts))
        keys = [_key(text, f"text {place} of {len(distinct)}") for place, text in enumerate(distinct, start=1)]
        missing = self._missing(keys)
        if progress is not None:
            progress.advance(len(distinct) - len(missing))
        try:
            for start in range(0, len(missing), self._batch):
                part = missing[start : start + self._batch]
                self._add([keys[i] for i in part], self._checked([distinct[i] for i in part], self._encode))
                if progress is not None:
                    progress.advance(len(part))
        finally:
            self._flush()

    def fill_groups(self, groups: Sequence[Sequence[str]], progress: Progress | None = None) -> None:
        """As :meth:`fill` for the texts of :meth:`together`, group after group."""
        try:
            for texts in groups:
                group = list(dict.fromkeys(texts))
                keys = _group_keys(group)
                if self._missing(keys):
                    assert self._encode_group is not None
                    self._add(keys, self._checked(group, self._encode_group))
                if progress is not None:
                    progress.advance(len(texts))
        finally:
            self._flush()

    def mixes(self, texts: Sequence[str]) -> bool:
        """Whether the tower's vectors of these texts depend on their being encoded together."""
        return self._encode_group is not None and len(set(texts)) > 1

    def together(self, texts: Sequence[str]) -> np.ndarray:
        """As :meth:`vectors`, but the texts are encoded as one group; kept by the whole group."""
        if not self.mixes(texts):
            return self.vectors(texts)
        group = list(dict.fromkeys(texts))
        keys = dict(zip(group, _group_keys(group), strict=True))
        self.fill_groups([group])
        return self._rows([keys[text] for text in texts], lambda: self.fill_groups([group]))

    def vectors(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """float32 (m, d), one row per text, as the tower gave them (not normalised).

        Raises:
            EvaluationError: The tower gave another number of rows, another width or values that
                are not finite, there are no texts, or one is no UTF-8.
            StoreError: The store cannot be read or written.
        """
        if not len(texts):
            raise EvaluationError("There are no texts to encode.")
        self.fill(texts, progress)  # names a text that is no UTF-8 by its place
        return self._rows([_key(text) for text in texts], lambda: self.fill(texts))

    def _rows(self, keys: list[bytes], again: Callable[[], None]) -> np.ndarray:
        try:
            return self._gather(keys)
        except StoreError:
            _log.warning("Some kept text embeddings are damaged and are computed again.")
            again()
            return self._gather(keys)

    def _gather(self, keys: list[bytes]) -> np.ndarray:
        lacking = [key for key in dict.fromkeys(keys) if key not in self._held]
        found: dict[bytes, np.ndarray] = {}
        if lacking and self._store is not None:
            found = dict(zip(lacking, self._store.gather(key_array(lacking)), strict=True))
            self._store.touch()
        rows = [found[key] if key in found else self._held[key] for key in keys]
        widths = {len(row) for row in rows}
        if len(widths) > 1:
            raise EvaluationError(
                f"{self._tower} gives vectors of different widths: {sorted(widths)}.",
                fix="use one text tower, whose vectors all have one width",
            )
        result = np.stack(rows)
        self._hold(found)
        return result

    def _missing(self, keys: list[bytes]) -> list[int]:
        unknown = [place for place, key in enumerate(keys) if key not in self._held]
        if not unknown or self._store is None:
            return unknown
        absent = self._store.missing(key_array([keys[place] for place in unknown]))
        return [place for place, gone in zip(unknown, absent, strict=True) if gone]

    def _add(self, keys: list[bytes], rows: np.ndarray) -> None:
        fresh = {key: row.copy() for key, row in zip(keys, rows, strict=True)}
        self._hold(fresh)
        if self._store is not None:
            self._new |= fresh
            if len(self._new) >= _SHARD:
                self._flush()

    def _hold(self, rows: dict[bytes, np.ndarray]) -> None:
        for key, row in rows.items():
            self._held[key] = row
            self._held.move_to_end(key)
        while self._store is not None and len(self._held) > _HELD:
            self._held.popitem(last=False)

    def _flush(self) -> None:
        new, self._new = self._new, {}
        if new and self._store is not None:
            self._store.write(list(new), np.stack(list(new.values())))

    def _checked(self, texts: list[str], encode: TextEncoder) -> np.ndarray:
        rows = np.array(encode(list(texts)), dtype=np.float32)
        dim = None if self._store is None else self._store.maker.dim
        if rows.ndim != 2 or len(rows) != len(texts) or rows.shape[1] == 0 or dim not in (None, rows.shape[1]):
            raise EvaluationError(
                f"{self._tower} gave an array of shape {rows.shape} for {len(texts)} texts.",
                expected="one row per text" if dim is None else f"finite rows of {dim} numbers",
            )
        if not np.isfinite(rows).all():
            bad = texts[int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])]
            raise EvaluationError(
                f"{self._tower} gave values that are not finite.",
                where=f"text: {bad[:80]}",
                expected=None if dim is None else f"finite rows of {dim} numbers",
            )
        return rows


def text_cache(encoder: TextEncoderLike, cache: str | Path | None = None) -> TextCache:
    """The cache of the texts of `encoder` in the cache folder `cache`.

    Raises:
        CardError: The encoder has no text tower.
    """
    fingerprint = encoder.text_fingerprint
    if not fingerprint:
        encoder.encode_text(["."])  # says what is missing: the tower, or its weights
        raise CardError(f"The encoder '{encoder.id}' has no text tower.")
    maker = Maker(
        fingerprint,
        "fp32",
        int(encoder.embedding_dim),
        encoder=f"{encoder.id} (texts)",
        modality=encoder.modality,
        weights_kind=str(encoder.weights_kind),
    )
    arguments = getattr(getattr(encoder, "module", None), "args", None)
    mixes = getattr(getattr(arguments, "text", None), "padding_counts", False)

    def rows(texts: list[str], **how: bool) -> np.ndarray:
        given = encoder.encode_text(texts, **how)
        return np.asarray(given.cpu().numpy() if hasattr(given, "cpu") else given)

    return TextCache(
        rows,
        fingerprint,
        store=EncoderStore.open(maker, cache),
        batch=_BATCH,
        encode_group=(lambda texts: rows(texts, as_group=True)) if mixes else None,
        name=encoder.id,
    )


def embed_texts(
    encoder: TextEncoderLike,
    texts: Sequence[str],
    *,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """float32 (m, d), one row per text; what the cache already has is not computed again.

    A shard is written for every 4096 new texts and at the end, also of a run that is stopped.

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
    return text_cache(encoder, cache).vectors(texts, progress)


def _key(text: str, where: str | None = None) -> bytes:
    try:
        return bytes.fromhex(sha256_bytes(f"text|{text}".encode()))
    except UnicodeEncodeError as error:  # a shell hands on bytes that are no UTF-8 as lone surrogates
        raise EvaluationError(
            "A text holds characters that cannot be written as UTF-8.", where=where, fix="type it again as UTF-8"
        ) from error


def _group_keys(group: list[str]) -> list[bytes]:
    # What stands beside a text decides its vector, so the group is part of the key.
    members = sorted(group)
    return [bytes.fromhex(sha256_bytes(("group|" + json.dumps([text, members])).encode())) for text in group]
