"""What every evaluation settles before its work: the target's columns, the labelled records, the coded checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.schemes import folds_planned
from medfm.evaluation.target import labelled

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.cohorts.findings import Finding


def target_names(cohort: Cohort, target: str | Sequence[str] | None) -> str | list[str]:
    """The label column, or the 0/1 columns of a multilabel target; the cohort's own when `target` is ``None``.

    Raises:
        ConfigError: Nobody says what to predict.
    """
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


def only_labelled(cohort: Cohort, target: str | Sequence[str], drop_unlabelled: bool) -> tuple[Cohort, list[str]]:
    """The cohort, with `drop_unlabelled` without its unlabelled records, and a note where some are left out."""
    if not drop_unlabelled:
        return cohort, []
    kept = labelled(cohort, target)
    lost = len(cohort) - len(kept)
    return kept, [f"{lost} records without a label are left out."] if lost else []


def check_cohort(
    cohort: Cohort,
    target: str | list[str],
    task: str,
    plan: Protocol,
    embeddings: Embeddings,
    allowed: Sequence[str],
) -> tuple[Finding, ...]:
    """The quick checks, and copies by content, which the vectors show; an error that was not allowed stops here.

    Raises:
        ChecksFailedError: A check failed whose code is not in `allowed`.
    """
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
        training_data=seen_in_training(embeddings),
        folds=folds_planned(plan.scheme, _inner_folds(plan), cohort.table["split"]),
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


def seen_in_training(embeddings: Embeddings) -> tuple[str, ...]:
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


def _inner_folds(plan: Protocol) -> int | None:
    selection = getattr(plan.method, "selection", None)
    return int(selection.folds) if selection is not None and getattr(selection, "rule", "") == "inner_cv" else None
