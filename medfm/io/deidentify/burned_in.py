"""Whether text may be burned into the pixels. It can only be suspected; nothing here removes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Modalities whose pictures often carry a banner: ultrasound, secondary captures, screens, video.
_OFTEN = {"US", "IVUS", "ES", "OT", "SC", "XC", "ECG", "DOC"}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MOST_PIXELS = 40_000_000
_CORNER = (0.12, 0.3)  # share of height and width
# Share of neighbours in a corner that jump by more than half the range: letters have many, anatomy hardly any.
JUMPS = 0.015


def suspicion(dataset: Dataset) -> str | None:
    """Why text may be burned in, in words; ``None`` where nothing speaks for it."""
    stated = str(dataset.get("BurnedInAnnotation", "") or "").strip().upper()
    if stated == "YES":
        return "the header says that text is burned in"
    if stated == "NO":
        return None
    if str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        return "secondary capture: screens often carry names"
    if str(dataset.get("Modality", "") or "").upper() in _OFTEN and "PixelData" in dataset:
        return "a kind of picture that often carries a banner"
    corners = _plain_pixels(dataset)
    if corners is not None and text_in_corners(corners):
        return "a corner looks as if it held letters (perhaps only a side marker)"
    return None


def text_in_corners(picture: np.ndarray) -> bool:
    """Whether a corner of a grey picture (height, width) has as many sharp steps as letters have."""
    if min(picture.shape) < 32:
        return False
    rows, columns = max(8, int(picture.shape[0] * _CORNER[0])), max(8, int(picture.shape[1] * _CORNER[1]))
    low, high = np.percentile(picture[:: max(1, picture.shape[0] // 256)], [1, 99.5])
    if not high > low:
        low, high = float(picture.min()), float(picture.max())
    if not high > low:
        return False
    for part in (picture[:rows], picture[-rows:]):
        for corner in (part[:, :columns], part[:, -columns:]):
            share = np.clip((corner.astype(np.float32) - low) / (high - low), 0, 1)
            if float((np.abs(np.diff(share, axis=1)) > 0.5).mean()) > JUMPS:
                return True
    return False


def _plain_pixels(dataset: Dataset) -> np.ndarray | None:
    """The pixels of one uncompressed grey picture; ``None`` for anything else."""
    values: Any = dataset.get("PixelData")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        bits = int(dataset.BitsAllocated)
        plain = int(dataset.get("SamplesPerPixel", 1)) == 1 and int(dataset.get("NumberOfFrames", 1) or 1) == 1
    except Exception:
        return None
    if not isinstance(values, bytes) or not plain or bits not in (8, 16) or rows * columns > _MOST_PIXELS:
        return None
    if len(values) < rows * columns * bits // 8 or dataset.file_meta.TransferSyntaxUID.is_compressed:
        return None
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    kind = np.dtype(f"{order}{'i' if int(dataset.get('PixelRepresentation', 0) or 0) else 'u'}{bits // 8}")
    return np.frombuffer(values, kind, rows * columns).reshape(rows, columns)
