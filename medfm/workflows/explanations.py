"""Heat maps beside the surest errors of a run on pictures: a handful, and never a reason to fail.

Grad-CAM asks what raises the score of the predicted and of the true class, so it needs their
directions in the space of the embeddings: the weights of a linear probe, or the texts of a
zero-shot run. Attention roll-out of a transformer needs none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import CardError, MedfmError
from medfm.embeddings.texts import TextCache
from medfm.encoders.explain_picture import HeatMap, heat_map, method_for
from medfm.evaluation.evaluate import Evaluation
from medfm.evaluation.predictions import MAIN
from medfm.evaluation.zero_shot import unit_rows
from medfm.reporting.error_pictures import error_pictures
from medfm.reporting.explanations import KEY, panels
from medfm.reporting.thumbnails import confident_errors

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.modalities.record import Record
    from medfm.reporting.result import Result

logger = logging.getLogger(__name__)

PICTURES = ("blood_cell", "histopathology", "retina")
EXPLAINED = 6  # of the errors shown; each takes one or two passes forward and back

_OFF = "they were switched off"
_NO_ENCODER = "only embeddings were given, and a heat map needs the encoder itself (--encoder ID)"
_BAGS = "a prediction is of a whole bag of pictures, not of one"
NOT_KEPT = "Grad-CAM needs the weights of a class, and this method has none to show"


@dataclass(frozen=True)
class Directions:
    """Where the scores of the classes point in the space of the embeddings.

    Attributes:
        of: Record id and class -> float (d,); ``None`` where that class has no direction. For
            regression the class is empty.
        cosine: Whether the score is the cosine with the direction, not the product.
        score: Half a sentence for the report: what the score is.
    """

    of: Callable[[str, str], np.ndarray | None]
    cosine: bool
    score: str


def explained(
    result: Result, cohort: Cohort, encoder: Encoder | None, directions: Directions | str, *, wanted: bool = True
) -> tuple[Result, dict[str, bytes] | None]:
    """`result` with the key ``explanations`` in its extras, and the pictures of its errors for saving.

    Args:
        result: The result.
        cohort: Where the records are.
        encoder: Of the result; ``None`` where only embeddings are at hand.
        directions: Of the classes, or why there are none; only Grad-CAM needs them.
        wanted: Whether heat maps are drawn at all.

    Returns:
        The result and pictures by record id. Why a heat map is missing is recorded, never raised.
        Other modalities than pictures come back as they are.
    """
    if result.kind == "mil":
        return (result if cohort.modality not in PICTURES else _without(result, _BAGS)), None
    pictures = error_pictures(result, cohort, encoder)
    if cohort.modality not in PICTURES:
        return result, pictures
    if not wanted or encoder is None:
        return _without(result, _OFF if not wanted else _NO_ENCODER), pictures
    try:
        method = method_for(encoder)
    except CardError as error:
        return _without(result, _clause(error)), pictures
    if method == "grad_cam" and isinstance(directions, str):
        return _without(result, directions), pictures
    records: dict[str, Any] = {}
    notes: list[str] = []
    position = {record_id: row for row, record_id in enumerate(cohort.record_ids)}
    for row in confident_errors(result).head(EXPLAINED).to_dict("records"):
        record_id = str(row["record_id"])
        if record_id not in pictures:
            continue  # it cannot be read, which the log says
        try:
            record = cohort.read(position[record_id])
            if method == "grad_cam":
                assert isinstance(directions, Directions)
                found = _grad_cams(encoder, record, _asked(result.summary.task, row), directions)
            else:
                found = [({"role": "attention"}, heat_map(encoder, record))]
            pictures[record_id], size = panels(record.array, [heat for _, heat in found])
        except Exception as error:
            notes.append(f"No heat map of record {record_id}: {_clause(error)}.")
            logger.warning("no heat map of record %s: %s", record_id, error)
            continue
        records[record_id] = {"panels": [{"role": "picture"}, *(panel for panel, _ in found)], "size": list(size)}
    score = directions.score if method == "grad_cam" and isinstance(directions, Directions) else ""
    entry = {"method": method, "score": score, "records": records, "notes": notes}
    return replace(result, extras={**result.extras, KEY: entry}), pictures


def _without(result: Result, reason: str) -> Result:
    return replace(result, extras={**result.extras, KEY: {"why_not": reason}})


def _clause(error: BaseException) -> str:
    text = error.what if isinstance(error, MedfmError) else f"{type(error).__name__}: {error}"
    return text.strip().rstrip(".")


def _asked(task: str, row: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """(role, class) of the maps of one error; of a label in question the label, of a number the number itself."""
    if task == "regression":
        return [("value", "")]
    if task == "multilabel":
        return [("label", str(row["truth"]).rpartition(": ")[0])]
    return [("predicted", str(row["predicted"])), ("truth", str(row["truth"]))]


def _grad_cams(
    encoder: Encoder, record: Record, asked: list[tuple[str, str]], directions: Directions
) -> list[tuple[dict[str, Any], HeatMap]]:
    found = []
    for role, name in asked:
        toward = directions.of(record.record_id, name)
        if toward is None or not np.any(toward):
            continue
        heat = heat_map(encoder, record, toward, cosine=directions.cosine)
        panel = {"role": role, "class": name or "a higher value", "empty": not bool(heat.values.any())}
        found.append((panel, heat))
    if not found:
        raise MedfmError(f"nothing has a weight for {' or '.join(name or 'the value' for _, name in asked)}")
    return found


def probe_directions(done: Evaluation, result: Result, texts: np.ndarray | None = None) -> Directions | str:
    """The weights of the training that tested each record, as directions; why not where there are none.

    Args:
        done: The evaluation behind `result`.
        result: Of a linear probe, or of a concept probe.
        texts: float (findings, d) unit vectors of the findings, for a concept probe.
    """
    if not done.weights:
        return NOT_KEPT
    table = result.predictions.of_variant(MAIN).table
    weights = {(w.repeat, w.fold): w.coef for w in done.weights}
    first = table.drop_duplicates("record_id")
    owner = {
        str(record): (int(repeat), int(fold))
        for record, repeat, fold in zip(first["record_id"], first["repeat"], first["fold"], strict=True)
    }
    classes, binary = list(result.summary.classes), result.summary.task == "binary"

    def of(record_id: str, name: str) -> np.ndarray | None:
        coef = weights.get(owner.get(record_id, (-1, -1)))
        if coef is None:
            return None
        if not name:
            row = coef[0]
        elif binary:
            row = coef[0] if name == classes[1] else -coef[0]
        else:
            row = coef[classes.index(name)]
        return row if texts is None else row @ texts

    if texts is None:
        return Directions(of, False, "The score is that of the linear probe that tested the record.")
    return Directions(of, True, "The score is that of the concept probe: the weighted similarities to its findings.")


def text_directions(result: Result, cache: TextCache) -> Directions | str:
    """The prompts of the headline strategy as directions; of several groups of a class their mean.

    Args:
        result: Of a zero-shot run.
        cache: The text tower, which knows the prompts by now.
    """
    extras = result.extras.get("zero_shot")
    if not isinstance(extras, Mapping):
        return NOT_KEPT
    together = bool(getattr(result.protocol.method, "together", False))
    groups: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for row in extras["prompts"]:
        if row["variant"] == MAIN:
            groups.setdefault(row["label"], {}).setdefault(int(row["group"]), []).append(row)

    def of(_: str, name: str) -> np.ndarray | None:
        rows = []
        for members in groups.get(name, {}).values():
            texts = [row["text"].lower() if extras["lower_case"] else row["text"] for row in members]
            weight = np.array([row["weight"] for row in members], dtype=np.float64)
            found = cache.together(texts) if together else cache.vectors(texts)
            rows.append((weight / weight.sum()) @ unit_rows(found, "text embeddings"))
        return np.stack(rows).mean(axis=0) if rows else None

    more = " Of a class with several groups of prompts, their mean." if any(len(g) > 1 for g in groups.values()) else ""
    return Directions(of, True, f"The score is the similarity to the prompts of the class.{more}")
