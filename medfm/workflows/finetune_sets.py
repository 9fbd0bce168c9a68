"""Keep what conformal prediction sets need beside a fine-tuned model, and measure the sets on tested records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.progress import ProgressMaker
from medfm.evaluation.conformal import FEWEST, LEVEL, fit_conformal
from medfm.evaluation.intervals import wilson_interval
from medfm.training.sets_file import save_scores

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.target import Target
    from medfm.training.tuned import TunedClassifier


def add_sets(
    folder: Path,
    encoder: Encoder,
    classifier: TunedClassifier,
    cohort: Cohort,
    truth: Target,
    validation: np.ndarray,
    test: np.ndarray,
    tested: Embeddings,
    settings: dict[str, Any],
    progress: ProgressMaker,
) -> str:
    """Write the validation scores, one record per patient; a sentence for the report, empty for other tasks.

    Args:
        folder: Of the model.
        encoder: The fine-tuned one.
        classifier: Its probabilities are used.
        cohort: Of which `validation` and `test` are rows.
        truth: Of the cohort.
        validation: Rows on which the epoch was chosen.
        test: Held-out rows.
        tested: Embeddings of the latter.
        settings: Of the embedding run.
        progress: Makes the progress displays.
    """
    from medfm.workflows.embed import embed

    if truth.task not in ("binary", "multiclass"):
        return ""
    patients = cohort.table["patient_id"].astype(str).to_numpy()
    ids = np.arange(len(cohort)).astype(str) if not cohort.patients_known else patients
    _, first = np.unique(ids[validation], return_index=True)
    rows = np.asarray(validation)[np.sort(first)]
    if len(rows) < FEWEST:
        return f"No prediction sets: {len(rows)} validation patients, and sets at {100 * LEVEL:g} % need {FEWEST}."
    part = cohort.subset(rows)
    found = embed(encoder, part, progress=progress, **settings)
    there = found.rows(part.record_ids)
    labels = truth.take(rows[there >= 0]).values
    scores = classifier.scores(found.values[there[there >= 0]])
    own = scores[np.arange(len(labels)), labels]
    if len(own) < FEWEST:
        return f"No prediction sets: {len(own)} validation records could be read, and {FEWEST} are needed."
    save_scores(folder, own, classifier.labels.classes)
    held = tested.rows([cohort.record_ids[i] for i in test])
    seen = np.asarray(test)[held >= 0]
    sets = fit_conformal(scores, labels, LEVEL)
    share, size = sets.coverage(classifier.scores(tested.values[held[held >= 0]]), truth.take(seen).values)
    trials = len(np.unique(ids[seen]))
    low, high = (float(v) for v in wilson_interval(share * trials, trials))
    return (
        f"Prediction sets planned to hold the true class for {100 * LEVEL:g} % (medfm predict --sets {LEVEL:g}): they hold it for "
        f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %) of {len(seen)} tested records, with {size:.2f} of "
        f"{len(classifier.labels.classes)} classes on average."
    )
