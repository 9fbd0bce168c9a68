"""Which records a zero-shot run scores, on which labels, under which settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from medfm.cohorts.checks.run import default_target
from medfm.core.config import build
from medfm.core.errors import ConfigError, EvaluationError
from medfm.core.names import did_you_mean
from medfm.evaluation.grades import KAPPA
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.protocol import Protocol, ZeroShot, other_method, protocol_of
from medfm.evaluation.target import Target, labelled, make_target
from medfm.knowledge.load import list_knowledge, load_knowledge, own_label_set

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort

_HEADLINE: dict[TaskKind, tuple[str, ...]] = {
    "multilabel": ("auroc_macro", "map"),
    "multiclass": ("balanced_accuracy", "auroc_ovr_macro", "average_precision_macro"),
    "binary": ("auroc", "average_precision", "balanced_accuracy"),
}
# What a protocol for several classes means where a data set has two.
_OF_TWO_CLASSES = {
    "auroc_macro": "auroc",
    "auroc_ovr_macro": "auroc",
    "map": "average_precision",
    "average_precision_macro": "average_precision",
    "quadratic_kappa": "kappa",
    "linear_kappa": "kappa",
}
# Scores are no probabilities: these say nothing of a zero-shot result.
_NEED_PROBABILITIES = ("brier", "log_loss", "ece", "mce")
_NEED_A_THRESHOLD = ("f1_micro", "f1_macro", "f1_samples", "hamming_loss", "subset_accuracy")


@dataclass(frozen=True)
class Scope:
    """What is scored.

    Attributes:
        cohort: The scored records.
        truth: Their labels.
        notes: What a reader must know of the choice.
    """

    cohort: Cohort
    truth: Target
    notes: tuple[str, ...]


def zero_shot_plan(
    protocol: str | Protocol,
    overrides: Sequence[str] = (),
    *,
    knowledge: str | Path | None = None,
    label_set: str | None = None,
    prompt_file: str | Path | None = None,
) -> Protocol:
    """The protocol with ``--set`` texts and the single settings on top.

    Raises:
        ConfigError: It is of another kind, or a setting is wrong.
        UnknownNameError: There is no such protocol.
    """
    plan = protocol_of(protocol, overrides)
    if not isinstance(plan.method, ZeroShot):
        raise other_method(
            plan,
            "zero_shot",
            expected="zero-shot@1, merl-zeroshot@1, or a YAML file with method.kind zero_shot",
            fix="medfm probe runs protocols that train",
        )
    given = {"knowledge": knowledge, "label_set": label_set, "prompt_file": prompt_file}
    method = {**plan.method.to_dict(), **{k: str(v) for k, v in given.items() if v is not None}}
    return build(Protocol, {**plan.to_dict(), "method": method}, where=plan.id)


def headline_metrics(
    plan: Protocol, task: TaskKind, classes: int | None = None, grades: str | None = None
) -> tuple[str, ...]:
    """The protocol's headline metrics, or those of the task; none that reads scores as probabilities.

    Of grades the task's have the quadratic kappa beside them.

    Raises:
        ConfigError: A metric means nothing here.
        UnknownNameError, EvaluationError: A metric does not exist, or not for this task.
    """
    # The macro AUROC of one label column has another name; a protocol for label columns means the same.
    same = {"auroc_macro": "auroc_ovr_macro", "map": "average_precision_macro"} if task == "multiclass" else {}
    same |= _OF_TWO_CLASSES if task == "binary" else {}
    # Of fewer than five classes all are among the first five; CLIP_benchmark leaves the figure out there.
    few = task == "binary" or (classes is not None and classes < 5)
    left = [name for name in plan.metrics if not (few and name == "top5_accuracy")]
    names = tuple(same.get(name, name) for name in left) or (*_HEADLINE[task], *([KAPPA] if grades else []))
    chosen = tuple(m.name for m in metrics_for(names, task))
    refused = [*_NEED_PROBABILITIES, *(_NEED_A_THRESHOLD if task == "multilabel" else ())]
    wrong = [name for name in chosen if name in refused]
    if wrong:
        raise ConfigError(
            f"The metric '{wrong[0]}' means nothing for zero-shot scores: a cosine is no probability and has no "
            "threshold.",
            where="metrics",
            expected=", ".join(_HEADLINE[task]),
        )
    return chosen


def scope_of(
    cohort: Cohort,
    target: str | Sequence[str] | None,
    method: ZeroShot,
    leave_out: Sequence[str] = (),
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    drop_unlabelled: bool = False,
) -> Scope:
    """The scored records and their labels.

    Raises:
        ConfigError: It is not said what to predict, or a class to leave out does not occur.
        CohortError: There is no such column.
        EvaluationError: No record is left, or the labels cannot be evaluated.
    """
    names: str | list[str] = target_names(cohort, target, method)
    for column in [names] if isinstance(names, str) else names:
        cohort.column(column)
    part, notes = _of_split(cohort, method.split)
    if leave_out:
        part, said = without_classes(part, names, leave_out)
        notes.append(said)
    if drop_unlabelled:
        kept = labelled(part, names)
        if len(kept) < len(part):
            notes.append(f"{len(part) - len(kept)} records without a label are left out.")
        part = kept
    if not len(part):
        raise EvaluationError("No record is left to score.", where=f"cohort '{cohort.name}'")
    if target is None:
        names, said_of = _askable(names, cohort, method)
        notes += said_of
    if isinstance(names, str):
        single = task in ("auto", "multilabel") and _is_flag(part.column(names))
        chosen: str | list[str] = [names] if single else names
    else:
        chosen = names
    if not isinstance(names, str) and target is None:
        chosen, missing = _two_sided(part, names)
        notes += missing
    truth = make_target(part, chosen, task, positive=positive, label_set=method.label_set)
    if truth.task == "regression":
        raise EvaluationError(
            f"'{truth.name}' holds measurements; a number cannot be predicted zero-shot.",
            expected="a column of classes, or 0/1 columns named after labels",
            fix="name another column with --target",
        )
    return Scope(part, truth, tuple(notes))


def target_names(cohort: Cohort, target: str | Sequence[str] | None, method: ZeroShot) -> str | list[str]:
    """The target column or columns: as given, the cohort's own list, those of its label set, its own column, or ``label``.

    Columns of a label set come before a single column of the cohort's YAML: their names are those of the knowledge,
    while nothing says what the words of a column mean.

    Raises:
        ConfigError: None of these exists.
    """
    # A published result may name its label columns by the label set in a word.
    if target is not None and (target != cohort.info.get("label_set") or target in cohort.table.columns):
        return target if isinstance(target, str) else list(target)
    own = cohort.info.get("target")
    if isinstance(own, (list, tuple)) and own:
        return [str(name) for name in own]
    labels = _labels_of(cohort, method)
    present = [label for label in labels if label in cohort.table.columns]
    if present:
        return present
    if isinstance(own, str) and own in cohort.table.columns:
        return own
    found = default_target(cohort) if not isinstance(own, (list, tuple)) else None
    if found is not None:
        return found
    raise ConfigError(
        "It is not said what to predict.",
        where=f"cohort '{cohort.name}'",
        expected="a column 'label', columns named after the labels of a label set, or a target in the YAML",
        fix="name columns with --target, or the label set with --label-set",
    )


def _labels_of(cohort: Cohort, method: ZeroShot) -> list[str]:
    label_set = method.label_set or cohort.info.get("label_set")
    domain = method.knowledge or cohort.modality
    if label_set is None or (method.knowledge is None and domain not in list_knowledge()):
        return []
    knowledge = load_knowledge(domain)
    own_label_set(knowledge, str(label_set))
    return list(knowledge.label_set(str(label_set)).labels)


def _askable(names: str | list[str], cohort: Cohort, method: ZeroShot) -> tuple[str | list[str], list[str]]:
    """The label columns without those that the label set says have no text of their own."""
    label_set = method.label_set or cohort.info.get("label_set")
    domain = method.knowledge or cohort.modality
    if isinstance(names, str) or label_set is None or (method.knowledge is None and domain not in list_knowledge()):
        return names, []
    unasked = load_knowledge(domain).label_set(str(label_set)).unasked
    gone = [name for name in names if name in unasked]
    kept = [name for name in names if name not in unasked]
    return kept, [f"'{name}' is not asked: {unasked[name]}." for name in gone]


def _of_split(cohort: Cohort, split: str) -> tuple[Cohort, list[str]]:
    column = cohort.table["split"]
    # Where all are scored, the split says nothing: nobody trains.
    whole = replace(cohort, table=cohort.table.assign(split=pd.Series([None] * len(cohort), dtype=object)))
    if split == "all":
        return whole, []
    if column.isna().all():
        return whole, [f"The cohort has no split, so all {len(cohort)} records are scored."]
    part = cohort.of_split(split)
    if not len(part):
        present = ", ".join(f"{k}: {v}" for k, v in column.value_counts().items())
        raise EvaluationError(
            f"No record has the split '{split}'.",
            where=f"cohort '{cohort.name}' ({present})",
            fix="score another part with --split train|val|all",
        )
    return part, [f"Scored: the {len(part)} records of the split '{split}', of {len(cohort)} in all."]


def without_classes(cohort: Cohort, names: str | list[str], leave_out: Sequence[str]) -> tuple[Cohort, str]:
    """The records of other classes than `leave_out`, and a sentence for the report.

    Raises:
        ConfigError: There are several label columns, or no record has a class that is named.
    """
    if not isinstance(names, str):
        raise ConfigError(
            "Classes can be left out of a single label column only.",
            where="--leave-out",
            fix="name the wanted label columns with --target instead",
        )
    column = cohort.column(names).astype(str)
    for name in leave_out:
        if not (column == name).any():
            raise ConfigError(
                f"No record has the class '{name}' to leave out.",
                where=f"column '{names}'",
                fix=did_you_mean(name, sorted(set(column))),
            )
    kept = cohort.subset((~column.isin(list(leave_out))).to_numpy(dtype=bool))
    gone = len(cohort) - len(kept)
    return kept, f"{gone} records of the class {', '.join(leave_out)} are left out, so figures do not hold for them."


def _is_flag(column: Any) -> bool:
    """Whether a column says yes and no with 1 and 0."""
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        return False
    return set(column.dropna().astype(float).unique()) <= {0.0, 1.0}


def _two_sided(cohort: Cohort, names: list[str]) -> tuple[list[str], list[str]]:
    """Without labels that do not occur both as 1 and as 0, which no figure exists for."""
    kept = [n for n in names if not _is_flag(cohort.column(n)) or cohort.column(n).dropna().nunique() == 2]
    gone = [n for n in names if n not in kept]
    if not gone:
        return names, []
    if not kept:
        raise EvaluationError(
            "No label occurs both as 1 and as 0 among the scored records.",
            where=f"cohort '{cohort.name}', {len(cohort)} records",
        )
    return kept, [f"Left out, since not both present and absent among the scored records: {', '.join(gone)}."]
