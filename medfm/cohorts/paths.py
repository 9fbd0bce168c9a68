"""The paths of a cohort: relative, inside the root, with forward slashes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from medfm.core.errors import CohortError

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

    Folders are resolved once each, so the cost is one ``lstat`` per file.
    """
    inside = root.resolve()
    folders: dict[str, bool] = {}
    for path in dict.fromkeys(paths):
        folder = posixpath.dirname(path)
        if folder not in folders:
            folders[folder] = (root / folder).resolve().is_relative_to(inside)
        file = root / path
        if not folders[folder] or (file.is_symlink() and not file.resolve().is_relative_to(inside)):
            raise CohortError(
                f"A symbolic link leads out of the root folder: {path}",
                where=where,
                expected="files inside the root folder",
                fix="name the real folder with --root",
            )
