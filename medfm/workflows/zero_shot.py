"""Zero-shot: a cohort scored against prompts, without training, with intervals and what was really asked.

Steps: target and scored records -> prompts of each strategy -> text vectors (kept on disk) ->
embeddings (cached) -> cosines -> statistics, prompt sensitivity, comparison of the strategies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.core.progress import ProgressMaker
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache, text_cache
from medfm.evaluation.grades import order_notes
from medfm.evaluation.predictions import Predictions, TaskKind
from medfm.evaluation.protocol import Protocol, ZeroShot
from medfm.evaluation.zero_shot import class_vectors, zero_shot_in_contexts, zero_shot_predictions, zero_shot_scores
from medfm.evaluation.zero_shot_weights import weigh_prompts
from medfm.knowledge.prompt_file import check_prompt_file
from medfm.knowledge.prompts import Context
from medfm.workflows.baseline import BaselineChoice, beside, untrained_encoder, without_baseline
from medfm.workflows.before_evaluation import check_cohort
from medfm.workflows.participants import scored_participants
from medfm.workflows.result_parts import (
    MapMethod,
    map_of,
    provenance_of,
    resolved_settings,
    summarised,
    target_settings,
)
from medfm.workflows.table_run import EvaluationRun, load_with_tower, refuse_existing, save_explained
from medfm.workflows.zero_shot_extras import Scored, zero_shot_extras
from medfm.workflows.zero_shot_prompts import Question, Questions, questions
from medfm.workflows.zero_shot_target import Scope, headline_metrics, scope_of, zero_shot_plan
from medfm.workflows.zero_shot_texts import (
    CARRIED,
    contexts_of,
    cut_notes,
    embed_beside_tower,
    encode_texts,
    encoder_for,
    shown_texts,
    temperature_of,
    tower_of,
)

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.reporting.result import Result


def zero_shot(
    encoder: Any,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol = "zero-shot@1",
    *,
    strategy: str | Sequence[str] = (),
    text_encoder: Any = None,
    knowledge: str | Path | None = None,
    label_set: str | None = None,
    prompt_file: str | Path | None = None,
    map_class: Mapping[str, str] | None = None,
    leave_out: Sequence[str] = (),
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    allow: Sequence[str] = (),
    drop_unlabelled: bool = False,
    overrides: Sequence[str] = (),
    embedding_map: MapMethod = "pca",
    cache: str | Path | None = None,
    embed_settings: Mapping[str, Any] | None = None,
    name: str = "",
    progress: ProgressMaker | None = None,
    baseline: BaselineChoice = "auto",
) -> Result:
    """Score the records of `cohort` against prompts of their labels.

    Args:
        encoder: A loaded encoder or its id, or :class:`medfm.Embeddings` (then give `text_encoder`).
        cohort: Records with labels, and a split where only test records are to be scored.
        target: Label column, or a list of 0/1 columns named after labels; by default the
            cohort's own, else the columns of its label set, else ``label``.
        protocol: Id of a shipped protocol, a YAML file, or a :class:`Protocol`, of kind zero_shot.
        strategy: Prompt strategies instead of the protocol's; the first is the headline, the others
            are variants that are compared with it.
        text_encoder: Encoder whose text tower shares a space with given embeddings.
        knowledge: Domain or YAML file instead of the protocol's.
        label_set: Label set of the knowledge; the cohort's own by default.
        prompt_file: JSON or YAML of ``LABEL: text``; then the strategy is ``file@1`` unless named.
        map_class: Class of the cohort -> class of the knowledge (id, name, synonym or label, or
            several joined by ``+``), or key of the prompt file.
        leave_out: Classes whose records are not scored (of a single label column).
        task, positive, allow, drop_unlabelled, overrides, embedding_map, name, progress: As of
            :func:`medfm.workflows.probe.probe`.
        cache: Cache folder of embeddings and text vectors.
        embed_settings: Settings of the embedding run (``medfm.workflows.embed.EmbedConfig``).
        baseline: ``"untrained"`` asks the same network with random weights in both towers as well; ``"auto"`` does
            so for ECGs. It needs the encoder, not its embeddings alone.

    Returns:
        A result of kind ``zero_shot``; ``extras["zero_shot"]`` holds texts, prompts and comparison.

    Raises:
        ConfigError: A class has no prompt, the protocol is of another kind, a setting is wrong.
        CardError, OfflineError: There is no text tower, or its vocabulary is not on this machine.
        EvaluationError: The data do not allow this evaluation.
        ChecksFailedError: A check failed whose code is not in `allow`.
    """
    from medfm.evaluation.evaluate import Evaluation
    from medfm.reporting.result import Result

    plan = zero_shot_plan(protocol, overrides, knowledge=knowledge, label_set=label_set, prompt_file=prompt_file)
    method = plan.method
    assert isinstance(method, ZeroShot)
    scope = scope_of(cohort, target, method, leave_out, task, positive, drop_unlabelled)
    metrics = headline_metrics(plan, scope.truth.task, len(scope.truth.classes), scope.truth.grades)
    asked = questions(
        method,
        scope.truth.classes,
        strategies=[strategy] if isinstance(strategy, str) else strategy,
        modality=cohort.modality,
        label_set=cohort.info.get("label_set"),
        given=map_class,
    )
    encoder, text_encoder = encoder_for(encoder, cohort), encoder_for(text_encoder)
    tower, lower_case = tower_of(encoder, text_encoder, method)
    texts = text_cache(tower, cache)
    shown = shown_texts(asked, scope, tower, lower_case)
    encode_texts(texts, asked, scope, lower_case, progress)
    vectors = embed_beside_tower(encoder, tower, scope.cohort, cache, embed_settings, progress)
    bare = untrained_encoder(None if isinstance(encoder, Embeddings) else encoder, cohort, baseline)
    findings = check_cohort(scope.cohort, scope.truth.name, "", plan, vectors, allow)
    scored = _score(asked, scope, vectors, texts, method, lower_case)
    predictions = _predictions(scored, plan, temperature_of(tower, method))
    summary = summarised(
        predictions, plan, metrics, patients_known=cohort.patients_known, probabilities=False, progress=progress
    )
    extras = zero_shot_extras(asked, scored, predictions, summary, plan, texts, lower_case=lower_case, shown=shown)
    order = order_notes(scope.truth, metrics)
    notes = (*summary.notes, *scope.notes, *order, *scored.notes, *cut_notes(shown), *asked.notes)
    plan = plan.model_copy(update={"method": _named(method, asked)})
    result = Result(
        kind="zero_shot",
        protocol=plan,
        summary=summary.model_copy(update={"notes": notes}),
        predictions=predictions,
        provenance={
            **provenance_of(vectors, cohort, plan),
            "text_fingerprint": getattr(tower, "text_fingerprint", None),
            "preprocessing": getattr(tower, "variant", None),
            "strategies": [q.strategy for q in asked.asked],
            "prompts_sha256": extras["strategies"][0]["sha256"],
            "knowledge": None if asked.knowledge is None else f"{asked.knowledge.domain}, {asked.knowledge.version}",
            "knowledge_sha256": None if asked.knowledge is None else asked.knowledge.digest(),
            "prompt_file_sha256": None if asked.file is None else asked.file["sha256"],
        },
        findings=findings,
        config={
            **target_settings(
                scope.truth.classes if scope.truth.task == "multilabel" else scope.truth.name, scope.truth
            ),
            "strategies": [q.strategy for q in asked.asked],
            "map_class": dict(map_class or {}),
            "leave_out": sorted(leave_out),
            "drop_unlabelled": drop_unlabelled,
            "allow": sorted(allow),
            "prompts": [entry["sha256"] for entry in extras["strategies"]],
            **resolved_settings(vectors, cohort, plan),
        },
        embedding_map=map_of(vectors, scope.cohort, Evaluation(predictions, (), ()), plan, embedding_map),
        extras={
            "zero_shot": extras,
            "participants": scored_participants(cohort, scope.cohort, scored.cohort, scored.truth, plan),
        },
        name=name,
    )
    if bare is None or isinstance(bare, str):
        return result if bare is None else without_baseline(result, bare)
    own = text_cache(bare, cache)
    encode_texts(own, asked, scope, lower_case, progress)
    vectors = embed_beside_tower(bare, bare, scope.cohort, cache, embed_settings, progress)
    untrained = _score(asked, scope, vectors, own, method, lower_case)
    return beside(result, _predictions(untrained, plan, temperature_of(bare, method)), bare.fingerprint)


def zero_shot_table(
    table: str | Path,
    *,
    encoder: str,
    weights: str | None = None,
    preprocessing: str | None = None,
    embeddings: str | Path | None = None,
    cohort: Mapping[str, Any] | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: ProgressMaker | None = None,
    explanations: bool = True,
    **settings: Any,
) -> EvaluationRun:
    """Load a cohort and an encoder, score, and save the result.

    Args:
        table: The cohort's table.
        encoder: Encoder id.
        weights: Checkpoint file, ``"random"``, or ``None`` for the card's own.
        preprocessing: Another preprocessing of the card, such as ``"cpsc2018"``.
        embeddings: File that ``medfm embed --out`` wrote with the same encoder; then records are not read.
        cohort: Arguments of :func:`medfm.load_cohort`.
        device: ``"auto"`` or a torch device.
        out: Result folder to write.
        overwrite: Replace an earlier result folder.
        progress: Makes the progress displays.
        explanations: Whether the report shows where the encoder looked in the surest errors (pictures only).
        settings: As of :func:`zero_shot`.
    """
    from medfm.workflows.explanations import NOT_KEPT, text_directions

    refuse_existing(out, overwrite)
    asked = settings.get("protocol")
    prompt_file = (
        getattr(asked.method, "prompt_file", None) if isinstance(asked, Protocol) else settings.get("prompt_file")
    )
    if prompt_file is not None:
        check_prompt_file(prompt_file)
    records, source, loaded = load_with_tower(
        table,
        encoder,
        weights=weights,
        preprocessing=preprocessing,
        embeddings=embeddings,
        cohort=cohort,
        device=device,
    )
    result = zero_shot(source, records, text_encoder=loaded, progress=progress, **settings)
    directions = NOT_KEPT if out is None else text_directions(result, text_cache(loaded, settings.get("cache")))
    result, folder = save_explained(
        result, records, loaded, directions, out, overwrite=overwrite, explanations=explanations
    )
    return EvaluationRun(result, folder, len(result.provenance.get("failures") or []))


def _score(
    asked: Questions, scope: Scope, vectors: Embeddings, texts: TextCache, method: ZeroShot, lower_case: bool
) -> Scored:
    """Cosines of the embedded records under each strategy, with weighted prompts where asked."""
    rows = vectors.rows(scope.cohort.record_ids)
    found = np.flatnonzero(rows >= 0)
    notes: list[str] = []
    if not len(found):
        raise EvaluationError(
            "No record of the cohort has an embedding.",
            where=f"cohort '{scope.cohort.name}', {len(scope.cohort)} records",
            expected="embeddings of this cohort's record ids",
            fix="embed this cohort, or see which records failed (medfm embed)",
        )
    if len(found) < len(rows):
        notes.append(f"{len(rows) - len(found)} of {len(rows)} records have no embedding and are left out.")
    values = vectors.values[rows[found]]
    contexts: list[Context] = []
    if any(q.in_context for q in asked.asked):
        everybody = contexts_of(scope)
        contexts = [everybody[i] for i in found]
        unknown = sum(c == Context() for c in contexts)
        notes.append(
            "context@1 asks each record by its own age and sex, so its AUROC also holds what age and sex say "
            f"themselves; of {unknown} of {len(contexts)} records neither is known."
        )
    kept: list[Question] = []
    cosines = []
    for question in asked.asked:
        if method.weighting != "none" and question.in_context is None:
            weighed = weigh_prompts(
                question.prompts,
                values,
                texts,
                method.weighting,
                temperature=method.temperature,
                lower_case=lower_case,
            )
            question = replace(question, prompts=weighed)
        if question.in_context is not None:
            cosines.append(zero_shot_in_contexts(values, contexts, question.in_context, texts, lower_case=lower_case))
        else:
            cosines.append(zero_shot_scores(values, class_vectors(question.prompts, texts, lower_case=lower_case)))
        kept.append(question)
    if method.weighting != "none":
        notes.append(f"Prompts are weighted by '{method.weighting}' on the scored records, without their labels.")
    return Scored(
        tuple(kept), tuple(cosines), values, scope.truth.take(found), scope.cohort.subset(found), tuple(notes)
    )


def _predictions(scored: Scored, plan: Protocol, temperature: float) -> Predictions:
    method = plan.method
    assert isinstance(method, ZeroShot)
    table = scored.cohort.table
    wanted = [c for c in dict.fromkeys((*CARRIED, *plan.statistics.subgroup_columns)) if c in table.columns]
    columns = [c for c in wanted if c not in ("patient_id", "site")]
    base = table[["record_id", "patient_id", "site", *columns]]
    parts = [
        zero_shot_predictions(
            cosines,
            question.prompts.labels,
            scored.truth,
            base,
            temperature=temperature,
            multiclass_score=method.multiclass_score,
            variant=variant,
        ).table
        for variant, question, cosines in scored.variants()
    ]
    truth = scored.truth
    return Predictions(pd.concat(parts, ignore_index=True), truth.task, tuple(truth.classes), truth.name)


def _named(method: ZeroShot, asked: Questions) -> ZeroShot:
    """The method as it ran: its strategy, and files by name (where they lay is no part of a result)."""
    strategy = asked.asked[0].strategy
    named: dict[str, Any] = {"strategy": strategy}
    for key in ("prompt_file", "knowledge"):
        value = getattr(method, key)
        named[key] = None if value is None else Path(value).name
    return method.model_copy(update=named)
