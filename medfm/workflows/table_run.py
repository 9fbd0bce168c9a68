"""What the verbs that evaluate a table share: where vectors come from, what is refused early, how a run ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ConfigError, StoreError
from medfm.core.progress import ProgressMaker
from medfm.embeddings.embeddings import Embeddings

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.reporting.result import Result
    from medfm.workflows.explanations import Directions


@dataclass(frozen=True)
class EvaluationRun:
    """What a verb that evaluates did.

    Attributes:
        result: What was found.
        out: The result folder; ``None`` where none was asked for.
        failed: How many records were lost on the way.
    """

    result: Result
    out: Path | None
    failed: int


def refuse_existing(out: str | Path | None, overwrite: bool) -> None:
    """Say that the result folder exists before the work; saving checks it again.

    Raises:
        StoreError: `out` exists and may not be replaced.
    """
    if out is not None and Path(out).exists() and not overwrite:
        raise StoreError(
            "The output folder exists already.",
            where=str(out),
            fix="choose another name, or pass --overwrite to replace it",
        )


def need_one_source(encoder: str | None, embeddings: str | Path | None) -> None:
    """Vectors come from an encoder or from a file of embeddings.

    Raises:
        ConfigError: Neither or both are given.
    """
    if (encoder is None) == (embeddings is None):
        raise ConfigError(
            "Name either an encoder or a file of embeddings.",
            expected="--encoder ID, or --embeddings FILE",
            fix="medfm encoders lists the encoders",
        )


def embed_with(
    encoder: Encoder, cohort: Cohort, settings: Mapping[str, Any] | None, progress: ProgressMaker | None
) -> Embeddings:
    """The cohort embedded (cached), with a word on the weights in the provenance."""
    from medfm.workflows.embed import embed

    return with_weights_note(embed(encoder, cohort, progress=progress, **dict(settings or {})), encoder)


def with_weights_note(vectors: Embeddings, encoder: Encoder) -> Embeddings:
    """`vectors` whose provenance says in words where the weights come from."""
    return replace(vectors, provenance={**vectors.provenance, "weights_note": encoder.weights_note})


def load_with_tower(
    table: str | Path,
    encoder: str,
    *,
    weights: str | None,
    preprocessing: str | None,
    embeddings: str | Path | None,
    cohort: Mapping[str, Any] | None,
    device: str,
) -> tuple[Cohort, Embeddings | Encoder, Encoder]:
    """The records, what gives their vectors (a file of embeddings, else the encoder), and the encoder with the tower."""
    from medfm.cohorts.load import load_cohort
    from medfm.embeddings.export import load_embeddings
    from medfm.encoders.load import load_encoder

    records = load_cohort(table, **dict(cohort or {}))
    vectors = None if embeddings is None else load_embeddings(embeddings)
    loaded = load_encoder(encoder, weights=weights, device=device, variant=preprocessing)
    return records, loaded if vectors is None else vectors, loaded


def save_explained(
    result: Result,
    cohort: Cohort,
    encoder: Encoder | None,
    directions: Directions | str,
    out: str | Path | None,
    *,
    overwrite: bool,
    explanations: bool,
) -> tuple[Result, Path | None]:
    """Save `result` with pictures of its surest errors and heat maps beside them; nothing without `out`."""
    from medfm.workflows.explanations import explained

    if out is None:
        return result, None
    result, images = explained(result, cohort, encoder, directions, wanted=explanations)
    return result, result.save(out, overwrite=overwrite, images=images)
