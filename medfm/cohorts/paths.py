"""The paths of a cohort: relative, inside the root, with forward slashes."""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from medfm.core.errors import CohortError

# From how many files of a folder on it is listed, and how many others may be in it.
_MANY = 16
_FAR_MORE = 4
_DRIVE = re.compile(r"[A-Za-z]:")


def clean_paths(paths: Sequence[str], where: str) -> list[str]:
    """`paths` in normal form (``/``, no ``.``).

    Raises:
        CohortError: A path is absolute, a URL, or leaves the root by ``..``.
    """
    cleaned = []
    for row, raw in enumerate(paths):
        path = raw.replace("\\", "/")
        if path.startswith(("/", "~")) or _DRIVE.match(path) or "://" in path:
            raise CohortError(
                f"Row {row + 1}: the path is absolute: {raw}",
                where=where,
                expected="paths relative to the root folder",
                fix="write the paths relative to one folder and name it with --root",
            )
        normal = posixpath.normpath(path)
        if normal == ".." or normal.startswith("../") or "\0" in normal:
            raise CohortError(
                f"Row {row + 1}: the path leaves the root folder: {raw}",
                where=where,
                expected="paths inside the root folder",
                fix="choose a root folder above all files with --root and rewrite the paths",
            )
        cleaned.append(normal)
    return cleaned


def refuse_escaping_links(root: Path, paths: Sequence[str], where: str) -> None:
    """Refuse files that a symbolic link takes out of `root`; absent files are left to the checks.

    Folders are resolved once each and listed where many of their files are asked for; only what a listing does not
    show as a plain file costs an ``lstat``.
    """
    inside = _real(root)
    folders: dict[str, list[str]] = {}
    for path in dict.fromkeys(paths):
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    escaping = set()
    for folder, names in folders.items():
        # Plain strings: a Path costs more than the look at the file.
        start = f"{folder}/" if folder else ""
        if not _real(root / folder).is_relative_to(inside):
            escaping |= {start + name for name in names}
            continue
        plain = _not_links(root / folder, len(names)) if len(names) >= _MANY else set()
        for path in [start + name for name in names if name not in plain]:
            link = os.path.islink(os.path.join(root, path))  # noqa: PTH114, PTH118
            if link and not _real(root / path).is_relative_to(inside):
                escaping.add(path)
    if escaping:
        raise CohortError(
            f"A symbolic link leads out of the root folder: {next(path for path in paths if path in escaping)}",
            where=where,
            expected="files inside the root folder",
            fix="name the real folder with --root",
        )


def _real(path: Path) -> Path:
    """Where `path` leads. Links that lead to each other lead nowhere: ``Path.resolve`` would raise, they count as absent."""
    return Path(os.path.realpath(path))


def _not_links(folder: Path, wanted: int) -> set[str]:
    """Names in `folder` that are no links; none where it cannot be listed or holds far more than is `wanted`."""
    try:
        with os.scandir(folder) as entries:
            listed = list(itertools.islice(entries, _FAR_MORE * wanted + 1))
            return set() if len(listed) > _FAR_MORE * wanted else {e.name for e in listed if not e.is_symlink()}
    except (OSError, ValueError):
        return set()
