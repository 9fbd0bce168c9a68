"""Evaluate embeddings on labels: checks, probe, statistics, and a result with its provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medfm.core.errors import ConfigError
from medfm.core.files import write_text
from medfm.core.progress import ProgressMaker
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import Evaluation, evaluate
from medfm.evaluation.grades import headline_with_kappa, order_notes
from medfm.evaluation.gradient_probe import epoch_notes
from medfm.evaluation.paper import paper_average
from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.protocol import Protocol, other_method, protocol_of
from medfm.evaluation.target import make_target
from medfm.workflows.before_evaluation import check_cohort, only_labelled, target_names
from medfm.workflows.result_parts import (
    MapMethod,
    batch_effect_of,
    map_of,
    provenance_of,
    resolved_settings,
    summarised,
    target_settings,
)

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.reporting.result import Result


def probe(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol = "linear-probe@1",
    *,
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    allow: Sequence[str] = (),
    drop_unlabelled: bool = False,
    overrides: Sequence[str] = (),
    embedding_map: MapMethod = "pca",
    device: str | None = None,
    name: str = "",
    progress: ProgressMaker | None = None,
    attention_out: str | Path | None = None,
    baseline: Embeddings | str | None = None,
) -> Result:
    """Evaluate `embeddings` on a target of `cohort` under `protocol`.

    Args:
        embeddings: From :func:`medfm.embed` or a file.
        cohort: Records with labels, patients and splits.
        target: Label column, a list of 0/1 columns for multilabel, or the name of the cohort's label
            set for its columns; the cohort's own target (its YAML's, else ``label``) when ``None``.
        protocol: Id of a shipped protocol, a YAML file, or a :class:`Protocol`.
        task: Kind of task, guessed from the column by default.
        positive: Positive class of a binary task; the second in order by default.
        allow: Codes of checks that may fail; they are stamped on the result.
        drop_unlabelled: Leave out records without a label instead of stopping.
        overrides: ``KEY=VALUE`` settings on top of the protocol, such as ``"fractions=[1, 0.1]"``.
        embedding_map: How the embedding is drawn in two dimensions.
        device: Torch device of the solvers.
        name: What people call the result.
        progress: Makes the progress displays from a title and a total.
        attention_out: For attention pooling: CSV file for the attention to every tested cell.
        baseline: Embeddings of the same network with ``weights="random"``, which are then evaluated beside
            (see ``medfm.workflows.baseline``), or why there are none.

    Raises:
        ChecksFailedError: A check failed whose code is not in `allow`.
        CohortError: There is no such column.
        EvaluationError: The data do not allow this evaluation.
        UnknownNameError, ConfigError: The protocol does not exist or a setting is wrong.
    """
    return probed(
        embeddings,
        cohort,
        target,
        protocol,
        task=task,
        positive=positive,
        allow=allow,
        drop_unlabelled=drop_unlabelled,
        overrides=overrides,
        embedding_map=embedding_map,
        device=device,
        name=name,
        progress=progress,
        attention_out=attention_out,
        baseline=baseline,
    )[0]


def probed(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol = "linear-probe@1",
    *,
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    allow: Sequence[str] = (),
    drop_unlabelled: bool = False,
    overrides: Sequence[str] = (),
    embedding_map: MapMethod = "pca",
    device: str | None = None,
    name: str = "",
    progress: ProgressMaker | None = None,
    attention_out: str | Path | None = None,
    baseline: Embeddings | str | None = None,
    features: Embeddings | None = None,
) -> tuple[Result, Evaluation]:
    """As :func:`probe`, with the evaluation behind the result, which holds the weights.

    Args:
        features: What the method is trained on in place of `embeddings`, for the same records.
    """
    from medfm.reporting.result import Result
    from medfm.workflows.baseline import with_baseline
    from medfm.workflows.participants import probe_participants
    from medfm.workflows.probe_direction import direction_extras

    plan = protocol_of(protocol, overrides)
    chosen_target, asked = target_names(cohort, target), cohort
    cohort, notes = only_labelled(cohort, chosen_target, drop_unlabelled)
    truth = make_target(cohort, chosen_target, task, positive=positive)
    findings = check_cohort(cohort, chosen_target, truth.task, plan, embeddings, allow)
    done = evaluate(
        embeddings if features is None else features,
        cohort,
        chosen_target,
        plan,
        task=truth.task,
        positive=positive,
        device=device,
        progress=progress,
    )
    if attention_out is not None:
        _write_attention(done, attention_out)
    summary = summarised(
        done.predictions,
        plan,
        headline_with_kappa(plan.metrics, truth),
        patients_known=cohort.patients_known,
        progress=progress,
    )
    said = (*epoch_notes(summary, plan.method), *order_notes(truth, plan.metrics), *notes, *done.notes)
    summary = summary.model_copy(update={"notes": (*summary.notes, *said)})
    extras: dict[str, Any] = {"chosen": list(done.chosen), **direction_extras(done, truth, embeddings, cohort)}
    averages = paper_average(summary, plan)
    if averages:
        extras["paper_average"] = averages
    if done.attention is not None and attention_out is not None:
        extras["attention_file"] = Path(attention_out).name
    made = Result(
        kind=plan.method.kind,
        protocol=plan,
        summary=summary,
        predictions=done.predictions,
        provenance=provenance_of(embeddings, cohort, plan),
        findings=findings,
        config={
            **target_settings(chosen_target, truth),
            "drop_unlabelled": drop_unlabelled,
            "allow": sorted(allow),
            **resolved_settings(embeddings, cohort, plan),
        },
        batch_effect=batch_effect_of(embeddings, cohort, plan),
        embedding_map=map_of(embeddings, cohort, done, plan, embedding_map),
        extras=extras | probe_participants(asked, cohort, truth, embeddings, plan),
        name=name,
    )
    return with_baseline(made, cohort, baseline, device=device, progress=progress), done


def linear_probe(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol = "linear-probe@1",
    **settings: Any,
) -> Result:
    """A linear probe; `settings` as of :func:`probe`.

    Raises:
        ConfigError: The protocol is of another method.
    """
    return _of_kind("linear_probe", embeddings, cohort, target, protocol, settings)


def knn(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol = "knn@1",
    **settings: Any,
) -> Result:
    """k nearest neighbours; `settings` as of :func:`probe`.

    Raises:
        ConfigError: The protocol is of another method.
    """
    return _of_kind("knn", embeddings, cohort, target, protocol, settings)


def mil(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol = "mil@1",
    **settings: Any,
) -> Result:
    """One prediction per patient from the bag of its cells; `settings` as of :func:`probe`.

    Raises:
        ConfigError: The protocol is of another method.
    """
    return _of_kind("mil", embeddings, cohort, target, protocol, settings)


def _of_kind(
    kind: str,
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None,
    protocol: str | Protocol,
    settings: dict[str, Any],
) -> Result:
    plan = protocol_of(protocol, settings.pop("overrides", ()))
    if plan.method.kind != kind:
        raise other_method(plan, kind, fix=f"call medfm.{plan.method.kind}, or choose another protocol")
    return probe(embeddings, cohort, target, plan, **settings)


def _write_attention(done: Evaluation, path: str | Path) -> None:
    if done.attention is None:
        raise ConfigError(
            "This method has no attention to write.",
            where=str(path),
            expected="a protocol with attention pooling, such as mil@1",
            fix="leave out --attention",
        )
    write_text(path, done.attention.to_csv(index=False))
