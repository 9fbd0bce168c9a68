"""The most confident errors of a result, as a report shows them: with the pictures of their records."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from medfm.core.errors import MedfmError
from medfm.reporting.ecg_sheet_attention import CAPTION, is_strip
from medfm.reporting.result import Result
from medfm.reporting.show import shower
from medfm.reporting.thumbnails import confident_errors
from medfm.reporting.words import figure

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder

logger = logging.getLogger(__name__)

_NOTES = {
    "regression": "The records whose prediction is farthest from the truth.",
    "multilabel": "For each label in turn: the records without it that were scored highest, and those with it that were "
    "scored lowest. The score says how many of the records of the opposite truth were ranked on the wrong side of this "
    "one (1 is all). Look here for wrong labels as well as for wrong predictions.",
}
_NOTE = "The wrong predictions the model was surest of. Look here for wrong labels as well as for wrong predictions."
_PRINT = "Printed at 100 % on A4 (each recording on a page of its own, landscape), 25 mm are one second."
_UNTRAINED = " The weights of this encoder are untrained, so where it looked means nothing."


def error_pictures(result: Result, cohort: Cohort, encoder: Encoder | None = None) -> dict[str, bytes]:
    """Pictures of the records that the report of `result` shows as errors, for ``result.save(images=...)``.

    Args:
        result: The result.
        cohort: Where the records are.
        encoder: Of the result; where it pools by attention, ECG sheets show where it looked.

    Returns:
        JPEG or SVG files by record id. A record that cannot be read or drawn is left out, and
        the log says why.
    """
    artist = shower(cohort.modality)
    position = {record_id: row for row, record_id in enumerate(cohort.record_ids)}
    found: dict[str, bytes] = {}
    for record_id in confident_errors(result)["record_id"].astype(str):
        row = position.get(record_id)
        if row is None:
            continue
        try:
            record = cohort.read(row)
            try:
                found[record_id] = artist.in_report([record], encoder, cohort.synthetic)[0]
            except MedfmError as error:
                if encoder is None:
                    raise
                logger.warning("record %s is shown without attention: %s", record_id, error)
                found[record_id] = artist.in_report([record], synthetic=cohort.synthetic)[0]
        except (MedfmError, OSError, ValueError) as error:
            # A picture is an ornament: the report goes out without it, and the log says why.
            logger.warning("no picture of record %s: %s", record_id, error)
    return found


def shown_errors(result: Result) -> list[dict[str, str]]:
    """One entry per error: ``id, truth, predicted, score`` in words, and ``uri`` of its picture or ``""``."""
    shown = []
    for row in confident_errors(result).to_dict("records"):
        truth, predicted = row["truth"], row["predicted"]
        if result.summary.task == "regression":
            truth, predicted = figure(float(truth)), figure(float(predicted))
        shown.append(
            {
                "id": str(row["record_id"]),
                "truth": str(truth),
                "predicted": str(predicted),
                "score": figure(float(row["score"])),
                "uri": picture_uri(result.thumbnails.get(str(row["record_id"]))),
            }
        )
    return shown


def error_words(result: Result) -> dict[str, Any]:
    """What the page says about the errors: ``note``, and for sheets (SVG) ``sheets`` with their caption."""
    note = _NOTES.get(result.summary.task, _NOTE)
    drawn = [data for data in result.thumbnails.values() if _is_svg(data)]
    if not drawn:
        return {"note": note, "sheets": None}
    caption = [_PRINT]
    if any(is_strip(data) for data in drawn):
        untrained = result.provenance.get("weights_kind") == "random"
        caption.append(CAPTION + (_UNTRAINED if untrained else ""))
    return {"note": note, "sheets": caption}


def picture_uri(data: bytes | None) -> str:
    """A JPEG or SVG file as a data URI; ``""`` for none."""
    if data is None:
        return ""
    if _is_svg(data):
        # Path data need no escapes, so this is a quarter shorter than base64.
        return "data:image/svg+xml," + quote(data.decode(), safe=",.:;=/()!*")
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def _is_svg(data: bytes) -> bool:
    return data.startswith(b"<svg")
