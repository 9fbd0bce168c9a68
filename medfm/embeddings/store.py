"""The embedding store: vectors by encoder, precision and content of the input.

Layout below the cache folder (argument, else ``MEDFM_CACHE``, else ``~/.cache/medfm``)::

    embeddings/FINGERPRINT-PRECISION/encoder.json    who made the vectors
    embeddings/FINGERPRINT-PRECISION/SHA256.parquet  shards, see medfm.embeddings.shards

There is no lock and no server: a shard has a name nobody else uses, is complete before it
bears that name, and is never changed. Readers merge what they find. A vector that two
processes both computed is simply there twice until ``medfm cache gc`` merges the shards.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medfm.core.errors import StoreError
from medfm.core.files import write_error, write_json
from medfm.core.hashing import sha256_bytes
from medfm.embeddings.index import KeyIndex, key_array
from medfm.embeddings.shards import FORMAT, SUFFIX, read_keys, read_shard, write_shard

_LOG = logging.getLogger(__name__)
IDENTITY_FILE = "encoder.json"
_HELD_SHARDS = 8


def cache_root(folder: str | Path | None = None) -> Path:
    """The cache folder: `folder`, else the variable ``MEDFM_CACHE``, else ``~/.cache/medfm``."""
    chosen = folder or os.environ.get("MEDFM_CACHE") or Path("~/.cache/medfm")
    return Path(chosen).expanduser().absolute()


def embeddings_folder(folder: str | Path | None = None) -> Path:
    """The folder inside the cache that holds one folder per encoder and precision."""
    return cache_root(folder) / "embeddings"


@dataclass(frozen=True)
class Maker:
    """What vectors are made with; `fingerprint` and `precision` decide what may be shared.

    Attributes:
        fingerprint: SHA-256 over weights, architecture and preprocessing.
        precision: ``"fp32"`` or ``"bf16"``.
        dim: Width of a vector.
        encoder: Id, for people.
        modality: Name of the modality, for people.
        weights_kind: Such as ``"published"`` or ``"random"``, for people.
    """

    fingerprint: str
    precision: str
    dim: int
    encoder: str = ""
    modality: str = ""
    weights_kind: str = ""

    @property
    def folder_name(self) -> str:
        """Name of the folder of these vectors."""
        plain = re.fullmatch(r"[0-9a-f]{64}", self.fingerprint) is not None
        return f"{self.fingerprint if plain else sha256_bytes(self.fingerprint.encode())}-{self.precision}"

    def facts(self) -> dict[str, str]:
        """What a shard's metadata says about its maker."""
        return {"fingerprint": self.fingerprint, "precision": self.precision, "encoder": self.encoder}


@dataclass
class EncoderStore:
    """The vectors of one encoder at one precision.

    Attributes:
        folder: Where the shards lie; created on the first write.
        maker: What the vectors are made with.
    """

    folder: Path
    maker: Maker
    _index: KeyIndex = field(default_factory=KeyIndex, repr=False)
    _shards: list[Path] = field(default_factory=list, repr=False)
    _seen: set[str] = field(default_factory=set, repr=False)
    _verified: set[int] = field(default_factory=set, repr=False)
    _held: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @classmethod
    def open(cls, maker: Maker, folder: str | Path | None = None) -> EncoderStore:
        """The store of `maker` below the cache folder `folder`; nothing is created yet."""
        store = cls(embeddings_folder(folder) / maker.folder_name, maker)
        store.refresh()
        return store

    def __len__(self) -> int:
        """Number of stored vectors; one that two processes both computed counts twice."""
        return len(self._index)

    def refresh(self) -> None:
        """Take note of the shards that appeared since, such as those of other processes."""
        try:
            found = sorted(path for path in self.folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
        except OSError as error:
            raise StoreError("The embedding store cannot be read.", where=str(self.folder)) from error
        for path in found:
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            try:
                self._add(path, read_keys(path, self.maker.dim))
            except StoreError as error:
                _LOG.warning("%s It is ignored.", error.what)

    def has(self, key: bytes) -> bool:
        """Whether the vector of `key` is here, in a shard whose digest holds."""
        shards, _ = self._index.locate(key_array([key]))
        while (shard := int(shards[0])) >= 0:
            if self._trusted(shard):
                return True
            shards, _ = self._index.locate(key_array([key]))
        return False

    def write(self, keys: list[bytes], values: np.ndarray) -> Path:
        """Store `values` float32 (n, d) under the `keys` as one new shard.

        Raises:
            StoreError: The place cannot be written to; nothing half-written stays behind.
        """
        self._introduce()
        # By key, not as they came: the same items then give the same bytes, hence the same name, in
        # whatever order several streams computed them.
        order = sorted(range(len(keys)), key=keys.__getitem__)
        array, values = key_array([keys[i] for i in order]), values[order]
        path = write_shard(self.folder, array, values, self.maker.facts())
        with self._lock:
            # Not by name: a shard that is made again after damage has the very name it had before.
            self._seen.add(path.name)
            if (self._index.locate(array)[0] < 0).any():
                self._verified.add(self._add(path, array))
        return path

    def missing(self, keys: np.ndarray) -> np.ndarray:
        """Mask (n,) of the `keys` (n,) that are not stored."""
        return self._index.locate(keys)[0] < 0

    def gather(self, keys: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, d) of the `keys` (n,), in their order.

        Each shard concerned is read once; some recent ones are held in memory.

        Raises:
            StoreError: A key is not stored.
        """
        out = np.empty((len(keys), self.maker.dim), np.float32)
        for positions, values in self.by_shard(keys):
            out[positions] = values
        return out

    def by_shard(self, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs (positions in `keys`, their vectors), shard after shard, so memory stays small."""
        todo = np.arange(len(keys))
        for attempt in (1, 2):
            shards, rows = self._index.locate(keys[todo])
            lost = [todo[shards < 0]]
            for shard in np.unique(shards[shards >= 0]):
                mine = shards == shard
                values = self._values(int(shard))
                if values is None:
                    lost.append(todo[mine])
                else:
                    yield todo[mine], values[rows[mine]]
            todo = np.sort(np.concatenate(lost))
            if not len(todo):
                return
            # 'cache gc' of another process may have merged the shards: look again, once.
            if attempt == 1:
                self.refresh()
        raise StoreError(
            f"{len(todo)} vectors are no longer in the store.",
            where=str(self.folder),
            fix="run the same command again: what is missing is embedded again",
        )

    def touch(self) -> None:
        """Remember that the store was used now; a read-only store is left alone."""
        try:
            os.utime(self.folder / IDENTITY_FILE)
        except OSError:
            _LOG.debug("The time of last use could not be noted in %s.", self.folder)

    def _add(self, path: Path, keys: np.ndarray) -> int:
        with self._lock:
            self._shards.append(path)
            number = len(self._shards) - 1
            self._index.add(keys, number)
            return number

    def _trusted(self, shard: int) -> bool:
        return shard in self._verified or self._values(shard) is not None

    def _values(self, shard: int) -> np.ndarray | None:
        """The vectors of a shard, verified; `None` (and forgotten) when it is gone or damaged."""
        with self._lock:
            if shard in self._held:
                self._held.move_to_end(shard)
                return self._held[shard]
            try:
                _, values = read_shard(self._shards[shard], self.maker.dim)
            except StoreError as error:
                _LOG.warning("%s Its records count as not embedded.", error.what)
                self._index.drop(shard)
                self._verified.discard(shard)
                return None
            self._verified.add(shard)
            self._held[shard] = values
            if len(self._held) > _HELD_SHARDS:
                self._held.popitem(last=False)
            return values

    def _introduce(self) -> None:
        path = self.folder / IDENTITY_FILE
        try:
            known = path.exists()
        except OSError as error:
            raise write_error(error, path) from error
        if not known:
            names = ("encoder", "modality", "weights_kind", "fingerprint", "precision", "dim")
            write_json(path, {"format": FORMAT, **{name: getattr(self.maker, name) for name in names}})
