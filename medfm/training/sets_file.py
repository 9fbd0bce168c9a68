"""Scores of validation records for conformal prediction sets, in a model's folder: ``sets.json``.

One true-class probability per validation patient and nothing else, so that sets of any stated rate can be made later.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medfm.core.errors import ConfigError, WeightsError
from medfm.core.files import write_json
from medfm.evaluation.conformal import ConformalSets, fit_conformal

FORMAT = "medfm-sets-1"
ABOUT = "sets.json"


def save_scores(folder: str | Path, scores: np.ndarray, classes: tuple[str, ...]) -> None:
    """Write the sorted probabilities of the true class, one per validation patient.

    Args:
        folder: Of the model.
        scores: float (n,).
        classes: Of the classifier.

    Raises:
        StoreError: The folder cannot be written to.
    """
    write_json(
        Path(folder) / ABOUT,
        {"format": FORMAT, "classes": list(classes), "scores": [float(v) for v in np.sort(scores)]},
    )


def load_sets(folder: str | Path, classes: tuple[str, ...], level: float) -> ConformalSets:
    """Prediction sets that hold the true class at the rate `level`, from the stored scores.

    Raises:
        ConfigError: The model has no such scores, or `level` is not between 0 and 1.
        WeightsError: They are damaged, or of other classes.
    """
    place = Path(folder) / ABOUT
    if not 0 < level < 1:
        raise ConfigError(f"Prediction sets cannot have the rate {level:g}.", expected="a number between 0 and 1")
    if not place.is_file():
        raise ConfigError(
            "The model keeps no scores to make prediction sets from.",
            where=str(place.parent),
            expected="a classifier of one label column, fine-tuned with 9 or more validation patients",
            fix="fine-tune again with more validation patients, or predict without --sets",
        )
    try:
        about = json.loads(place.read_text(encoding="utf-8"))
        own = np.asarray(about["scores"], dtype=np.float64)
        if about["format"] != FORMAT or tuple(about["classes"]) != classes:
            raise ValueError("they are of another format or other classes")
        if own.ndim != 1 or not len(own) or not ((own >= 0) & (own <= 1)).all():
            raise ValueError("they are no probabilities")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"The scores for prediction sets are damaged: {error}.",
            where=str(place),
            fix="copy the whole folder again, or train again",
        ) from error
    # The rule looks at the true class's probability alone; it is put in the first column, and the threshold is one for all.
    table = np.zeros((len(own), len(classes)))
    table[:, 0] = own
    return fit_conformal(table, np.zeros(len(own), dtype=np.int64), level)
