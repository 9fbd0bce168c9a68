"""Near-duplicate images: copies that were saved again, resized, mirrored or turned.

A 63-bit hash of the signs of the lowest cosine (DCT-II) coefficients of a 32 x 32 grey
thumbnail finds candidates: mirroring an image only changes the sign of its odd coefficients
and turning it transposes them, so all eight orientations cost one transform. Candidates count
only if their 16 x 16 colour thumbnails agree within a few grey levels, since different cells
of one class may share a hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn

# Bits that may differ, and grey levels (of 255) the thumbnails may differ by on average. Measured on real cells of
# three sets: copies (JPEG 50, half size, mirrored, turned) reach 4 bits and 1.7 levels; the most alike
# of 440,000 pairs of different cells, in eight orientations each, are 7 bits and 2.9 levels apart.
MAX_BITS = 6
MAX_LEVELS = 2.5
_SIDE = 8
_ODD = (np.arange(_SIDE) % 2).astype(bool)
_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Print:
    """What is kept of an image to find its near-duplicates: 8 hashes (uint64) and a thumbnail."""

    hashes: np.ndarray
    thumbnail: np.ndarray


def fingerprint(image: np.ndarray) -> Print:
    """The :class:`Print` of an RGB uint8 image (h, w, 3).

    ``hashes[k]`` is the hash of the image in orientation k (see :func:`turned`); ``[0]`` is the
    image as it is. The thumbnail is uint8 (16, 16, 3).
    """
    picture = Image.fromarray(image)
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float32)
    low = dctn(grey, norm="ortho")[:_SIDE, :_SIDE]
    thumbnail = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR), dtype=np.uint8)
    return Print(np.array([_hash(_turned_spectrum(low, k)) for k in range(8)], dtype=np.uint64), thumbnail)


def turned(image: np.ndarray, k: int) -> np.ndarray:
    """`image` in orientation k of 8: bit 0 mirrors left-right, bit 1 top-bottom, bit 2 transposes first."""
    result = image.swapaxes(0, 1) if k & 4 else image
    result = result[::-1] if k & 2 else result
    return result[:, ::-1] if k & 1 else result


def _turned_spectrum(low: np.ndarray, k: int) -> np.ndarray:
    result = low.T if k & 4 else low
    if k & 2:
        result = np.where(_ODD[:, None], -result, result)
    return np.where(_ODD[None, :], -result, result) if k & 1 else result


def _hash(spectrum: np.ndarray) -> int:
    """63 sign bits; the mean (coefficient 0, 0) says nothing and is left out."""
    bits = np.packbits((spectrum.ravel() > 0)[1:].astype(np.uint8))
    return int.from_bytes(bits.tobytes(), "big")


def near_pairs(left: list[Print], right: list[Print]) -> list[tuple[int, int]]:
    """Pairs (i, j) of near-duplicates between two lists, each j at most once per i; exact search.

    Compares the smaller side's eight orientations with the other side in blocks; 20 000 images
    take a few seconds.
    """
    if len(left) > len(right):
        return sorted((i, j) for j, i in near_pairs(right, left))
    if not left:
        return []
    others = np.array([p.hashes[0] for p in right], dtype=np.uint64)
    thumbnails = np.stack([p.thumbnail for p in right]).astype(np.int16)
    mine = np.stack([p.hashes for p in left])
    step = max(_PAIRS_AT_ONCE // max(len(right), 1), 1)
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(left), step):
        block = mine[start : start + step]
        for k in range(8):
            differing = _bit_count(block[:, k, None] ^ others[None, :])
            for row, j in zip(*np.nonzero(differing <= MAX_BITS), strict=True):
                i = start + int(row)
                own = turned(left[i].thumbnail, k).astype(np.int16)
                if np.abs(own - thumbnails[j]).mean() <= MAX_LEVELS:
                    pairs.add((i, int(j)))
    return sorted(pairs)


if hasattr(np, "bitwise_count"):

    def _bit_count(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.bitwise_count(values))

else:  # NumPy 1.26
    _BITS = np.array([bin(i).count("1") for i in range(65536)], dtype=np.uint8)

    def _bit_count(values: np.ndarray) -> np.ndarray:
        return np.asarray(_BITS[values.view(np.uint16).reshape(*values.shape, 4)].sum(axis=-1))
