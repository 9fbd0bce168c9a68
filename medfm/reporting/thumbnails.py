"""Small pictures of the records a report shows, and which records these are."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from medfm.core.errors import MedfmError, StoreError
from medfm.evaluation.predictions import FIGURES_ONLY
from medfm.reporting.result import Result

logger = logging.getLogger(__name__)

EDGE = 112  # pixels of the longer side
SHOWN = 12  # most confident errors in the montage
SHEETS = 8  # where each is a sheet as wide as the page


def confident_errors(result: Result, count: int | None = None) -> pd.DataFrame:
    """The wrong predictions made with the highest score, most confident first, one row per record.

    Args:
        result: The result.
        count: At most so many; as a report shows, when ``None``.

    Returns:
        Columns ``record_id, truth, predicted, score``: for multilabel tasks ``predicted`` is the
        label in question and ``truth`` whether it is there (see :func:`_label_errors`); for
        regression ``score`` is the absolute error and the largest come first.
    """
    if count is None:
        count = SHEETS if result.provenance.get("modality") == "ecg" else SHOWN
    predictions = result.predictions.of_variant()
    table = predictions.table
    if predictions.task in FIGURES_ONLY:  # these have a section of their own
        return pd.DataFrame(columns=["record_id", "truth", "predicted", "score"])
    if predictions.task == "regression":
        error = (table["predicted"].astype(float) - table["truth"].astype(float)).abs()
        rows = table[["record_id", "truth", "predicted"]].assign(score=error)
    elif predictions.task == "multilabel":
        return _label_errors(table, predictions.classes, count)
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


def _label_errors(table: pd.DataFrame, labels: Sequence[str], count: int) -> pd.DataFrame:
    """Per label the highest-scored negatives and the lowest-scored positives, labels taking turns.

    No threshold is used, since scores of rare labels and of zero-shot have no natural one. The
    ``score`` of a negative is the share of the label's positives that it is ranked above, of a
    positive the share of negatives that it is ranked below (ties count half): what it costs the
    AUROC. Only shares above one half are errors.
    """
    parts = []
    for name in labels:
        truth = table[f"truth:{name}"].to_numpy(dtype=np.float64)
        score = table[f"score:{name}"].to_numpy(dtype=np.float64)
        for state, sign in ((0, 1.0), (1, -1.0)):
            own, other = truth == state, np.sort(sign * score[truth == 1 - state])
            if not own.any() or not len(other):
                continue
            place = sign * score[own]
            passed = np.searchsorted(other, place, "left") + np.searchsorted(other, place, "right")
            words = ("present", "absent") if state else ("absent", "present")
            part = pd.DataFrame(
                {
                    "record_id": table["record_id"].to_numpy()[own],
                    "truth": f"{name}: {words[0]}",
                    "predicted": f"{name}: {words[1]}",
                    "score": passed / (2 * len(other)),
                    "place": place,
                }
            )
            part = part[part["score"] > 0.5].sort_values("place", ascending=False, kind="stable")
            parts.append(part.assign(turn=np.arange(len(part))))
    columns = ["record_id", "truth", "predicted", "score"]
    if not parts:
        return pd.DataFrame(columns=columns)
    rows = pd.concat(parts, ignore_index=True).sort_values(["turn", "score"], ascending=[True, False], kind="stable")
    return rows.drop_duplicates("record_id")[columns].head(count).reset_index(drop=True)


def thumbnails(result: Result, images: Any) -> dict[str, bytes]:
    """Pictures of the records in the montage (JPEG, or SVG for ECGs); records without one are left out.

    Args:
        result: The result.
        images: A cohort, a mapping from record id to uint8 (h, w, 3) or to the bytes of a finished
            JPEG or SVG file, or a function of the id that returns either.
    """
    look_up = _look_up(images)
    found = {}
    for record_id in confident_errors(result)["record_id"].astype(str):
        try:
            picture = look_up(record_id)
            if picture is not None:
                found[record_id] = picture if isinstance(picture, bytes) else thumbnail(picture)
        except (MedfmError, OSError, ValueError) as error:
            # A picture is an ornament: the report goes out without it, and the log says why.
            logger.warning("no thumbnail of record %s: %s", record_id, error)
    return found


def thumbnail(array: np.ndarray) -> bytes:
    """A JPEG of at most :data:`EDGE` pixels a side; `array` is (h, w) or (h, w, 3), uint8 or float in [0, 1]."""
    image = Image.fromarray(eight_bit(array)).convert("RGB")
    image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def eight_bit(array: np.ndarray) -> np.ndarray:
    """`array` (h, w) or (h, w, 3), uint8, uint16 or float in [0, 1], as uint8.

    Raises:
        StoreError: It is no picture.
    """
    pixels = np.asarray(array)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif np.issubdtype(pixels.dtype, np.floating):
        pixels = (np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255.0).round().astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise StoreError(
            f"An array of shape {array.shape} and type {array.dtype} is not a picture.", expected="uint8 (h, w, 3)"
        )
    return pixels


def _look_up(images: Any) -> Callable[[str], np.ndarray | bytes | None]:
    if isinstance(images, Mapping):
        return lambda record_id: images.get(record_id)
    if hasattr(images, "record_ids") and hasattr(images, "read"):
        position = {record_id: row for row, record_id in enumerate(images.record_ids)}

        def from_cohort(record_id: str) -> np.ndarray | bytes | None:
            row = position.get(record_id)
            if row is None:
                return None
            record = images.read(row)
            if not hasattr(record, "modality"):
                return np.asarray(record.array)
            from medfm.reporting.show import shower

            return shower(record.modality).in_report([record], synthetic=getattr(images, "synthetic", False))[0]

        return from_cohort
    if callable(images):
        return images
    raise StoreError(
        f"Images cannot be taken from a {type(images).__name__}.",
        expected="a cohort, a mapping from record id to array or bytes, or a function of the record id",
    )
