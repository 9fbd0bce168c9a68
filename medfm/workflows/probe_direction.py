"""The direction that a linear probe found in semantic codes, kept in its result for ``medfm data show --manipulate``."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.encoders.ldae.direction import KEY

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.evaluation.evaluate import Evaluation
    from medfm.evaluation.target import Target


def direction_extras(done: Evaluation, truth: Target, embeddings: Embeddings, cohort: Cohort) -> dict[str, Any]:
    """``{"direction": ...}`` of a probe with one output on brain MRI; empty for every other one.

    The direction is the mean of the trainings' directions, each of length 1 on standardised codes:
    ``weight`` of the probe's weights, ``pattern`` of their patterns.
    """
    found = [(one.weights[0], one.scale, one.patterns[0]) for one in done.directions if len(one.weights) == 1]
    if cohort.modality != "brain_mri" or truth.task not in ("binary", "regression") or not found:
        return {}
    units, scales, patterns = (np.stack([one[i] for one in found]).astype(np.float64) for i in range(3))
    if not (scales > 0).all() or not _has_length(units) or not _has_length(patterns):
        return {}
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
    agreement = [float(a @ b) for a, b in combinations(units, 2)]
    about = embeddings.provenance
    return {
        KEY: {
            "weight": units.mean(axis=0).tolist(),
            "pattern": patterns.mean(axis=0).tolist(),
            "std": scales.mean(axis=0).tolist(),
            "towards": truth.classes[1] if truth.task == "binary" else f"higher {truth.name}",
            "encoder": about.get("encoder", ""),
            "fingerprint": about.get("fingerprint", ""),
            "trainings": len(units),
            "agreement": float(np.mean(agreement)) if agreement else None,
        }
    }


def _has_length(rows: np.ndarray) -> bool:
    return bool(np.isfinite(rows).all() and (np.linalg.norm(rows, axis=1) > 0).all())
