"""``medfm probe`` from a table: cohort, encoder, embeddings, evaluation, explained errors, result folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.protocol import protocol_of
from medfm.evaluation.protocol_concepts import ConceptProbe
from medfm.evaluation.target import make_target
from medfm.workflows.before_evaluation import only_labelled, target_names
from medfm.workflows.brain_age import is_brain_age, with_age_gaps
from medfm.workflows.concept_probe import Asked, ask, concept_probed
from medfm.workflows.explanations import probe_directions
from medfm.workflows.probe import probed
from medfm.workflows.table_run import EvaluationRun, embed_with, need_one_source, refuse_existing, save_explained

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.workflows.baseline import BaselineChoice


def probe_table(
    table: str | Path,
    *,
    encoder: str | None = None,
    weights: str | None = None,
    embeddings: str | Path | None = None,
    embed_settings: Mapping[str, Any] | None = None,
    cohort: Mapping[str, Any] | None = None,
    device: str = "auto",
    preprocessing: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: ProgressMaker | None = None,
    baseline: BaselineChoice = "auto",
    explanations: bool = True,
    **settings: Any,
) -> EvaluationRun:
    """Load a cohort, embed it (cached) or read its embeddings, evaluate, and save the result.

    Args:
        table: The cohort's table.
        encoder: Encoder id; or give `embeddings`.
        weights: Checkpoint file, ``"random"``, or ``None`` for the card's own.
        embeddings: File that ``medfm embed --out`` wrote.
        embed_settings: Settings of the embedding run (see ``medfm.workflows.embed.EmbedConfig``).
        cohort: Arguments of :func:`medfm.load_cohort`.
        device: ``"auto"`` or a torch device.
        preprocessing: Another preprocessing of the card.
        out: Result folder to write.
        overwrite: Replace an earlier result folder.
        progress: Makes the progress displays.
        baseline: ``"untrained"`` evaluates the same network with random weights beside; ``"auto"`` does so for ECGs.
        explanations: Whether the report shows where the encoder looked in the surest errors (pictures only).
        settings: As of :func:`medfm.workflows.probe.probe`.

    Raises:
        ConfigError: Neither or both of `encoder` and `embeddings` are given.
        StoreError: The result folder exists already, or cannot be written.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.embeddings.export import load_embeddings

    need_one_source(encoder, embeddings)
    refuse_existing(out, overwrite)
    plan = protocol_of(settings.pop("protocol", "linear-probe@1"), settings.pop("overrides", ()))
    records = load_cohort(table, **dict(cohort or {}))
    target = target_names(records, settings.pop("target", None))
    for column in [target] if isinstance(target, str) else target:
        records.column(column)  # a wrong name comes out before the embedding, not after it
    considered, _ = only_labelled(records, target, settings.get("drop_unlabelled", False))
    make_target(considered, target, settings.get("task", "auto"), positive=settings.get("positive"))  # so do its labels
    method = plan.method
    loaded, asked = None, None
    if embeddings is not None:
        if isinstance(method, ConceptProbe):
            raise ConfigError(
                "Findings are read by the encoder's text tower, which a file of embeddings does not hold.",
                where="--embeddings",
                expected="--encoder ID; its embeddings are cached",
            )
        vectors = load_embeddings(embeddings)
    else:
        from medfm.encoders.load import load_encoder

        loaded = load_encoder(str(encoder), weights=weights, device=device, variant=preprocessing)
        if isinstance(method, ConceptProbe):
            asked = ask(method, loaded, records.modality, cache=_cache(embed_settings), progress=progress)
        vectors = embed_with(loaded, records, embed_settings, progress)
    settings |= {"device": None if device == "auto" else device, "progress": progress}
    settings["baseline"] = _baseline(loaded, records, baseline, asked, embed_settings, progress)
    if asked is None:
        result, done = probed(vectors, records, target, plan, **settings)
        if is_brain_age(plan) and isinstance(target, str):
            result = with_age_gaps(result, vectors, records, target)
        directions = probe_directions(done, result)
    else:
        result, done = concept_probed(vectors, records, target, plan, asked, **settings)
        directions = probe_directions(done, result, asked.vectors())
    result, folder = save_explained(
        result, records, loaded, directions, out, overwrite=overwrite, explanations=explanations
    )
    return EvaluationRun(result, folder, len(vectors.failures))


def _cache(settings: Mapping[str, Any] | None) -> str | None:
    found = dict(settings or {}).get("cache")
    return None if found is None else str(found)


def _baseline(
    encoder: Encoder | None,
    cohort: Cohort,
    choice: BaselineChoice,
    asked: Asked | None,
    settings: Mapping[str, Any] | None,
    progress: ProgressMaker | None,
) -> Embeddings | str | None:
    """Embeddings of the untrained network, for a concept probe their similarities to what its own text tower says."""
    from medfm.workflows.baseline import untrained, untrained_encoder
    from medfm.workflows.embed import embed

    if asked is None:
        return untrained(encoder, cohort, choice, settings=settings, progress=progress)
    bare = untrained_encoder(encoder, cohort, choice)
    if bare is None or isinstance(bare, str):
        return bare
    own = asked.by(bare, _cache(settings))
    return own.features(embed(bare, cohort, progress=progress, **dict(settings or {})))
