"""Evaluate embeddings on labels: checks, probe, statistics, and a result with its provenance."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medfm.core.environment import hardware, software
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.core.files import write_text
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import Evaluation, evaluate
from medfm.evaluation.grades import headline_with_kappa, order_notes
from medfm.evaluation.gradient_probe import epoch_notes
from medfm.evaluation.paper import paper_average
from medfm.evaluation.predictions import MAIN, TaskKind
from medfm.evaluation.protocol import Protocol, load_protocol
from medfm.evaluation.schemes import folds_planned
from medfm.evaluation.target import labelled, make_target

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.cohorts.findings import Finding
    from medfm.reporting.result import Result

MapMethod = Literal["umap", "pca", "none"]

_MOST_MAPPED = 4000


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
    from medfm.evaluation.summarise import summarise
    from medfm.reporting.result import Result
    from medfm.workflows.baseline import with_baseline
    from medfm.workflows.participants import probe_participants
    from medfm.workflows.probe_direction import direction_extras

    plan = _protocol(protocol, overrides)
    chosen_target, asked = _target_names(cohort, target), cohort
    notes = []
    if drop_unlabelled:
        kept = labelled(cohort, chosen_target)
        if len(kept) < len(cohort):
            notes.append(f"{len(cohort) - len(kept)} records without a label are left out.")
        cohort = kept
    truth = make_target(cohort, chosen_target, task, positive=positive)
    findings = _checked(cohort, chosen_target, truth.task, plan, embeddings, allow)
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
    with (progress or Silent)("resampling", plan.statistics.resamples, "resamples") as resampling:
        summary = summarise(
            done.predictions,
            plan.statistics,
            metrics=headline_with_kappa(plan.metrics, truth),
            patients_known=cohort.patients_known,
            progress=resampling,
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
        provenance=_provenance(embeddings, cohort, plan),
        findings=findings,
        config={
            "target": chosen_target if isinstance(chosen_target, str) else list(chosen_target),
            "task": truth.task,
            "positive": truth.classes[1] if truth.task == "binary" else None,
            "drop_unlabelled": drop_unlabelled,
            "allow": sorted(allow),
            **_resolved(embeddings, cohort, plan),
        },
        batch_effect=_batch_effect(embeddings, cohort, plan),
        embedding_map=_map(embeddings, cohort, done, plan, embedding_map),
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


def _refuse_existing(out: Path, overwrite: bool) -> None:
    """Say so before the work; saving checks it again."""
    if out.exists() and not overwrite:
        from medfm.core.errors import StoreError

        raise StoreError(
            "The output folder exists already.",
            where=str(out),
            fix="choose another name, or pass --overwrite to replace it",
        )


def _of_kind(
    kind: str,
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None,
    protocol: str | Protocol,
    settings: dict[str, Any],
) -> Result:
    plan = _protocol(protocol, settings.pop("overrides", ()))
    if plan.method.kind != kind:
        raise ConfigError(
            f"The protocol '{plan.id}' is of the method '{plan.method.kind}', not '{kind}'.",
            fix=f"call medfm.{plan.method.kind}, or choose another protocol",
        )
    return probe(embeddings, cohort, target, plan, **settings)


def _protocol(protocol: str | Protocol, overrides: Sequence[str]) -> Protocol:
    if isinstance(protocol, str):
        return load_protocol(protocol, overrides=tuple(overrides))
    if overrides:
        from medfm.core.config import build

        return build(Protocol, protocol.to_dict(), where=protocol.id, overrides=overrides)
    return protocol


def _target_names(cohort: Cohort, target: str | Sequence[str] | None) -> str | list[str]:
    from medfm.cohorts.checks.run import resolve_target

    found = resolve_target(cohort, target)
    if found is None:
        raise ConfigError(
            "It is not said what to predict.",
            where=f"cohort '{cohort.name}'",
            expected="a column 'label', or a target in the YAML beside the table",
            fix="name the column with --target (target=)",
        )
    return found


def _checked(
    cohort: Cohort,
    target: str | list[str],
    task: str,
    plan: Protocol,
    embeddings: Embeddings,
    allowed: Sequence[str],
) -> tuple[Finding, ...]:
    """The quick checks, and copies by content, which the vectors show; an error that was not allowed stops here."""
    from medfm.cohorts.checks.run import run_checks
    from medfm.cohorts.findings import allow, stop_on_errors
    from medfm.embeddings.copies import content_keys
    from medfm.workflows.glanced import glanced

    classes: str | list[str] | Literal[False] = False  # labels of other tasks have no classes to check
    if task == "multilabel" or (isinstance(target, str) and task in ("binary", "multiclass")):
        classes = [target] if isinstance(target, str) and task == "multilabel" else target
    findings = run_checks(
        cohort,
        target=classes,
        deep=False,
        training_data=_training_data(embeddings),
        folds=folds_planned(plan.scheme, _inner(plan), cohort.table["split"]),
        content_keys=content_keys(embeddings, cohort),
    )
    # The vectors are at hand, so files that lie elsewhere are worth a word and no more.
    # Copies that contradict each other (L003) are a matter of the labels, not a leak: published sets have them.
    findings = tuple(
        f.model_copy(update={"severity": "warning"}) if f.code in ("F001", "L003") and f.severity == "error" else f
        for f in findings
    )
    findings += glanced(cohort, classes if isinstance(classes, str) else None, embeddings)
    marked = allow(findings, list(allowed))
    stop_on_errors(marked)
    return marked


def _inner(plan: Protocol) -> int | None:
    selection = getattr(plan.method, "selection", None)
    return int(selection.folds) if selection is not None and getattr(selection, "rule", "") == "inner_cv" else None


def _training_data(embeddings: Embeddings) -> tuple[str, ...]:
    """Names of the sets the encoder has seen, where its card is known and its weights are trained."""
    from medfm.encoders.registry import get_card

    about = embeddings.provenance
    if not about.get("encoder") or about.get("weights_kind") == "random":
        return ()
    if about.get("training_data"):  # of an encoder trained here, whose card no registry has
        return tuple(map(str, about["training_data"]))
    try:
        card = get_card(str(about["encoder"]))
    except UnknownNameError:
        return ()  # embeddings of an encoder this installation has no card of
    # What a card names as held out was kept from training: no overlap, only a line on the card.
    return tuple(part.named() for part in card.spec.training_data if part.status != "held out")


def _resolved(embeddings: Embeddings, cohort: Cohort, plan: Protocol) -> dict[str, Any]:
    """The rest of what decides the figures, so that a run can be repeated from its config.yaml."""
    about = embeddings.provenance
    return {
        "encoder": {key: about.get(key) for key in ("encoder", "weights_kind", "fingerprint", "precision")},
        "cohort": {"name": cohort.name, "modality": cohort.modality, "digest": cohort.digest()},
        "seeds": {"folds": plan.scheme.seed, "resampling": plan.statistics.seed},
        "protocol": plan.to_dict(),
    }


def _provenance(embeddings: Embeddings, cohort: Cohort, plan: Protocol) -> dict[str, Any]:
    return {
        **embeddings.provenance,
        "card": embeddings.provenance.get("encoder"),
        "cohort": cohort.name,
        "cohort_digest": cohort.digest(),
        "cohort_licence": cohort.info.get("licence"),
        "modality": cohort.modality,
        "synthetic": cohort.synthetic,
        "seeds": {"folds": plan.scheme.seed, "resampling": plan.statistics.seed},
        "software": software(),
        "hardware": hardware(),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "failures": [{"record_id": f.record_id, "reason": f.reason} for f in embeddings.failures],
    }


def _batch_effect(embeddings: Embeddings, cohort: Cohort, plan: Protocol) -> Any:
    """How strongly the site shows in the embedding; ``None`` without two sites."""
    from medfm.evaluation.shift import batch_effect

    rows = embeddings.rows(cohort.record_ids)
    table = cohort.table[rows >= 0]
    if table["site"].dropna().nunique() < 2:
        return None
    patients = table["patient_id"].astype(str).to_numpy() if cohort.patients_known else None
    sites = table["site"].to_numpy(dtype=object)
    return batch_effect(embeddings.values[rows[rows >= 0]], sites, patients, plan=plan.statistics)


def _map(embeddings: Embeddings, cohort: Cohort, done: Evaluation, plan: Protocol, method: MapMethod) -> Any:
    """The tested records in two dimensions (patients for bags, by their mean embedding)."""
    from medfm.reporting.embedding_map import embedding_map

    if method == "none":
        return None
    table = done.predictions.of_variant(MAIN).table
    tested = list(dict.fromkeys(table["record_id"].astype(str)))
    if plan.method.kind == "mil":
        owners = cohort.table["patient_id"].astype(str).to_numpy()
        rows = embeddings.rows(cohort.record_ids)
        values = np.stack([embeddings.values[rows[(owners == p) & (rows >= 0)]].mean(axis=0) for p in tested])
        part = Embeddings(values, tuple(tested))
    else:
        part = Embeddings(embeddings.values[embeddings.rows(tested)], tuple(tested))
    if len(part) > _MOST_MAPPED:
        rows = np.sort(np.random.default_rng(plan.statistics.seed).permutation(len(part))[:_MOST_MAPPED])
        part = Embeddings(part.values[rows], tuple(part.record_ids[i] for i in rows))
    return embedding_map(part, method, seed=plan.statistics.seed) if len(part) >= 2 else None


def _write_attention(done: Evaluation, path: str | Path) -> None:
    if done.attention is None:
        raise ConfigError(
            "This method has no attention to write.",
            where=str(path),
            expected="a protocol with attention pooling, such as mil@1",
            fix="leave out --attention",
        )
    write_text(path, done.attention.to_csv(index=False))
