"""Members of a plain tar file by byte offset, as webdataset lays out its shards; nothing is unpacked.

The standard library finds the members; one of them is then read with a seek and a read, so memory does
not grow with the shard. Packed shards (``.tar.gz``) cannot be read at a place and are refused.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO

from medfm.core.errors import ReadError

BLOCK = 512
# A picture of a shard; larger ones belong into files of their own.
MAX_MEMBER_BYTES = 2_000_000_000
_KEPT = 8  # shards whose members stay known to a process
_PACKED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_PLAIN_FILE = (b"0", b"\0")


@dataclass(frozen=True)
class Member:
    """A regular file inside a tar: where its bytes begin, and how many there are."""

    offset: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """What a tar file holds.

    Attributes:
        members: Regular files by name, in order.
        refused: Name and reason of everything else but folders: links, names that leave the folder, doubled names.
        damage: Why the file ends before its end mark; ``None`` for a whole file.
    """

    members: Mapping[str, Member] = field(default_factory=dict)
    refused: tuple[tuple[str, str], ...] = ()
    damage: str | None = None


def index_tar(path: str | Path) -> TarIndex:
    """Find the members of the plain tar file at `path`; their contents are passed over.

    Raises:
        ReadError: It is absent, packed or no tar file.
    """
    file = Path(path)
    members: dict[str, Member] = {}
    refused: list[tuple[str, str]] = []
    doubled: set[str] = set()
    damage = None
    try:
        with _opened(file, file.name) as handle:
            length = os.fstat(handle.fileno()).st_size
        with tarfile.open(file, "r:") as tar:
            while True:
                try:
                    entry = tar.next()
                except (tarfile.TarError, EOFError, OSError, ValueError) as error:
                    damage = f"it is cut off or damaged ({_short(error)})"
                    break
                if entry is None:
                    break
                tar.members = []  # type: ignore[attr-defined]  # or the library keeps every header
                if entry.isdir():
                    continue
                reason = _refusal(entry)
                if reason is None and entry.offset_data + entry.size > length:
                    damage = f"it is cut off inside '{entry.name}'"
                    break
                if reason is None and (entry.name in members or entry.name in doubled):
                    # Which of them is meant cannot be said, so neither is.
                    reason = "its name occurs twice in the shard"
                    doubled.add(entry.name)
                    if members.pop(entry.name, None) is not None:
                        refused.append((entry.name, reason))
                if reason is not None:
                    refused.append((entry.name, reason))
                    continue
                members[entry.name] = Member(entry.offset_data, entry.size)
            if damage is None:
                damage = _end(file, int(tar.offset))
    except tarfile.TarError as error:
        raise ReadError(f"This is no tar file ({_short(error)}).", where=file.name, expected="a plain .tar") from error
    except OSError as error:
        raise ReadError(f"The file cannot be read: {error.strerror or error}.", where=file.name) from error
    return TarIndex(members, tuple(refused), damage)


def read_member(path: str | Path, name: str, offset: int | None = None, *, where: str | None = None) -> bytes:
    """The bytes of one member.

    Args:
        path: The shard.
        name: The member, as the shard writes it.
        offset: Where its bytes begin; looked up in the shard (once per process) where ``None``.
        where: How errors name the record.

    Raises:
        ReadError: The shard is absent, packed or cut off; it has no such member; at `offset` is another
            one, as after the shard was written again.
    """
    file = Path(path)
    label = where if where is not None else file.name
    try:
        with _opened(file, label) as handle:
            size = None if offset is None else _plain_size(handle, name, offset)
            if size is None:
                member = _look_up(file, name, label)
                if offset is not None and offset != member.offset:
                    raise ReadError(
                        f"The shard has changed: '{name}' is no longer where the table says.",
                        where=label,
                        fix="make the table again with medfm data prepare image-text",
                    )
                offset, size = member.offset, member.size
            if size > MAX_MEMBER_BYTES:
                raise ReadError(
                    "The member is too large for a picture.", where=label, expected=f"at most {MAX_MEMBER_BYTES} bytes"
                )
            handle.seek(int(offset or 0))
            data = handle.read(size)
    except OSError as error:
        raise ReadError(f"The shard cannot be read: {error.strerror or error}.", where=label) from error
    if len(data) != size:
        raise ReadError(f"The shard is cut off inside '{name}'.", where=label, fix="copy or download the shard again")
    return data


def _opened(file: Path, where: str) -> IO[bytes]:
    """The shard, opened, if it is not packed."""
    try:
        handle = file.open("rb")
    except FileNotFoundError as error:
        raise ReadError("The shard does not exist.", where=where, fix="check the path and the root folder") from error
    except IsADirectoryError as error:
        raise ReadError("This is a folder, not a shard.", where=where) from error
    except OSError as error:
        raise ReadError(f"The shard cannot be read: {error.strerror or error}.", where=where) from error
    head = handle.read(8)
    for magic, words in _PACKED:
        if head.startswith(magic):
            handle.close()
            raise ReadError(
                f"The shard is packed ({words}), so no picture in it can be read by itself.",
                where=where,
                expected="a plain .tar",
                fix="unpack it to a plain tar, such as with gunzip; pictures inside are compressed already",
            )
    return handle


def _refusal(entry: tarfile.TarInfo) -> str | None:
    if entry.issym() or entry.islnk():
        return "it is a link"
    if not entry.isreg() or entry.issparse():
        return "it is no regular file"
    return unsafe_name(entry.name)


def unsafe_name(name: str) -> str | None:
    """Why a member's name is not used; nothing is unpacked, but names become record ids."""
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        return "its name is an absolute path"
    if ".." in name.replace("\\", "/").split("/"):
        return "its name leaves the folder (..)"
    if not name.isprintable() or not name.strip():
        return "its name cannot be printed"
    return None


def _end(file: Path, offset: int) -> str | None:
    """The library ends silently at anything that is no header: only zeros are the end."""
    with file.open("rb") as handle:
        handle.seek(offset)
        block = handle.read(BLOCK)
    if len(block) == BLOCK and not block.strip(b"\0"):
        return None
    return "it is cut off: its end mark is missing" if len(block) < BLOCK else f"it is damaged at byte {offset:,}"


def _plain_size(handle: IO[bytes], name: str, offset: int) -> int | None:
    """Size by the header before `offset` if that is the plain header of a file called `name`, else ``None``."""
    if offset < BLOCK or offset % BLOCK:
        return None
    handle.seek(offset - BLOCK)
    try:
        entry = tarfile.TarInfo.frombuf(handle.read(BLOCK), "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return None
    # Longer and non-ASCII names stand in a header of their own, which the index knows how to read.
    return entry.size if entry.type in _PLAIN_FILE and entry.name == name else None


def _look_up(file: Path, name: str, where: str) -> Member:
    status = file.stat()
    index = _known(str(file), status.st_size, status.st_mtime_ns)
    member = index.members.get(name)
    if member is not None:
        return member
    reason = next((why for refused, why in index.refused if refused == name), None)
    if reason is not None:
        raise ReadError(f"The member '{name}' is not read: {reason}.", where=where)
    if index.damage is not None:
        raise ReadError(f"The shard has no '{name}': {index.damage}.", where=where, fix="copy the shard again")
    raise ReadError(
        f"The shard has no member '{name}'.", where=where, fix="make the table again with medfm data prepare image-text"
    )


@lru_cache(maxsize=_KEPT)
def _known(path: str, size: int, changed: int) -> TarIndex:
    return index_tar(path)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")[:120]
