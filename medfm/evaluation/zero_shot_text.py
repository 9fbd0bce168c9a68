"""Text embeddings, each text encoded once per encoder and kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.files import atomic_open
from medfm.core.hashing import sha256_bytes

_log = logging.getLogger(__name__)

# Texts in, one row per text out: ``encoder.encode_text`` with its tensor as numpy, or any other.
TextEncoder = Callable[[list[str]], np.ndarray]


class TextCache:
    """Text embeddings by (encoder fingerprint, text), in memory and, if asked, in a folder.

    Args:
        encode: The text tower.
        fingerprint: Of the encoder with its weights; another fingerprint never shares a vector.
        folder: Where vectors are kept between runs (one small file each); memory only when ``None``.
        batch: Texts per call of `encode`.
        encode_group: Encodes texts padded to the longest of them, for towers whose vectors depend on
            it; ``None`` where a text always has the same vector.
    """

    def __init__(
        self,
        encode: TextEncoder,
        fingerprint: str,
        *,
        folder: str | Path | None = None,
        batch: int = 64,
        encode_group: TextEncoder | None = None,
    ) -> None:
        if not fingerprint:
            raise EvaluationError("Text embeddings need the encoder's fingerprint as their key.")
        self._encode = encode
        self._fingerprint = fingerprint
        self._folder = Path(folder) if folder is not None else None
        self._batch = max(1, batch)
        self._encode_group = encode_group
        self._known: dict[str, np.ndarray] = {}

    def together(self, texts: Sequence[str]) -> np.ndarray:
        """As :meth:`vectors`, but the texts are encoded as one group; kept by the whole group."""
        if self._encode_group is None or len(set(texts)) < 2:
            return self.vectors(texts)
        group = list(dict.fromkeys(texts))
        # What stands beside a text decides its vector, so the group is part of the key.
        keys = {text: json.dumps([text, sorted(group)], ensure_ascii=True) for text in group}
        if not all(key in self._known or self._recall(key) for key in keys.values()):
            for text, row in zip(group, self._checked(group, self._encode_group), strict=True):
                self._known[keys[text]] = row
                self._keep(keys[text], row)
        return np.stack([self._known[keys[text]] for text in texts])

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (m, d), one row per text, as the tower gave them (not normalised).

        Raises:
            EvaluationError: The tower gave another number of rows, another width or values that
                are not finite, or there are no texts.
        """
        if not texts:
            raise EvaluationError("There are no texts to encode.")
        wanted = [text for text in dict.fromkeys(texts) if text not in self._known]
        missing = [text for text in wanted if not self._recall(text)]
        for start in range(0, len(missing), self._batch):
            part = missing[start : start + self._batch]
            for text, row in zip(part, self._checked(part, self._encode), strict=True):
                self._known[text] = row
                self._keep(text, row)
        widths = {self._known[text].shape for text in texts}
        if len(widths) > 1:
            raise EvaluationError(
                f"The text tower gives vectors of different widths: {sorted(w[0] for w in widths)}.",
                fix="clear the folder of text embeddings, or give each encoder its own fingerprint",
            )
        return np.stack([self._known[text] for text in texts])

    def _checked(self, texts: list[str], encode: TextEncoder) -> np.ndarray:
        rows = np.array(encode(list(texts)), dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(texts) or rows.shape[1] == 0:
            raise EvaluationError(
                f"The text tower gave an array of shape {rows.shape} for {len(texts)} texts.",
                expected="one row per text",
            )
        if not np.isfinite(rows).all():
            bad = texts[int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])]
            raise EvaluationError("The text tower gave values that are not finite.", where=f"text: {bad[:80]}")
        return rows

    def _path(self, text: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{sha256_bytes(f'{self._fingerprint}|{text}'.encode())}.npy"

    def _recall(self, text: str) -> bool:
        path = self._path(text)
        if path is None or not path.is_file():
            return False
        try:
            row = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            _log.warning("A kept text embedding is damaged and is computed again: %s (%s)", path.name, error)
            return False
        if row.ndim != 1 or row.dtype != np.float32 or not len(row) or not np.isfinite(row).all():
            _log.warning("A kept text embedding is damaged and is computed again: %s", path.name)
            return False
        self._known[text] = row
        return True

    def _keep(self, text: str, row: np.ndarray) -> None:
        path = self._path(text)
        if path is not None:
            with atomic_open(path) as handle:
                np.save(handle, row)
