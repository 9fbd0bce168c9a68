"""Concept-bottleneck probe: a sparse linear model on named findings, beside the black-box probe.

The features of a record are its similarities to the findings of the knowledge base, each embedded by
the encoder's text tower; an L1 penalty, chosen on inner folds of the training patients, leaves weights on
few of them. As in Koh et al., Concept Bottleneck Models (ICML 2020) and, with a text tower, Yuksekgonul
et al., Post-hoc Concept Bottleneck Models (ICLR 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError, EvaluationError
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.paired import PairedDifference, compare_pair, match
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import LinearProbe, Protocol, Scheme, Selection, StatisticsPlan
from medfm.evaluation.selection import best, inner_folds, quality
from medfm.evaluation.sparse_logistic import fit_sparse, largest_penalty
from medfm.evaluation.summarise import summarise
from medfm.evaluation.summary import Estimate
from medfm.evaluation.target import Target, labelled, make_target
from medfm.knowledge.prompts import finding_texts
from medfm.knowledge.schema import Knowledge

DEFAULT_METRICS = ("accuracy", "balanced_accuracy")
_PENALTIES = 16  # from the smallest that silences every finding down to a thousandth of it


@dataclass(frozen=True)
class Concept:
    """One finding: its words, the text that is encoded, and the classes the knowledge lists it under."""

    name: str
    text: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ConceptProbe:
    """What a concept-bottleneck probe found.

    Attributes:
        weights: One row per finding, the heaviest first: ``finding``, ``listed under`` and one column per
            class (binary: of the positive class alone): change of the log odds (of the class's score
            where there are more than two classes) per standard deviation of the similarity. 0 means not used.
        used: Number of findings with a weight.
        penalty: Chosen on inner folds of the training patients.
        concepts: Figures of the concept model with patient-clustered intervals.
        black_box: Figures of the linear probe on the whole embeddings, same records.
        differences: Concept model minus black box, paired.
        predictions: Of the concept model, one row per test record.
        black_box_predictions: Of the linear probe.
        notes: What a reader must know.
    """

    weights: pd.DataFrame
    used: int
    penalty: float
    concepts: tuple[Estimate, ...]
    black_box: tuple[Estimate, ...]
    differences: tuple[PairedDifference, ...]
    predictions: Predictions
    black_box_predictions: Predictions
    notes: tuple[str, ...]

    def figures(self) -> pd.DataFrame:
        """One row per metric: both models with their intervals, the paired difference with its own, and p."""
        rows = []
        for own, other, pair in zip(self.concepts, self.black_box, self.differences, strict=True):
            columns: dict[str, object] = {"metric": own.metric}
            for name, e in (("concepts", own), ("black box", other)):
                columns |= {name: e.value, f"{name} low": e.low, f"{name} high": e.high}
            columns |= {"difference": pair.difference, "difference low": pair.low, "difference high": pair.high}
            rows.append(columns | {"p": pair.p})
        return pd.DataFrame(rows)


def concepts_of(knowledge: Knowledge, label_set: str | Sequence[str], template: str = "{name}") -> tuple[Concept, ...]:
    """The different findings of the classes of a label set, in the order of the knowledge file.

    Absences (findings that start with 'no ') are kept: but towers read negation badly, so their
    weights say little.

    Args:
        knowledge: The domain's knowledge.
        label_set: Name of one of its label sets, or class ids.
        template: Text to encode, with {name} where the finding goes.

    Raises:
        UnknownNameError: No such label set or class.
        ConfigError: Fewer than two findings, or the template lacks {name}.
    """
    if template.count("{name}") != 1:
        raise ConfigError(f"The template '{template}' must hold {{name}} once.", where="template")
    ids = list(knowledge.label_set(label_set).labels.values()) if isinstance(label_set, str) else list(label_set)
    under: dict[str, list[str]] = {}
    for entry in (knowledge.entry(class_id) for class_id in dict.fromkeys(ids)):
        for said in finding_texts(entry):
            under.setdefault(said, []).append(entry.name)
    if len(under) < 2:
        raise ConfigError(
            f"The classes have {len(under)} findings.",
            where=f"knowledge '{knowledge.domain}'",
            expected="at least two",
            fix="take a label set whose classes have findings (medfm knowledge shows them)",
        )
    return tuple(Concept(said, template.replace("{name}", said), tuple(names)) for said, names in under.items())


def concept_scores(X: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosine similarity float64 (n, k), -1 to 1, of records (n, d) and concepts (k, d).

    Raises:
        EvaluationError: Other widths, or a vector without length or not finite.
    """
    X, vectors = np.asarray(X, dtype=np.float64), np.asarray(vectors, dtype=np.float64)
    if X.ndim != 2 or vectors.ndim != 2 or X.shape[1] != vectors.shape[1]:
        raise EvaluationError(
            f"Records {X.shape} and concepts {vectors.shape} are not in one space.",
            expected="embeddings of records and texts of the same encoder",
        )
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in (X, vectors)]
    if not all(np.isfinite(part).all() and (part > 0).all() for part in lengths):
        raise EvaluationError("An embedding is zero or not finite, so it has no direction.")
    scores: np.ndarray = (X / lengths[0]) @ (vectors / lengths[1]).T
    return scores


def concept_probe(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str,
    concepts: Sequence[Concept],
    texts: TextCache,
    *,
    positive: str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    selection: Selection | None = None,
    plan: StatisticsPlan | None = None,
    seed: int = 0,
) -> ConceptProbe:
    """Train on the split 'train', test on 'test', beside the linear probe on the same records.

    Args:
        embeddings: Of the cohort's records, in the space of the texts (projected, not pooled).
        cohort: With a split column; records without a label are left out.
        target: Column with two or more classes.
        concepts: From :func:`concepts_of`; at least one.
        texts: The encoder's text tower.
        positive: Positive class of a binary task; the second in sorted order by default.
        metrics: Figures to give.
        selection: Inner folds and what they optimise; the penalties are the model's own.
        plan: Level, resamples and seed of the statistics.
        seed: Of the inner folds.

    Raises:
        EvaluationError: No such split, another kind of task, a class without training records, or
            embeddings and texts of different spaces.
        UnknownNameError: A metric does not exist.
    """
    if not concepts:
        raise EvaluationError("There are no concepts.", fix="take them from concepts_of(knowledge, label_set)")
    cohort = labelled(cohort, target)
    selection, plan = selection or Selection(), plan or StatisticsPlan()
    found = embeddings.rows(cohort.record_ids) >= 0
    embedded = cohort.subset(found) if found.any() else cohort
    truth = make_target(embedded, target, positive=positive)
    if truth.task not in ("binary", "multiclass"):
        raise EvaluationError(f"A {truth.task} target has no classes to explain.", expected="one column of classes")
    chosen_metrics = metrics_for(metrics, truth.task)
    # The black box first: it checks ids and splits, and its rows are those the concept model must predict.
    protocol = Protocol(
        id="concepts@1",
        title="black-box probe beside the concepts",
        method=LinearProbe(selection=selection),
        scheme=Scheme(seed=seed),
        statistics=plan,
    )
    black_box = evaluate(embeddings, cohort, target, protocol, positive=positive)
    cohort = embedded
    values = concept_scores(
        embeddings.values[embeddings.rows(cohort.record_ids)], texts.vectors([c.text for c in concepts])
    )
    split = cohort.table["split"].astype(str).to_numpy()
    train = np.flatnonzero(split == "train")
    place = {record: i for i, record in enumerate(cohort.record_ids)}
    test = np.array([place[record] for record in black_box.predictions.table["record_id"].astype(str)])
    mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
    # Embeddings are float32: what varies less than their rounding is constant, and must not be blown up.
    values = np.where(deviation > 1e-6, (values - mean) / np.maximum(deviation, 1e-6), 0.0)
    patients = cohort.table["patient_id"].astype(str).to_numpy(dtype=object)
    notes = list(black_box.notes)
    penalty = _choose(values, truth, train, patients, selection, seed, notes)
    kinds = truth.values[train]
    _all_present(truth, kinds)
    (fit,) = fit_sparse(values[train], kinds, [penalty], classes=len(truth.classes))
    if not fit.converged:
        notes.append(f"The sparse model stopped {fit.violation:.1g} from its optimum.")
    scores = fit.probabilities(values[test])
    table = black_box.predictions.table.assign(
        predicted=truth.names(scores.argmax(axis=1)),
        **{f"score:{c}": scores[:, i] for i, c in enumerate(truth.classes)},
    )
    predictions = Predictions(table, truth.task, truth.classes, truth.name)
    pair = match(black_box.predictions, predictions, patients_known=cohort.patients_known)
    names = [m.name for m in chosen_metrics]
    figures = [
        summarise(p, plan, metrics=names, patients_known=cohort.patients_known).headline
        for p in (predictions, black_box.predictions)
    ]
    weights = _weight_table(fit.coef, concepts, truth)
    used = int((fit.coef != 0).any(axis=0).sum())
    return ConceptProbe(
        weights,
        used,
        penalty,
        figures[0],
        figures[1],
        tuple(compare_pair(pair, chosen_metrics, plan)),
        predictions,
        black_box.predictions,
        tuple(dict.fromkeys(notes)),
    )


def _choose(
    X: np.ndarray,
    truth: Target,
    train: np.ndarray,
    patients: np.ndarray,
    selection: Selection,
    seed: int,
    notes: list[str],
) -> float:
    """The penalty with the best mean quality over inner folds grouped by patient; ties to the larger."""
    kinds = truth.values[train]
    top = largest_penalty(X[train], kinds, len(truth.classes))
    # A touch above the bound, so that rounding leaves no weight at the first value.
    grid = [float(p) for p in 1.001 * top * np.geomspace(1.0, 1e-3, _PENALTIES)]
    parts, said = inner_folds(selection, truth, patients, train, seed)
    notes += said
    columns = []
    for inside, outside in parts:
        present = np.unique(kinds[inside])
        if len(present) < 2:
            continue
        # A rare class may be absent from an inner training set; there its probability is 0.
        y = np.searchsorted(present, kinds[inside])
        fits = fit_sparse(X[train[inside]], y, grid, classes=len(present), tol=1e-4)
        column = []
        for fit in fits:
            scores = np.zeros((len(outside), len(truth.classes)))
            scores[:, present] = fit.probabilities(X[train[outside]])
            column.append(quality(selection.metric, truth.take(train[outside]), scores))
        columns.append(column)
    if not columns:
        notes.append("Too few training patients to choose the penalty; the middle of the grid was used.")
        return grid[len(grid) // 2]
    pick = best(np.array(columns).T)
    if pick == 0:
        notes.append("On the inner folds no finding helped: the concept model gives the shares of the classes.")
    if pick == len(grid) - 1:
        notes.append(f"The penalty {grid[pick]:.3g} is the smallest of the grid.")
    return grid[pick]


def _all_present(truth: Target, kinds: np.ndarray) -> None:
    absent = [c for i, c in enumerate(truth.classes) if i not in set(kinds.tolist())]
    if absent:
        raise EvaluationError(
            f"{len(absent)} classes have no training record: {', '.join(absent[:10])}.", where="column 'split'"
        )


def _weight_table(coef: np.ndarray, concepts: Sequence[Concept], truth: Target) -> pd.DataFrame:
    if truth.task == "binary":
        columns = {truth.classes[1]: coef[1] - coef[0]}
    else:
        columns = {c: coef[i] for i, c in enumerate(truth.classes)}
    table = pd.DataFrame(
        {
            "finding": [c.name for c in concepts],
            "listed under": ["; ".join(c.classes) for c in concepts],
            **columns,
        }
    )
    heaviest = np.abs(table[list(columns)].to_numpy()).max(axis=1)
    return table.iloc[np.argsort(-heaviest, kind="stable")].reset_index(drop=True)
