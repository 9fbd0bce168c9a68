"""Looking at, verifying and cleaning the store: what ``medfm cache`` does."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import StoreError
from medfm.core.files import write_error
from medfm.core.names import unknown_name
from medfm.embeddings.index import KEY_DTYPE
from medfm.embeddings.shards import SUFFIX, read_keys, read_shard, write_shard
from medfm.embeddings.store import IDENTITY_FILE, embeddings_folder

# A temporary file younger than this may belong to a running process, perhaps on another node.
_TEMPORARY_AGE = 3600.0
_MERGED_ROWS = 8192


@dataclass(frozen=True)
class Holding:
    """One encoder's part of the store.

    Attributes:
        folder: Where it lies.
        encoder: Id of the encoder, or ``"?"`` when its record is missing.
        fingerprint: Fingerprint of the encoder.
        precision: ``"fp32"`` or ``"bf16"``.
        weights_kind: Such as ``"random"``.
        items: Vectors; those stored twice count twice. Damaged shards count as 0.
        shards: Number of shards.
        size: Bytes on the disk.
        last_used: Seconds since 1970.
    """

    folder: Path
    encoder: str
    fingerprint: str
    precision: str
    weights_kind: str
    items: int
    shards: int
    size: int
    last_used: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "encoder": self.encoder,
            "fingerprint": self.fingerprint,
            "precision": self.precision,
            "weights_kind": self.weights_kind,
            "items": self.items,
            "shards": self.shards,
            "bytes": self.size,
            "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.last_used)),
        }


@dataclass(frozen=True)
class Problem:
    """A shard that is not whole, by its path inside the embeddings folder, and why."""

    shard: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """Outcome of :func:`verify`: counts, the damaged shards, and left-over temporary files."""

    shards: int
    items: int
    problems: tuple[Problem, ...]
    temporary: int

    @property
    def whole(self) -> bool:
        """Whether every shard is whole."""
        return not self.problems


@dataclass
class Cleaning:
    """What :func:`clean` did (or would do): numbers of files, vectors and bytes."""

    temporary: int = 0
    damaged: int = 0
    duplicates: int = 0
    merged_shards: int = 0
    encoders: list[str] = field(default_factory=list)
    freed: int = 0
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "temporary_files": self.temporary,
            "damaged_shards": self.damaged,
            "duplicate_vectors": self.duplicates,
            "merged_shards": self.merged_shards,
            "removed_encoders": self.encoders,
            "freed_bytes": self.freed,
            "dry_run": self.dry_run,
        }


def holdings(cache: str | Path | None = None) -> list[Holding]:
    """One line per encoder and precision, most recently used first; empty when nothing is stored."""
    return sorted((_holding(folder) for folder in _folders(cache)), key=lambda h: -h.last_used)


def verify(cache: str | Path | None = None) -> Verification:
    """Check every shard: its SHA-256 against its name, its format, its width, its values."""
    shards = items = temporary = 0
    problems: list[Problem] = []
    for folder in _folders(cache):
        dim = _identity(folder).get("dim")
        temporary += len(_temporary(folder))
        for path in _shards(folder):
            shards += 1
            try:
                keys, values = read_shard(path, dim)
            except StoreError as error:
                problems.append(Problem(f"{folder.name}/{path.name}", error.what))
                continue
            items += len(keys)
            if not np.isfinite(values).all():
                problems.append(Problem(f"{folder.name}/{path.name}", "Some of its values are not finite."))
    return Verification(shards, items, tuple(problems), temporary)


def clean(
    cache: str | Path | None = None,
    *,
    encoder: str | None = None,
    older_than_days: float | None = None,
    dry_run: bool = False,
) -> Cleaning:
    """Remove what is of no use, and whole encoders on demand.

    Always: temporary files older than an hour, damaged shards, and vectors stored twice
    (small shards are merged on the way). Shards are replaced by new ones before they are
    removed, so running processes and an interruption do no harm.

    Args:
        cache: The cache folder.
        encoder: Remove everything of the encoder with this id or fingerprint (or its beginning).
        older_than_days: Remove everything of encoders not used for so many days; with
            `encoder`, both must hold.
        dry_run: Only count.

    Raises:
        UnknownNameError: There is no such encoder in the store.
        StoreError: The store cannot be written to.
    """
    result = Cleaning(dry_run=dry_run)
    found = holdings(cache)
    doomed = _doomed(found, encoder, older_than_days)
    for holding in found:
        try:
            if holding in doomed:
                result.encoders.append(f"{holding.encoder} {holding.precision}")
                result.freed += holding.size
                if not dry_run:
                    shutil.rmtree(holding.folder)
            else:
                _clean_folder(holding.folder, result)
        except OSError as error:
            raise write_error(error, holding.folder) from error
    return result


def _doomed(found: list[Holding], encoder: str | None, days: float | None) -> list[Holding]:
    if encoder is None and days is None:
        return []
    chosen = [h for h in found if encoder is None or h.encoder == encoder or h.fingerprint.startswith(encoder)]
    if encoder is not None and not chosen:
        raise unknown_name("encoder", encoder, {h.encoder for h in found}, where="the embedding store")
    limit = time.time() - (days or 0.0) * 86400
    return [h for h in chosen if days is None or h.last_used < limit]


def _clean_folder(folder: Path, result: Cleaning) -> None:
    for path in _temporary(folder):
        facts = _facts(path)
        if facts is not None and facts.st_mtime < time.time() - _TEMPORARY_AGE:
            result.temporary += 1
            _remove(path, result)
    dim = _identity(folder).get("dim")
    sound: dict[Path, np.ndarray] = {}
    for path in _shards(folder):
        try:
            sound[path] = read_shard(path, dim)[0]
        except StoreError:
            result.damaged += 1
            _remove(path, result)
    total = sum(map(len, sound.values()))
    unique = len(np.unique(np.concatenate(list(sound.values())))) if sound else 0
    small = [path for path, keys in sound.items() if len(keys) < _MERGED_ROWS // 2]
    result.duplicates += total - unique
    merge = list(sound) if total > unique else small if len(small) > 1 else []
    result.merged_shards += len(merge)
    before = sum(facts.st_size for facts in map(_facts, merge) if facts is not None)
    if not merge or result.dry_run:
        return
    new = set(_merged(folder, merge, dim))
    for path in merge:
        if path not in new:
            path.unlink(missing_ok=True)
    result.freed += before - sum(facts.st_size for facts in map(_facts, new) if facts is not None)


def _merged(folder: Path, paths: list[Path], dim: int | None) -> Iterator[Path]:
    """Write the vectors of `paths` again, each key once, as few larger shards."""
    import pyarrow.parquet as pq

    metadata = pq.read_schema(paths[0]).metadata or {}
    facts = {name: metadata.get(name.encode(), b"").decode() for name in ("fingerprint", "precision", "encoder")}
    seen = np.empty(0, KEY_DTYPE)
    keys: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for path in paths:
        these, vectors = read_shard(path, dim)
        these, first = np.unique(these, return_index=True)
        fresh = ~np.isin(these, seen)
        keys.append(these[fresh])
        values.append(vectors[first[fresh]])
        seen = np.union1d(seen, these)
        if sum(map(len, keys)) >= _MERGED_ROWS:
            yield write_shard(folder, np.concatenate(keys), np.concatenate(values), facts)
            keys, values = [], []
    if sum(map(len, keys)):
        yield write_shard(folder, np.concatenate(keys), np.concatenate(values), facts)


def _remove(path: Path, result: Cleaning) -> None:
    facts = _facts(path)
    result.freed += 0 if facts is None else facts.st_size
    if not result.dry_run:
        path.unlink(missing_ok=True)


def _folders(cache: str | Path | None) -> list[Path]:
    root = embeddings_folder(cache)
    try:
        return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    except OSError as error:
        raise StoreError("The embedding store cannot be read.", where=str(root)) from error


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def _temporary(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith(".") and path.name.endswith(".tmp"))


def _identity(folder: Path) -> dict[str, Any]:
    try:
        identity = json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return identity if isinstance(identity, dict) else {}


def _holding(folder: Path) -> Holding:
    identity = _identity(folder)
    fingerprint, _, precision = folder.name.rpartition("-")
    shards = _shards(folder)
    items = 0
    for path in shards:
        # A damaged shard holds nothing that can be used; 'verify' names it.
        with contextlib.suppress(StoreError):
            items += len(read_keys(path))
    # A file may vanish meanwhile: another process cleans the store.
    used = [facts.st_mtime for facts in map(_facts, [folder / IDENTITY_FILE, *shards]) if facts is not None]
    return Holding(
        folder=folder,
        encoder=str(identity.get("encoder") or "?"),
        fingerprint=str(identity.get("fingerprint") or fingerprint),
        precision=str(identity.get("precision") or precision),
        weights_kind=str(identity.get("weights_kind") or "?"),
        items=items,
        shards=len(shards),
        size=sum(facts.st_size for facts in map(_facts, folder.iterdir()) if facts is not None),
        last_used=max(used, default=0.0),
    )


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
