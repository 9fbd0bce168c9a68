"""Few-shot adaptation: k labelled records per class, again and again, and how far each method gets.

Steps: target -> text vectors where the method needs them -> embeddings (cached) -> tokens where the
method needs them (cached) -> shots drawn by patient -> method and plain linear probe fitted ->
statistics, learning curve, paired comparison.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medfm.core.config import build
from medfm.core.errors import ConfigError, EvaluationError
from medfm.core.files import make_folder
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.run import few_shot_method
from medfm.evaluation.few_shot import evaluate_few_shot
from medfm.evaluation.grades import headline_with_kappa, order_notes
from medfm.evaluation.paper import paper_average
from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.protocol import Protocol, protocol_of
from medfm.evaluation.protocol_adapters import TEXT_METHODS, TOKEN_METHODS, FewShot
from medfm.evaluation.target import make_target
from medfm.knowledge.prompt_file import check_prompt_file
from medfm.workflows.before_evaluation import check_cohort, only_labelled, target_names
from medfm.workflows.few_shot_extras import few_shot_extras
from medfm.workflows.few_shot_texts import ClassTexts, class_texts
from medfm.workflows.participants import few_shot_participants
from medfm.workflows.result_parts import (
    MapMethod,
    map_of,
    provenance_of,
    resolved_settings,
    summarised,
    target_settings,
)
from medfm.workflows.table_run import EvaluationRun, load_with_tower, refuse_existing, save_explained
from medfm.workflows.zero_shot_target import without_classes
from medfm.workflows.zero_shot_texts import embed_beside_tower, encoder_for

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.reporting.result import Result


def few_shot(
    encoder: Any,
    cohort: Cohort,
    target: str | None = None,
    protocol: str | Protocol = "few-shot-lp@1",
    *,
    shots: Sequence[int] = (),
    draws: int | None = None,
    text_encoder: Any = None,
    strategy: str | None = None,
    knowledge: str | Path | None = None,
    label_set: str | None = None,
    prompt_file: str | Path | None = None,
    map_class: Mapping[str, str] | None = None,
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    allow: Sequence[str] = (),
    drop_unlabelled: bool = False,
    leave_out: Sequence[str] = (),
    overrides: Sequence[str] = (),
    embedding_map: MapMethod = "pca",
    device: str | None = None,
    cache: str | Path | None = None,
    embed_settings: Mapping[str, Any] | None = None,
    name: str = "",
    progress: ProgressMaker | None = None,
) -> Result:
    """Fit a few-shot method on repeated draws of k records per class.

    Args:
        encoder: A loaded encoder or its id, or :class:`medfm.Embeddings` (then give `text_encoder`
            for methods on texts; methods on tokens need the encoder itself).
        cohort: Records with labels, patients and a split (without one, folds by patient).
        target: A single column of classes; the cohort's own by default.
        protocol: Id, file or :class:`Protocol` with a few-shot method.
        shots, draws: Instead of the protocol's.
        text_encoder: Encoder whose text tower shares a space with given embeddings.
        strategy, knowledge, label_set, prompt_file, map_class: As of :func:`medfm.zero_shot`.
        leave_out: Classes whose records are neither shots nor tested.
        task, positive, allow, drop_unlabelled, overrides, embedding_map, name, progress: As of
            :func:`medfm.workflows.probe.probe`.
        device: Torch device of the fits.
        cache: Cache folder of embeddings, tokens and text vectors.
        embed_settings: Settings of the embedding run (``medfm.workflows.embed.EmbedConfig``).

    Returns:
        A result of kind ``few_shot``; ``extras["few_shot"]`` holds the curve and the comparison.

    Raises:
        ConfigError, EvaluationError, CardError: A setting is wrong, the data do not allow it, or
            the method needs texts or tokens that the encoder does not have.
        ChecksFailedError: A check failed whose code is not in `allow`.
    """
    from medfm.reporting.result import Result

    plan = few_shot_plan(
        protocol, overrides, shots=shots, draws=draws,
        prompts={"strategy": strategy, "knowledge": knowledge, "label_set": label_set, "prompt_file": prompt_file},
    )  # fmt: skip
    method = few_shot_method(plan)
    column, given = target_names(cohort, target), cohort
    if not isinstance(column, str):
        raise EvaluationError(
            "Shots per class need a single column of classes.",
            where=f"target {', '.join(column)}",
            fix="name one column with --target",
        )
    cohort.column(column)
    cohort, notes = only_labelled(cohort, column, drop_unlabelled)
    if leave_out:
        cohort, said = without_classes(cohort, column, leave_out)
        notes.append(said)
    truth = make_target(cohort, column, task, positive=positive)
    encoder, text_encoder = encoder_for(encoder, cohort), encoder_for(text_encoder)
    if isinstance(method, TOKEN_METHODS) and not isinstance(encoder, Embeddings):
        from medfm.embeddings.token_view import TokenView

        TokenView(encoder)  # an encoder without tokens is refused before any record is read
    texts: ClassTexts | None = None
    if isinstance(method, TEXT_METHODS):
        tower = text_encoder if isinstance(encoder, Embeddings) else encoder
        texts = class_texts(method.prompts, encoder, tower, cohort, truth, map_class, cache, progress)
        notes += texts.notes
    vectors = _vectors(encoder, text_encoder, cohort, cache, embed_settings, progress)
    rows = vectors.rows(cohort.record_ids)
    if not (rows >= 0).any():
        raise EvaluationError(
            "No record of the cohort has an embedding.",
            where=f"cohort '{cohort.name}', {len(cohort)} records",
            fix="embed this cohort, or see which records failed (medfm embed)",
        )
    usable = rows >= 0
    if not usable.all():
        notes.append(f"{int((~usable).sum())} of {len(cohort)} records have no embedding and are left out.")
        cohort = cohort.subset(usable)
    with _tokens(encoder, cohort, method, cache, embed_settings, progress) as (tokens, token_ids):
        if token_ids is not None and token_ids != tuple(cohort.record_ids):
            raise EvaluationError(
                f"{len(cohort) - len(token_ids)} records have an embedding and no tokens.",
                fix="see which records failed (medfm embed), and leave them out (--where)",
            )
        truth = make_target(cohort, column, task, positive=positive)
        findings = check_cohort(cohort, column, truth.task, plan, vectors, allow)
        inputs = AdapterInputs(
            vectors.values[rows[usable]],
            None if texts is None else texts.vectors,
            None if texts is None else texts.scale,
            tokens,
        )
        # How many there are is known once the shots are drawn.
        with (progress or Silent)("fitting", None, "training sets") as shown:
            done, levels = evaluate_few_shot(inputs, cohort.table, truth, plan, device=device, progress=shown)
    summary = summarised(
        done.predictions,
        plan,
        headline_with_kappa(plan.metrics, truth),
        patients_known=cohort.patients_known,
        progress=progress,
    )
    summary = summary.model_copy(
        update={"notes": (*summary.notes, *order_notes(truth, plan.metrics), *notes, *done.notes)}
    )
    extras: dict[str, Any] = {
        **few_shot_participants(given, len(rows), cohort, truth, plan),
        "chosen": list(done.chosen),
        "few_shot": few_shot_extras(done.predictions, summary, plan, levels, None if texts is None else texts.about),
    }
    averages = paper_average(summary, plan)
    if averages:
        extras["paper_average"] = averages
    plan = _named(plan)
    return Result(
        kind="few_shot",
        protocol=plan,
        summary=summary,
        predictions=done.predictions,
        provenance={
            **provenance_of(vectors, cohort, plan),
            **({} if texts is None else texts.provenance),
            "seeds": {
                "shots": (plan.few_shot or FewShot()).seed,
                "folds": plan.scheme.seed,
                "resampling": plan.statistics.seed,
            },
        },
        findings=findings,
        config={
            **target_settings(column, truth),
            "map_class": dict(map_class or {}),
            "drop_unlabelled": drop_unlabelled,
            "allow": sorted(allow),
            **resolved_settings(vectors, cohort, plan),
        },
        embedding_map=map_of(vectors, cohort, done, plan, embedding_map),
        extras=extras,
        name=name,
    )


def few_shot_plan(
    protocol: str | Protocol,
    overrides: Sequence[str] = (),
    *,
    shots: Sequence[int] = (),
    draws: int | None = None,
    prompts: Mapping[str, Any] | None = None,
) -> Protocol:
    """The protocol with ``--set`` texts and the single settings on top, its shots written out.

    Raises:
        ConfigError: Prompts are given to a method that asks no texts, or a setting is wrong.
        EvaluationError: The protocol's method is not fitted on shots.
        UnknownNameError: There is no such protocol.
    """
    bare = protocol_of(protocol)
    few_shot_method(bare)
    values = bare.to_dict()
    few = dict((bare.few_shot or FewShot()).to_dict())
    if shots:
        few["shots"] = list(shots)
    if draws is not None:
        few["draws"] = draws
    values["few_shot"] = few
    given = {key: str(value) for key, value in (prompts or {}).items() if value is not None}
    if given:
        if not isinstance(bare.method, TEXT_METHODS):
            raise ConfigError(
                f"The protocol '{bare.id}' asks no texts, so prompts change nothing.",
                fix="leave out --strategy, --knowledge, --label-set and --prompt-file",
            )
        if "prompt_file" in given:
            given.setdefault("strategy", "file@1")
        values["method"]["prompts"] = {**values["method"]["prompts"], **given}
    return build(Protocol, values, where=bare.id, overrides=tuple(overrides))


def few_shot_table(
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
    """Load a cohort and an encoder, evaluate, and save the result.

    Args:
        table: The cohort's table.
        encoder: Encoder id.
        weights: Checkpoint file, ``"random"``, or ``None`` for the card's own.
        preprocessing: Another preprocessing of the card.
        embeddings: File that ``medfm embed --out`` wrote with the same encoder; not for methods on tokens.
        cohort: Arguments of :func:`medfm.load_cohort`.
        device: ``"auto"`` or a torch device.
        out: Result folder to write.
        overwrite: Replace an earlier result folder.
        progress: Makes the progress displays.
        explanations: Whether the report shows where a transformer looked in the surest errors (pictures only).
        settings: As of :func:`few_shot`.
    """
    from medfm.workflows.explanations import NOT_KEPT

    refuse_existing(out, overwrite)
    if settings.get("prompt_file") is not None:
        check_prompt_file(settings["prompt_file"])
    records, source, loaded = load_with_tower(
        table,
        encoder,
        weights=weights,
        preprocessing=preprocessing,
        embeddings=embeddings,
        cohort=cohort,
        device=device,
    )
    result = few_shot(
        source,
        records,
        text_encoder=loaded,
        device=None if device == "auto" else device,
        progress=progress,
        **settings,
    )
    result, folder = save_explained(
        result, records, loaded, NOT_KEPT, out, overwrite=overwrite, explanations=explanations
    )
    return EvaluationRun(result, folder, len(result.provenance.get("failures") or []))


def _vectors(
    encoder: Any,
    text_encoder: Any,
    cohort: Cohort,
    cache: str | Path | None,
    settings: Mapping[str, Any] | None,
    progress: ProgressMaker | None,
) -> Embeddings:
    if isinstance(encoder, Embeddings) and text_encoder is None:
        return encoder
    tower = text_encoder if isinstance(encoder, Embeddings) else encoder
    return embed_beside_tower(encoder, tower, cohort, cache, settings, progress)


@contextmanager
def _tokens(
    encoder: Any,
    cohort: Cohort,
    method: object,
    cache: str | Path | None,
    settings: Mapping[str, Any] | None,
    progress: ProgressMaker | None,
) -> Iterator[tuple[np.ndarray | None, tuple[str, ...] | None]]:
    """Tokens of the records that have them, memory-mapped for as long as the block lasts, and their ids."""
    if not isinstance(method, TOKEN_METHODS):
        yield None, None
        return
    if isinstance(encoder, Embeddings):
        raise ConfigError(
            "This method needs patch tokens; a file of embeddings holds none.",
            fix="give the encoder without --embeddings; its tokens are computed and cached",
        )
    from medfm.embeddings.store import cache_root
    from medfm.embeddings.token_view import TokenView, map_tokens
    from medfm.workflows.embed import embed

    view = TokenView(encoder)
    given = {k: v for k, v in dict(settings or {}).items() if k != "flush_every"}
    if cache is not None:
        given["cache"] = str(cache)
    stored = embed(view, cohort, collect=False, progress=progress, flush_every=view.flush_every, **given)
    root = make_folder(cache_root(given.get("cache")))
    with tempfile.TemporaryDirectory(dir=root, prefix=".tokens-") as folder:
        yield map_tokens(stored, view.shape, Path(folder) / "tokens.npy"), stored.record_ids


def _named(plan: Protocol) -> Protocol:
    """Files by name: where they lay is no part of a result."""
    method = plan.method
    if not isinstance(method, TEXT_METHODS):
        return plan
    prompts = method.prompts
    names = {k: Path(v).name for k in ("prompt_file", "knowledge") if (v := getattr(prompts, k)) is not None}
    return plan.model_copy(update={"method": method.model_copy(update={"prompts": prompts.model_copy(update=names)})})
