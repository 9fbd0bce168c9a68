"""What readers saw at a glance, kept beside the vectors, so that records from the store still have their warnings.

``glances-DIGEST.npy`` in the folder of an encoder: keys of 32 bytes and 16 bits each, written whole at the end of a run. There is
no lock: as with shards, readers merge what they find, and a run that finds many small files merges them.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from medfm.core.errors import StoreError
from medfm.core.files import atomic_open
from medfm.core.hashing import sha256_bytes
from medfm.embeddings.index import KEY_DTYPE, KeyIndex, key_array

_LOG = logging.getLogger(__name__)
PREFIX = "glances-"
_ENTRY = np.dtype([("key", KEY_DTYPE), ("bits", "<u2")])
_MERGE_FROM = 8


class Glances:
    """Bits by key; 34 bytes per record.

    Args:
        folder: The folder of an encoder's store; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = bytearray()
        self._bits: list[int] = []

    def add(self, key: bytes, bits: int) -> None:
        """Remember the `bits` (above 0) of a record; they are on disk after :meth:`save`."""
        self._keys += key
        self._bits.append(bits)

    def save(self) -> None:
        """Write what was added; a folder that cannot be written to is no reason to lose a run."""
        if not self._bits:
            return
        new = np.empty(len(self._bits), _ENTRY)
        new["key"] = key_array(self._keys)
        new["bits"] = self._bits
        old = self._files()
        parts = [_read(path) for path in old] if len(old) >= _MERGE_FROM else []
        every = np.unique(np.concatenate([new, *(part for part in parts if part is not None)]))
        name = f"{PREFIX}{sha256_bytes(every.tobytes())[:32]}.npy"
        try:
            with atomic_open(self._folder / name) as handle:
                np.save(handle, every, allow_pickle=False)
            for path in old if parts else ():
                if path.name != name:
                    path.unlink(missing_ok=True)
        except (OSError, StoreError):
            _LOG.warning("What was seen of the records could not be kept in %s.", self._folder)
            return
        self._keys, self._bits = bytearray(), []

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Bits uint16 (n,) of the `keys` (n,), as on disk; 0 for a record that nobody looked at."""
        bits = np.zeros(len(keys), np.uint16)
        for path in self._files():
            entries = _read(path)
            if entries is None or not len(entries):
                continue
            index = KeyIndex()
            index.add(key_array(entries["key"].tobytes()), 0)
            shards, rows = index.locate(keys)
            hit = shards >= 0
            bits[hit] = entries["bits"][rows[hit]]
        return bits

    def _files(self) -> list[Path]:
        try:
            return sorted(self._folder.glob(f"{PREFIX}*.npy"))
        except OSError:
            return []


def _read(path: Path) -> np.ndarray | None:
    """The entries of a file; ``None`` where it is gone (merged by another run) or damaged."""
    try:
        entries = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return entries if entries.dtype == _ENTRY and entries.ndim == 1 else None
