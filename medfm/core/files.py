"""Files that are either whole or absent: write to a temporary name, flush, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from medfm.core.errors import StoreError

_TEMPORARY = ".tmp"
# Characters of the final name that a temporary name repeats: 4 bytes each still fit into 255.
_NAME_PART = 40


def write_error(error: OSError, path: Path) -> StoreError:
    """The clear form of an :class:`OSError` met while writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            "The disk is full; nothing was written under the final name.",
            where=str(path),
            fix="free some room or choose another folder, then run the same command again",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(
            "This place cannot be written to.",
            where=str(path),
            expected="a folder you may write in",
            fix="choose another output folder",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return StoreError("A file stands where a folder is needed, or the reverse.", where=str(path))
    if error.errno == errno.ENOENT:
        return StoreError(
            "The folder or file disappeared while it was being written.",
            where=str(path),
            fix="see that nothing else removes it, then run the same command again",
        )
    return StoreError(f"Writing failed: {error.strerror or error}.", where=str(path))


def make_folder(path: str | Path) -> Path:
    """Create `path` with its parents; a clear :class:`StoreError` where that cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from error
    return folder


def _temporary_name(target: Path) -> Path:
    """A hidden name beside `target` that nobody else uses; never longer than file systems allow."""
    return target.with_name(f".{target.name[:_NAME_PART]}.{os.getpid()}.{secrets.token_hex(4)}{_TEMPORARY}")


def remove_leftovers(path: str | Path) -> int:
    """Remove temporary files of `path` whose process (of this machine) has ended without tidying up.

    Returns:
        How many were removed.
    """
    target = Path(path)
    pattern = re.compile(re.escape(f".{target.name[:_NAME_PART]}.") + r"(\d+)\.[0-9a-f]{8}" + re.escape(_TEMPORARY))
    removed = 0
    for found in target.parent.iterdir() if target.parent.is_dir() else ():
        match = pattern.fullmatch(found.name)
        if match is not None and found.is_file() and not _alive(int(match[1])):
            with contextlib.suppress(OSError):
                found.unlink()
                removed += 1
    return removed


def _alive(process: int) -> bool:
    if os.name == "nt":  # there os.kill would end the process instead of asking
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _flush(path: Path) -> None:
    # Open for writing: Windows flushes no other handle.
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _flush_folder(folder: Path) -> None:
    """Bring a rename to the disk, where folders can be opened (not on Windows, not on every network share)."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block succeeds.

    The file is flushed to the disk before the rename, and removed if the block fails or is
    interrupted, so a reader never sees half a file.

    Raises:
        StoreError: The folder cannot be written to, or the disk is full.
    """
    target = Path(path)
    make_folder(target.parent)
    temporary = _temporary_name(target)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise write_error(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_open(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file for writing (``"wb"`` or ``"w"``) that becomes `path` on success."""
    with atomic_path(path) as temporary, temporary.open(mode) as handle:
        yield handle


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_open(path, "wb") as handle:
        handle.write(text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused (use ``None``)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def atomic_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block succeeds.

    Args:
        path: The folder to create.
        replace: Whether an existing folder may be replaced (it is moved aside first, and
            restored if the rename fails).

    Raises:
        StoreError: `path` exists and `replace` is false, or the place cannot be written to.
    """
    target = Path(path)
    if target.exists() and not replace:
        raise StoreError(
            "The output folder exists already.",
            where=str(target),
            fix="choose another name, or pass --overwrite to replace it",
        )
    make_folder(target.parent)
    temporary = _temporary_name(target)
    old = temporary.with_suffix(".old")
    try:
        temporary.mkdir()
        yield temporary
        for inner in temporary.rglob("*"):
            if inner.is_file() and not inner.is_symlink():
                _flush(inner)
        if target.exists():
            target.replace(old)
        try:
            temporary.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
        _flush_folder(target.parent)
    except OSError as error:
        raise write_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
