"""Put a zero-shot reading beside a fine-tuned classifier, and measure on tested records how often both agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import MedfmError
from medfm.core.progress import ProgressMaker
from medfm.embeddings.texts import text_cache
from medfm.evaluation.agreement import Agreement, Reading, agreement
from medfm.evaluation.protocol_zero_shot import ZeroShot
from medfm.evaluation.zero_shot import class_vectors
from medfm.training.agreement_file import UNTOUCHED, save_reading
from medfm.workflows.finetune_names import MAPPED

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.target import Target
    from medfm.training.tuned import TunedClassifier

_NONE = "No zero-shot reading beside the classifier: "


def add_reading(
    folder: Path,
    encoder: Encoder,
    model: Encoder,
    classifier: TunedClassifier,
    tested: Cohort,
    truth: Target,
    found: tuple[Embeddings, Embeddings],
    settings: Mapping[str, Any],
    progress: ProgressMaker,
) -> str:
    """Write the reading into the model's folder where the encoder can be asked; a sentence for the report.

    Where training moved the embeddings, texts no longer lie where they do: the untouched encoder is then written
    beside the model, and reads.

    Args:
        folder: Of the model.
        encoder: The untouched one.
        model: The trained one.
        classifier: Its decisions are compared.
        tested: Held-out records.
        truth: Of these.
        found: Embeddings by the untouched and by the trained encoder.
        settings: Of the embedding runs.
        progress: Makes the progress displays.
    """
    if truth.task not in ("binary", "multiclass"):
        return ""
    if not encoder.has_text:
        return _NONE + f"the encoder {encoder.id} has no text tower."
    try:
        reading = _reading(encoder, tested, truth, settings, progress)
    except MedfmError as error:  # a class without a prompt, a tower without a vocabulary: no reason to lose a training
        return _NONE + (error.what[:1].lower() + error.what[1:]).rstrip(".") + "."
    ids = [r for r in tested.record_ids if r in set(found[0].record_ids) & set(found[1].record_ids)]
    before, after = (e.values[e.rows(ids)] for e in found)
    rows = np.flatnonzero(np.isin(np.array(tested.record_ids, dtype=object), ids))
    patients = tested.table["patient_id"].to_numpy()[rows] if tested.patients_known else None
    measured = agreement(
        classifier.decide(classifier.scores(after)), reading(before), truth.take(rows).values, patients
    )
    keep_reading(folder, reading, encoder, model, moved(before, after), measured)
    return measured.sentence(reading.strategy)


def moved(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether training moved these embeddings, float (n, d) of the same records."""
    scale = max(float(np.abs(before).max()), 1e-12)
    return not np.allclose(before, after, rtol=1e-3, atol=1e-4 * scale)


def keep_reading(
    folder: Path, reading: Reading, encoder: Encoder, model: Encoder, went: bool, measured: Agreement
) -> None:
    """Write the reading beside the model, and the untouched encoder where training moved the embeddings (`went`)."""
    if went:
        _save_untouched(folder / UNTOUCHED, encoder)
    save_reading(
        folder,
        Reading(reading.vectors, reading.strategy, went),
        encoder.fingerprint if went else model.fingerprint,
        measured.about(),
    )


def _reading(
    encoder: Encoder, cohort: Cohort, truth: Target, settings: Mapping[str, Any], progress: ProgressMaker
) -> Reading:
    from medfm.workflows.zero_shot_prompts import questions
    from medfm.workflows.zero_shot_target import Scope
    from medfm.workflows.zero_shot_texts import encode_texts, tower_of

    method = ZeroShot()
    tower, lower_case = tower_of(encoder, None, method)
    label_set, given = cohort.info.get("label_set"), cohort.info.get(MAPPED)
    asked = questions(method, truth.classes, modality=cohort.modality, label_set=label_set, given=given)
    texts = text_cache(tower, settings.get("cache"))
    encode_texts(texts, asked, Scope(cohort, truth, ()), lower_case, progress)
    question = asked.asked[0]
    return Reading(class_vectors(question.prompts, texts, lower_case=lower_case), question.strategy)


def _save_untouched(folder: Path, encoder: Encoder) -> None:
    from medfm.encoders.save import save_encoder

    save_encoder(
        folder,
        encoder.module,
        encoder.card,
        encoder_id=f"{encoder.id}-untouched",
        title=f"{encoder.id}, as it was before fine-tuning",
        summary="The encoder before fine-tuning: it reads records zero-shot beside the classifier.",
        prose=f"The encoder `{encoder.id}` ({encoder.weights_note}) as it was before the training of the model beside it.\n",
        training_data=encoder.card.spec.training_data,
        deviations=encoder.card.spec.deviations,
    )
