"""Small JPEG pictures of the records a report shows, and which records these are."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from medfm.core.errors import MedfmError, StoreError
from medfm.reporting.result import Result

logger = logging.getLogger(__name__)

EDGE = 112  # pixels of the longer side
SHOWN = 12  # most confident errors in the montage


def confident_errors(result: Result, count: int = SHOWN) -> pd.DataFrame:
    """The wrong predictions made with the highest score, most confident first, one row per record.

    Returns:
        Columns ``record_id, truth, predicted, score``: for multilabel tasks ``predicted`` is the
        label in question and ``truth`` whether it is there; for regression ``score`` is the
        absolute error and the largest come first.
    """
    predictions = result.predictions.of_variant()
    table = predictions.table
    if predictions.task == "retrieval":  # its best and worst queries have a section of their own
        return pd.DataFrame(columns=["record_id", "truth", "predicted", "score"])
    if predictions.task == "regression":
        error = (table["predicted"].astype(float) - table["truth"].astype(float)).abs()
        rows = table[["record_id", "truth", "predicted"]].assign(score=error)
    elif predictions.task == "multilabel":
        parts = []
        for name in predictions.classes:
            truth, score = table[f"truth:{name}"].astype(float), table[f"score:{name}"].astype(float)
            wrong = ((truth == 1) & (score < 0.5)) | ((truth == 0) & (score >= 0.5))
            part = pd.DataFrame(
                {
                    "record_id": table["record_id"],
                    "truth": [f"{name}: {'present' if t == 1 else 'absent'}" for t in truth],
                    "predicted": [f"{name}: {'present' if s >= 0.5 else 'absent'}" for s in score],
                    # How sure of the wrong answer: 1 is fully.
                    "score": (score - 0.5).abs() + 0.5,
                }
            )
            parts.append(part[wrong])
        rows = pd.concat(parts, ignore_index=True)
    else:
        wrong = table["truth"].astype(str) != table["predicted"].astype(str)
        scores = predictions.scores()
        chosen = scores[np.arange(len(table)), predictions.predicted_index()] if len(table) else np.zeros(0)
        rows = table[["record_id", "truth", "predicted"]].assign(score=chosen)[wrong]
    # Among equally sure errors the classes take turns, so that one class does not fill the page.
    turn = rows.groupby(["score", rows["truth"].astype(str)]).cumcount()
    rows = rows.assign(turn=turn).sort_values(["score", "turn"], ascending=[False, True], kind="stable")
    rows = rows.drop(columns="turn").drop_duplicates("record_id")
    return rows.head(count).reset_index(drop=True)


def thumbnails(result: Result, images: Any) -> dict[str, bytes]:
    """JPEG thumbnails of the records in the montage; records without an image are left out.

    Args:
        result: The result.
        images: A cohort, a mapping from record id to uint8 (h, w, 3), or a function of the id.
    """
    look_up = _look_up(images)
    found = {}
    for record_id in confident_errors(result)["record_id"].astype(str):
        try:
            array = look_up(record_id)
            if array is not None:
                found[record_id] = thumbnail(array)
        except (MedfmError, OSError, ValueError) as error:
            # A picture is an ornament: the report goes out without it, and the log says why.
            logger.warning("no thumbnail of record %s: %s", record_id, error)
    return found


def thumbnail(array: np.ndarray) -> bytes:
    """A JPEG of at most :data:`EDGE` pixels a side; `array` is (h, w) or (h, w, 3), uint8 or float in [0, 1]."""
    pixels = np.asarray(array)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif np.issubdtype(pixels.dtype, np.floating):
        pixels = (np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255.0).round().astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise StoreError(
            f"An array of shape {array.shape} and type {array.dtype} is not a picture.", expected="uint8 (h, w, 3)"
        )
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def _look_up(images: Any) -> Callable[[str], np.ndarray | None]:
    if isinstance(images, Mapping):
        return lambda record_id: images.get(record_id)
    if hasattr(images, "record_ids") and hasattr(images, "read"):
        position = {record_id: row for row, record_id in enumerate(images.record_ids)}

        def from_cohort(record_id: str) -> np.ndarray | None:
            row = position.get(record_id)
            return None if row is None else images.read(row).array

        return from_cohort
    if callable(images):
        return images
    raise StoreError(
        f"Images cannot be taken from a {type(images).__name__}.",
        expected="a cohort, a mapping from record id to array, or a function of the record id",
    )
