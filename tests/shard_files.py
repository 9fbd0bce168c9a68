"""Shards as the webdataset package lays them out, written with the standard library alone."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Sample = tuple[str, Mapping[str, Any]]


def pixels(seed: int = 0, size: int = 24) -> np.ndarray:
    """uint8 (size, size, 3), different for every seed."""
    return np.random.default_rng(seed).integers(60, 220, (size, size, 3)).astype(np.uint8)


def picture(seed: int = 0, ending: str = "png", size: int = 24) -> bytes:
    """An encoded picture of :func:`pixels`."""
    stream = io.BytesIO()
    Image.fromarray(pixels(seed, size)).save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending))
    return stream.getvalue()


def encoded(value: Any) -> bytes:
    """The bytes of one part of a sample: as they are, text, or JSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def write_members(
    path: Path, members: Sequence[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, **links: tuple[bytes, str]
) -> Path:
    """A tar file of the `members` in order; `links` are name=(type, target)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, (kind, target) in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            tar.addfile(entry)
    return path


def write_shard(path: Path, samples: Sequence[Sample], **keywords: Any) -> Path:
    """A shard: the parts of each sample as ``KEY.ENDING``, samples one after another."""
    members = [(f"{key}.{ending}", encoded(value)) for key, parts in samples for ending, value in parts.items()]
    return write_members(path, members, **keywords)


def sample(number: int, **parts: Any) -> Sample:
    """Picture and caption number `number`, with other parts beside or instead."""
    return f"{number:04d}", {"png": picture(number), "txt": f"caption {number}", **parts}
