"""Texts of a run with a text tower: the tower that reads them, what of each reaches it, vectors kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache
from medfm.evaluation.protocol import ZeroShot
from medfm.knowledge.prompts import Context, context_of
from medfm.workflows.zero_shot_prompts import Questions, reaching_the_tower
from medfm.workflows.zero_shot_target import Scope

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort

CARRIED = ("age", "sex")


def tower_of(encoder: Any, text_encoder: Any, method: ZeroShot) -> tuple[Any, bool]:
    """The encoder with the text tower, checked against given embeddings, and whether texts are lower-cased."""
    tower = text_encoder if isinstance(encoder, Embeddings) else encoder
    if tower is None:
        raise ConfigError(
            "Embeddings alone cannot be asked: texts need the text tower of their encoder.",
            fix="pass text_encoder=medfm.load_encoder(ID)",
        )
    if isinstance(encoder, Embeddings):
        made_by = encoder.provenance.get("fingerprint")
        if made_by and made_by != tower.fingerprint:
            raise ConfigError(
                f"The embeddings were not made by this encoder '{tower.id}': the fingerprints differ.",
                expected=f"embeddings with the fingerprint {tower.fingerprint[:16]}; these have {str(made_by)[:16]}",
                fix="name the encoder, weights and preprocessing that made them",
            )
    spec = getattr(getattr(tower, "card", None), "spec", None)
    text = getattr(spec, "text", None)
    lower = method.lower_case if method.lower_case is not None else text is None or text.lower_case
    return tower, bool(lower)


def temperature_of(tower: Any, method: ZeroShot) -> float:
    """The temperature of the softmax: the protocol's, or 1 / exp(logit_scale) of the weights.

    Raises:
        ConfigError: The protocol wants the weights' own, and they hold none.
    """
    if method.temperature_from == "protocol":
        return method.temperature
    scale = getattr(getattr(tower, "module", None), "logit_scale", None)
    if scale is None:
        raise ConfigError(
            f"The encoder '{tower.id}' has no logit_scale to take the temperature from.",
            where="method.temperature_from",
            fix="--set method.temperature_from=protocol, with method.temperature",
        )
    return float(np.exp(-float(scale.detach().cpu())))


def contexts_of(scope: Scope) -> list[Context]:
    """Age and sex of every scored record, as far as the cohort says."""
    table = scope.cohort.table
    columns = [table[c] if c in table.columns else pd.Series([None] * len(table)) for c in CARRIED]
    return [context_of(age, sex) for age, sex in zip(*columns, strict=True)]


def _all_texts(asked: Questions, scope: Scope) -> list[str]:
    contexts = contexts_of(scope) if any(q.in_context for q in asked.asked) else []
    return list(dict.fromkeys(text for q in asked.asked for text in q.texts(contexts)))


def shown_texts(asked: Questions, scope: Scope, tower: Any, lower_case: bool) -> list[dict[str, Any]]:
    """What of each text reaches the tower; a missing tokenizer comes out here, before any work."""
    return [
        {"text": e.text, "encoded": e.encoded, "tokens": e.tokens, "kept": e.kept}
        for e in reaching_the_tower(_all_texts(asked, scope), tower, lower_case)
    ]


def encode_texts(
    texts: TextCache, asked: Questions, scope: Scope, lower_case: bool, progress: ProgressMaker | None
) -> None:
    """Every text once, before the records: what the tower cannot do comes out early."""
    groups = [
        [p.text.lower() if lower_case else p.text for p in group]
        for q in asked.asked
        if q.prompts.together and q.in_context is None
        for entry in q.prompts.classes
        for group in entry.groups
    ]
    alone = replace(asked, asked=tuple(q for q in asked.asked if not q.prompts.together or q.in_context is not None))
    wanted = [text.lower() if lower_case else text for text in _all_texts(alone, scope)]
    # A group in which nothing depends on the others is kept text by text, as all others are.
    mixed = [group for group in groups if texts.mixes(group)]
    wanted += [text for group in groups if not texts.mixes(group) for text in group]
    with (progress or Silent)("encoding texts", len(set(wanted)) + sum(map(len, mixed)), "texts") as shown:
        texts.fill_groups(mixed, shown)
        texts.fill(wanted, shown)


def cut_notes(shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note where texts are longer than the tower takes."""
    cut = [entry for entry in shown if entry["kept"] < entry["tokens"]]
    if not cut:
        return []
    return [
        f"{len(cut)} of {len(shown)} texts are longer than the text tower takes and were cut off; see the table of texts."
    ]


def encoder_for(encoder: Any, cohort: Cohort | None = None) -> Any:
    """The encoder itself; with `cohort`, one of another modality is refused before any work."""
    from medfm.workflows.embed import check_modality

    if isinstance(encoder, str):
        from medfm.encoders.load import load_encoder

        encoder = load_encoder(encoder)
    if cohort is not None and encoder is not None and not isinstance(encoder, Embeddings):
        check_modality(encoder, cohort)
    return encoder


def embed_beside_tower(
    encoder: Any,
    tower: Any,
    cohort: Cohort,
    cache: str | Path | None,
    settings: Mapping[str, Any] | None,
    progress: ProgressMaker | None,
) -> Embeddings:
    """Vectors of the records, given or computed (cached), whose provenance names the encoder with the text tower."""
    from medfm.workflows.embed import embed

    if isinstance(encoder, Embeddings):
        vectors = encoder
    else:
        given = dict(settings or {})
        if cache is not None:
            given["cache"] = str(cache)
        vectors = embed(encoder, cohort, progress=progress, **given)
    about = {"weights_note": getattr(tower, "weights_note", ""), **vectors.provenance}
    about.setdefault("encoder", tower.id)
    about.setdefault("fingerprint", tower.fingerprint)
    about.setdefault("weights_kind", str(tower.weights_kind))
    return replace(vectors, provenance=about)
