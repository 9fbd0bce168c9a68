"""Survival on a cohort: embeddings and follow-up in, a result with its report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.protocol import Protocol, other_method, protocol_of
from medfm.evaluation.survival_config import Survival
from medfm.workflows.before_evaluation import check_cohort
from medfm.workflows.result_parts import batch_effect_of, provenance_of, resolved_settings
from medfm.workflows.table_run import EvaluationRun, embed_with, need_one_source, refuse_existing

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.reporting.result import Result

DEFAULT = "conversion-survival@1"


def survival(
    embeddings: Embeddings,
    cohort: Cohort,
    time: str = "time",
    event: str = "event",
    protocol: str | Protocol = DEFAULT,
    *,
    overrides: Sequence[str] = (),
    allow: Sequence[str] = (),
    drop_unlabelled: bool = False,
    unit: str = "",
    name: str = "",
    progress: ProgressMaker | None = None,
) -> Result:
    """How well embeddings tell who has an event sooner.

    Args:
        embeddings: From :func:`medfm.embed` or a file.
        cohort: Records with follow-up, patients and splits.
        time: Column of the follow-up time, above 0.
        event: Column of the event: 0 censored, 1 event, 2 and above competing events.
        protocol: Id, YAML file or :class:`Protocol`.
        overrides: ``KEY=VALUE`` settings on top of the protocol.
        allow: Codes of checks that may fail.
        drop_unlabelled: Leave out records without a time or event instead of stopping.
        unit: What times are in, such as ``"months"``, for the report.
        name: What people call the result.
        progress: Makes the progress displays.

    Raises:
        ChecksFailedError: A check failed whose code is not in `allow`.
        CohortError: There is no such column.
        ConfigError: The protocol is of another method.
        EvaluationError: Times or events are missing or impossible, or too few have the event.
    """
    from medfm.evaluation.evaluate import embedded_records
    from medfm.evaluation.survival import GROUP_NAMES, run_survival
    from medfm.evaluation.survival_data import survival_data
    from medfm.evaluation.survival_groups import group_figures
    from medfm.evaluation.survival_summary import absolute_figures, summarise_survival
    from medfm.reporting.result import Result
    from medfm.workflows.survival_participants import survival_participants

    plan = plan_of(protocol, overrides)
    method = plan.method
    assert isinstance(method, Survival)
    for column in (time, event):
        cohort.column(column)
    findings = check_cohort(cohort, event, "survival", plan, embeddings, allow)
    embedded, values, lost = embedded_records(embeddings, cohort)
    data = survival_data(values, embedded, time, event, method, drop_unlabelled=drop_unlabelled)
    with (progress or Silent)("fitting", None, "folds") as shown:
        run = run_survival(data, plan, target=event, progress=shown)
    summary = summarise_survival(
        run.predictions,
        plan.statistics,
        plan.metrics or run.metrics,
        patients_known=cohort.patients_known,
        said=[*lost, *run.notes],
    )
    figures = group_figures(run.predictions.table, GROUP_NAMES[method.groups], level=plan.statistics.level)
    absolute = absolute_figures(run.predictions, plan.statistics, run.scope, patients_known=cohort.patients_known)
    return Result(
        kind="survival",
        protocol=plan,
        summary=summary,
        predictions=run.predictions,
        provenance=provenance_of(embeddings, cohort, plan),
        findings=findings,
        config={
            "time": time,
            "event": event,
            "unit": unit,
            "drop_unlabelled": drop_unlabelled,
            "allow": sorted(allow),
            **resolved_settings(embeddings, cohort, plan),
        },
        batch_effect=batch_effect_of(embeddings, cohort, plan),
        extras={
            "chosen": list(run.chosen),
            "survival": {**figures, "unit": unit, "tau": run.tau, "codes": list(data.codes), "absolute": absolute},
            **survival_participants(cohort, embedded, time, event, plan, data.codes),
        },
        name=name,
    )


def plan_of(protocol: str | Protocol = DEFAULT, overrides: Sequence[str] = ()) -> Protocol:
    """The protocol of a survival analysis.

    Raises:
        UnknownNameError, ConfigError: There is none, it is of another method, or a setting is wrong.
    """
    plan = protocol_of(protocol, overrides)
    if not isinstance(plan.method, Survival):
        raise other_method(plan, "survival", expected=DEFAULT)
    return plan


def survival_table(
    table: str | Path,
    *,
    time: str = "time",
    event: str = "event",
    encoder: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    preprocessing: str | None = None,
    embeddings: str | Path | None = None,
    cohort: Mapping[str, Any] | None = None,
    embed_settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: ProgressMaker | None = None,
    **settings: Any,
) -> EvaluationRun:
    """Load a cohort, embed it (cached) or read its embeddings, evaluate, and save the result.

    Args:
        table: The cohort's table.
        time: Column of the follow-up time.
        event: Column of the event.
        encoder: Encoder id; or give `embeddings`.
        weights: Checkpoint file, ``"random"``, or ``None`` for the card's own.
        device: ``"auto"`` or a torch device.
        preprocessing: Another preprocessing of the card.
        embeddings: File that ``medfm embed --out`` wrote.
        cohort: Arguments of :func:`medfm.load_cohort`.
        embed_settings: Settings of the embedding run.
        out: Result folder to write.
        overwrite: Replace an earlier result folder.
        progress: Makes the progress displays.
        settings: As of :func:`survival`.

    Raises:
        ConfigError: Neither or both of `encoder` and `embeddings` are given.
        StoreError: The result folder exists already, or cannot be written.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.embeddings.export import load_embeddings
    from medfm.evaluation.survival_data import survival_data

    need_one_source(encoder, embeddings)
    refuse_existing(out, overwrite)
    records = load_cohort(table, **dict(cohort or {}))
    # What can be wrong with the request comes out before the embedding, not after it.
    plan = plan_of(settings.pop("protocol", DEFAULT), settings.pop("overrides", ()))
    assert isinstance(plan.method, Survival)
    dropped = bool(settings.get("drop_unlabelled"))
    survival_data(np.zeros((len(records), 1)), records, time, event, plan.method, drop_unlabelled=dropped)
    if embeddings is not None:
        vectors = load_embeddings(embeddings)
    else:
        from medfm.encoders.load import load_encoder

        assert encoder is not None
        loaded = load_encoder(encoder, weights=weights, device=device, variant=preprocessing)
        vectors = embed_with(loaded, records, embed_settings, progress)
    result = survival(vectors, records, time, event, plan, progress=progress, **settings)
    folder = None if out is None else result.save(out, overwrite=overwrite)
    return EvaluationRun(result, folder, len(vectors.failures))
