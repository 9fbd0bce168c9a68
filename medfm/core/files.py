"""Files that are either whole or absent: write to a temporary name, flush, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from medfm.core.errors import StoreError


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
    return StoreError(f"Writing failed: {error.strerror or error}.", where=str(path))


def make_folder(path: str | Path) -> Path:
    """Create `path` with its parents; a clear :class:`StoreError` where that cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from error
    return folder


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
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
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
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    old = temporary.with_suffix(".old")
    try:
        temporary.mkdir()
        yield temporary
        if target.exists():
            target.replace(old)
        try:
            temporary.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
    except OSError as error:
        raise write_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
