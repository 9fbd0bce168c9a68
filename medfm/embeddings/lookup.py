"""The first stage of the pipeline: content keys of the records, and which are still to do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from medfm.core.errors import MedfmError
from medfm.core.hashing import sha256_bytes, sha256_file
from medfm.modalities.record import Modality, RecordRef, check_size, own_key

_WINDOW = 64
_THREADS = 4
_REMEMBERED = 4096

Stamp = tuple[tuple[int, int], ...]
"""Size in bytes and time of change in ns of each file of a record."""


@dataclass(frozen=True)
class Item:
    """A record to embed: its 32-byte key, where it is, and the state its files had when hashed."""

    key: bytes
    ref: RecordRef
    stamp: Stamp


@dataclass(frozen=True)
class Unreadable:
    """A record whose file could not even be hashed."""

    ref: RecordRef
    reason: str


def record_files(modality: Modality, ref: RecordRef) -> tuple[Path, ...]:
    """The files whose bytes make up the record.

    One, unless the modality has a method ``files(ref)`` (a header with a signal file beside it).
    """
    files = getattr(modality, "files", None)
    return (ref.path,) if files is None else tuple(files(ref))


def stamp_of(files: Iterable[Path]) -> Stamp:
    """Size and time of change of each file; raises :class:`OSError` when one is missing."""
    return tuple((status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files))


class Hasher:
    """Content keys of records, computed a window at a time by a few threads.

    A file that several records share (cells of one smear) is hashed once while it stays
    among the last few thousand; its size and time of change must still be the same.
    Between two windows no thread is busy, so worker processes may be forked then.
    """

    def __init__(self, modality: Modality) -> None:
        self._modality = modality
        self._known: dict[tuple[Path, tuple[int, int]], str] = {}

    def items(self, refs: Iterable[RecordRef]) -> Iterator[Item | Unreadable]:
        """One item per reference, in order."""
        remaining = iter(refs)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="medfm-hash") as pool:
            while window := list(itertools.islice(remaining, _WINDOW)):
                yield from list(pool.map(self._item, window))

    def _item(self, ref: RecordRef) -> Item | Unreadable:
        try:
            files = record_files(self._modality, ref)
            stamp = stamp_of(files)
            check_size(self._modality, ref, sum(size for size, _ in stamp))
            key = own_key(self._modality, ref)
            if key is not None:
                return Item(bytes.fromhex(key), ref, stamp)
            digests = [self._digest(file, state) for file, state in zip(files, stamp, strict=True)]
        except FileNotFoundError:
            return Unreadable(ref, "The file does not exist.")
        except IsADirectoryError:
            return Unreadable(ref, "This is a folder, not a file.")
        except OSError as error:
            return Unreadable(ref, f"The file cannot be read: {error.strerror or type(error).__name__}.")
        except MedfmError as error:
            return Unreadable(ref, error.line)
        whole = digests[0] if len(digests) == 1 else sha256_bytes("|".join(digests).encode())
        return Item(bytes.fromhex(ref.content_key_for(whole)), ref, stamp)

    def _digest(self, file: Path, state: tuple[int, int]) -> str:
        known = self._known.get((file, state))
        if known is None:
            known = sha256_file(file)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[file, state] = known
        return known


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items; the last may be shorter."""
    remaining = iter(items)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk
