"""Text vectors of the classes of a few-shot run, and the network's own multiplier of cosines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker
from medfm.embeddings.texts import text_cache
from medfm.evaluation.adapters.class_texts import class_text_vectors
from medfm.evaluation.protocol import ZeroShot
from medfm.evaluation.protocol_adapters import Prompts
from medfm.evaluation.target import Target
from medfm.workflows.zero_shot_prompts import questions
from medfm.workflows.zero_shot_target import Scope
from medfm.workflows.zero_shot_texts import cut_notes, encode_texts, shown_texts, tower_of

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort


@dataclass(frozen=True)
class ClassTexts:
    """What the texts gave.

    Attributes:
        vectors: float64 (K, d), in the order of the target's classes.
        scale: exp(logit_scale) of the network; ``None`` where it has none.
        about: Prompts and what reached the tower, as plain data.
        provenance: Digests for the result.
        notes: What a reader must know.
    """

    vectors: np.ndarray
    scale: float | None
    about: dict[str, Any]
    provenance: dict[str, Any]
    notes: list[str]


def class_texts(
    prompts: Prompts,
    encoder: Any,
    tower: Any,
    cohort: Cohort,
    truth: Target,
    map_class: Mapping[str, str] | None,
    cache: str | Path | None,
    progress: ProgressMaker | None,
) -> ClassTexts:
    """Ask the text tower for every class of `truth`; what is missing comes out before any record is read.

    Raises:
        ConfigError: A class has no prompt, or there is no text tower to ask.
        CardError, OfflineError: The encoder has no text tower, or its vocabulary is not here.
    """
    fields = {k: v for k, v in prompts.to_dict().items() if k != "renormalise"}
    method = ZeroShot(**fields)
    tower, lower_case = tower_of(encoder, tower, method)
    asked = questions(
        method,
        truth.classes,
        modality=cohort.modality,
        label_set=cohort.info.get("label_set"),
        given=map_class,
    )
    question = asked.asked[0]
    if question.in_context is not None:
        raise ConfigError(
            f"The strategy {question.strategy} has other texts for every record; an adapter needs one vector per class.",
            where="method.prompts.strategy",
            fix="--strategy synonyms@1, class-name@1, templates@1, descriptors@1 or findings@1",
        )
    scope = Scope(cohort, truth, ())
    texts = text_cache(tower, cache)
    shown = shown_texts(asked, scope, tower, lower_case)
    encode_texts(texts, asked, scope, lower_case, progress)
    vectors = class_text_vectors(question.prompts, texts, lower_case=lower_case, renormalise=prompts.renormalise)
    rows = [
        {"label": entry.label, "text": prompt.text, "weight": prompt.weight}
        for entry in question.prompts.classes
        for group in entry.groups
        for prompt in group
    ]
    about = {
        "strategy": question.strategy,
        "prompts": rows,
        "texts": shown,
        "lower_case": lower_case,
        "prompt_file": asked.file,
        "knowledge": None
        if asked.knowledge is None
        else {"domain": asked.knowledge.domain, "version": asked.knowledge.version, "sha256": asked.knowledge.digest()},
    }
    provenance = {
        "text_fingerprint": getattr(tower, "text_fingerprint", None),
        "prompts_sha256": question.prompts.digest(),
        "knowledge_sha256": None if asked.knowledge is None else asked.knowledge.digest(),
        "prompt_file_sha256": None if asked.file is None else asked.file["sha256"],
    }
    return ClassTexts(vectors, own_scale(tower), about, provenance, cut_notes(shown))


def own_scale(tower: Any) -> float | None:
    """exp(logit_scale) of a network trained on pairs; ``None`` where it keeps none."""
    stored = getattr(getattr(tower, "module", None), "logit_scale", None)
    return None if stored is None else math.exp(float(stored))
