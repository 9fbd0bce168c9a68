"""The words a report uses: metric names and figures for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.summary import Estimate
from medfm.reporting.drawn_words import similarity_words
from medfm.reporting.retrieval_words import retrieval_words
from medfm.reporting.survival_words import SCALED, absolute_words, survival_words


@dataclass(frozen=True)
class Word:
    """A metric in plain language: its title, one sentence, and what guessing would give."""

    title: str
    meaning: str
    chance: str = ""


_WORDS = {
    "accuracy": Word(
        "accuracy", "The share of records that were classified rightly; a frequent class weighs more than a rare one."
    ),
    "balanced_accuracy": Word(
        "balanced accuracy",
        "The share classified rightly within each class, averaged over the classes, so that a rare class counts "
        "as much as a frequent one.",
        "one_over_classes",
    ),
    "mean_per_class_recall": Word(
        "mean recall of the classes",
        "Another name of balanced accuracy: the share found within each class, averaged over the classes.",
        "one_over_classes",
    ),
    "specificity_macro": Word(
        "specificity (one-vs-rest, macro)",
        "The share of records of other classes that are not called this class, averaged over the classes.",
    ),
    "top5_accuracy": Word(
        "accuracy, class among the first 5", "The share of records whose class is among the five highest scores."
    ),
    "f1_macro": Word(
        "F1 (macro)",
        "For each class the balance of finding its records and not calling others so, averaged over the classes.",
    ),
    "f1_weighted": Word("F1 (weighted)", "As F1 (macro), but frequent classes weigh more."),
    "f1_micro": Word("F1 (micro)", "F1 over all decisions taken together."),
    "f1": Word("F1", "The balance of finding the positive records and not calling others positive."),
    "f1_samples": Word("F1 (mean over records)", "F1 within each record's labels, averaged over records."),
    "auroc": Word(
        "AUROC",
        "The chance that a record of the class gets a higher score than one that is not of it: 0.5 is guessing, "
        "1 is perfect ranking.",
        "half",
    ),
    "auroc_macro": Word("AUROC (macro)", "AUROC of each label, averaged over the labels.", "half"),
    "auroc_micro": Word("AUROC (micro)", "AUROC over all label decisions taken together."),
    "auroc_ovr_macro": Word(
        "AUROC (one-vs-rest, macro)", "AUROC of each class against all others, averaged over the classes.", "half"
    ),
    "auroc_ovr_weighted": Word(
        "AUROC (one-vs-rest, weighted)", "As AUROC (one-vs-rest, macro), but frequent classes weigh more.", "half"
    ),
    "auroc_ovo_macro": Word("AUROC (one-vs-one, macro)", "AUROC of each pair of classes, averaged.", "half"),
    "average_precision": Word(
        "average precision",
        "The area under the precision-recall curve; guessing gives the share of positive records.",
        "prevalence",
    ),
    "average_precision_macro": Word("average precision (macro)", "Average precision of each class, averaged."),
    "map": Word("mean average precision", "Average precision of each label, averaged over the labels."),
    "sensitivity": Word("sensitivity", "The share of truly positive records that were called positive."),
    "recall": Word("sensitivity (recall)", "The share of the class's records that were found."),
    "specificity": Word("specificity", "The share of truly negative records that were called negative."),
    "ppv": Word("positive predictive value", "Of the records called positive, the share that truly is."),
    "precision": Word("precision", "Of the records given to the class, the share that truly belongs to it."),
    "npv": Word("negative predictive value", "Of the records called negative, the share that truly is."),
    "mcc": Word("Matthews correlation", "Agreement of truth and prediction from -1 to 1; 0 is guessing.", "zero"),
    "kappa": Word("Cohen's kappa", "Agreement beyond what chance alone would give; 0 is guessing.", "zero"),
    "linear_kappa": Word("kappa, linear weights", "Kappa where a near miss counts as half right.", "zero"),
    "quadratic_kappa": Word("kappa, quadratic weights", "Kappa where far misses weigh much more.", "zero"),
    "brier": Word("Brier score", "Mean squared distance of the probabilities from the truth; lower is better."),
    "log_loss": Word("log loss", "How surprised the probabilities are by the truth; lower is better."),
    "ece": Word(
        "expected calibration error",
        "How far stated probabilities lie from observed frequencies on average; 0 is best.",
    ),
    "mce": Word("maximum calibration error", "The largest such distance over the bins; 0 is best."),
    "hamming_loss": Word("Hamming loss", "The share of label decisions that were wrong; lower is better."),
    "subset_accuracy": Word("all labels right", "The share of records whose labels were all right."),
    "r2": Word(
        "R²", "The share of the variation that is explained; 0 is no better than always saying the mean.", "zero"
    ),
    "mae": Word("mean absolute error", "The average distance from the truth, in the target's units; lower is better."),
    "rmse": Word("root mean squared error", "As mean absolute error, but large misses weigh more; lower is better."),
    "pearson": Word("Pearson correlation", "How well predictions follow the truth on a straight line.", "zero"),
    "spearman": Word("Spearman correlation", "How well predictions rank the records.", "zero"),
}


def word(metric: str) -> Word:
    """The plain words for `metric`; its own name where it has none."""
    timed = survival_words(metric)
    if timed:
        return Word(*timed, "half")
    if metric == "scaled_integrated_brier":
        return Word(*SCALED, "zero")
    found = retrieval_words(metric) or similarity_words(metric) or absolute_words(metric)
    return _WORDS.get(metric) or (Word(*found) if found else Word(metric.replace("_", " "), ""))


def chance_level(metric: str, task: TaskKind, n_classes: int, prevalence: float | None = None) -> float | None:
    """What guessing gives for `metric`, or ``None`` where there is no single such figure.

    Args:
        metric: Name of the metric.
        task: Kind of task.
        n_classes: Number of classes.
        prevalence: Share of positive records, for average precision of a binary task.
    """
    rule = word(metric).chance
    if rule == "half":
        return 0.5
    if rule == "zero":
        return 0.0
    if rule == "one_over_classes" and n_classes and task != "multilabel":
        return 1.0 / n_classes
    if rule == "prevalence":
        return prevalence
    return None


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``count(2, "record")`` -> ``"2 records"``; thousands apart with a thin space."""
    text = f"{number:,}".replace(",", "\u202f")
    return f"{text} {singular if number == 1 else plural or singular + 's'}"


def figure(value: float | None) -> str:
    """A figure with the digits that matter; a dash where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0.000"  # also minus zero
    if 0.001 <= abs(value) < 100:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.3g}"


def signed(value: float | None) -> str:
    """A difference with its sign and three digits; ``0.000`` without a sign where it rounds to nothing."""
    if value is None:
        return "–"
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text


def with_ends(ends: Mapping[str, float | None]) -> str:
    """The figure ``value``, with its interval ``low`` to ``high`` in brackets where there is one."""
    low, high = ends["low"], ends["high"]
    return figure(ends["value"]) + ("" if low is None or high is None else f" ({figure(low)}–{figure(high)})")


def signed_with_ends(ends: Mapping[str, float | None]) -> str:
    """The difference ``value``, with its interval ``low`` to ``high`` in brackets where there is one."""
    value, low, high = ends["value"], ends["low"], ends["high"]
    if value is None:
        return "–"
    return signed(value) + ("" if low is None or high is None else f" ({signed(low)} to {signed(high)})")


def interval(estimate: Estimate) -> str:
    """``"95 % CI 0.83 to 0.90"``, or why there is none."""
    if estimate.low is None or estimate.high is None:
        return estimate.note or "no interval"
    return f"{100 * estimate.level:g} % CI {figure(estimate.low)} to {figure(estimate.high)}"


def sentence(estimate: Estimate, patients_known: bool = True) -> str:
    """``"balanced accuracy 0.870 (95 % CI 0.830 to 0.900; 320 records, 96 patients)"``."""
    sizes = []
    if estimate.n_records:
        sizes.append(count(estimate.n_records, "record"))
    if estimate.n_patients and patients_known:
        sizes.append(count(estimate.n_patients, "patient"))
    inside = "; ".join([interval(estimate)] + ([", ".join(sizes)] if sizes else []))
    return f"{word(estimate.metric).title} {figure(estimate.value)} ({inside})"


def method_name(kind: str) -> str:
    """The method as people call it."""
    names = {
        "linear_probe": "linear probe",
        "gradient_probe": "linear probe by gradient descent",
        "concept_probe": "concept probe",
        "knn": "k nearest neighbours",
        "mil": "multiple-instance learning",
        "zero_shot": "zero-shot scoring",
        "few_shot": "few-shot adaptation",
        "survival": "survival analysis",
        "reconstruction": "reconstruction from codes",
        "interpolation": "interpolation between visits",
        "finetune": "fine-tuning",
        "nested_finetune": "nested cross-validation of fine-tuning",
    }
    return names.get(kind, kind.replace("_", " "))


def recipe_name(candidate: str) -> str:
    """The name of a shipped recipe; of a file its own name, since folders are nobody's business."""
    return PurePath(candidate).stem if candidate.endswith((".yaml", ".yml")) else candidate
