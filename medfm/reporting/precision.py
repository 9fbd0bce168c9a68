"""How much the number of patients allows to say: precision reached, and what a narrower interval would need."""

from __future__ import annotations

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.evaluation.precision import hanley_mcneil_se, patients_for_width
from medfm.evaluation.predictions import MAIN
from medfm.evaluation.summary import Estimate
from medfm.reporting.result import Result
from medfm.reporting.words import count, figure, word

# An interval of this width tells an AUROC of 0.80 from one of 0.90.
PLANNED_WIDTH = 0.1
_TASKS = ("binary", "multiclass")


def precision_lines(result: Result) -> list[str]:
    """Sentences for the report; none for tasks other than classes, and none where nothing was counted."""
    summary = result.summary
    if summary.task not in _TASKS or not summary.headline:
        return []
    table = result.predictions.of_variant(
        MAIN if MAIN in result.predictions.variants else result.predictions.variants[0]
    ).table
    unit = "patient" if summary.patients_known else "record"
    ids = table["patient_id" if summary.patients_known else "record_id"].astype(str)
    sizes = {name: int(ids[table["truth"].astype(str) == name].nunique()) for name in summary.classes}
    lines = []
    if summary.task == "binary":
        lines += _binary(summary.headline, sizes, unit)
    else:
        present = {k: v for k, v in sizes.items() if v}
        if present:
            rarest = min(present, key=lambda k: present[k])
            lines.append(f"The rarest tested class is “{rarest}” with {count(present[rarest], unit)}.")
    first = summary.headline[0]
    if first.low is not None and first.high is not None:
        wide = figure(first.high - first.low)
        lines.append(
            f"The interval of {word(first.metric).title} is {wide} wide with {count(summary.n_patients, unit)} tested."
        )
    return [*lines, *_training(result)]


def _binary(headline: tuple[Estimate, ...], sizes: dict[str, int], unit: str) -> list[str]:
    negative, positive = sizes
    few, many = sizes[positive], sizes[negative]
    said = [f"Tested: {count(few, unit)} with “{positive}”, {many} with “{negative}”."]
    auroc = next((e.value for e in headline if e.metric == "auroc"), None)
    if auroc is None or not few or not many:
        return said
    try:
        error = hanley_mcneil_se(auroc, few, many)
        needed = patients_for_width(auroc, few / (few + many), PLANNED_WIDTH)
    except EvaluationError:
        return said
    if error > 0:
        said.append(
            f"By these counts alone an AUROC of {figure(auroc)} has a standard error of {figure(error)}; a 95 % interval no wider "
            f"than {PLANNED_WIDTH:g} would need about {count(needed, unit)} with this share of “{positive}” (Hanley and McNeil, "
            f"one record per {unit})."
        )
    return said


def _training(result: Result) -> list[str]:
    """Training records per dimension of the embedding, where the run noted both."""
    chosen = result.extras.get("chosen") or []
    sizes = [row["train"] for row in chosen if isinstance(row, dict) and isinstance(row.get("train"), int)]
    width = result.provenance.get("dim")
    if not sizes or not isinstance(width, int) or width < 1:
        return []
    least = int(np.min(sizes))
    said = f"Trained on {count(least, 'record')}{' or more' if max(sizes) > least else ''} for an embedding of {width} numbers"
    return [
        f"{said} ({least / width:.2g} per number). Below about 10 per number a linear rule rests on its penalty: report the "
        "calibration, and expect another training sample to give another rule."
    ]
