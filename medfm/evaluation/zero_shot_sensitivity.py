"""How far a zero-shot figure hangs on single prompts, and the published best-F1 figure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.embeddings.texts import TextCache
from medfm.evaluation.metrics_ranking import RankPlan
from medfm.evaluation.zero_shot import class_vectors, zero_shot_scores
from medfm.knowledge.prompts import ClassPrompts, PromptSet

BEST_F1_FLAW = (
    "The threshold is chosen on the very records that are scored, so this F1 and accuracy are higher than "
    "any threshold fixed beforehand would give; the record at the threshold counts as negative in the accuracy."
)


@dataclass(frozen=True)
class SensitivityRow:
    """One prompt left out.

    Attributes:
        label: The label it belongs to.
        text: The prompt.
        weight: Its weight within its group.
        auroc: AUROC of the label with all prompts; ``None`` where undefined.
        without: AUROC without this prompt; ``None`` where undefined or it is the label's only one.
    """

    label: str
    text: str
    weight: float
    auroc: float | None
    without: float | None

    @property
    def change(self) -> float | None:
        """AUROC without minus with: negative where the prompt helps."""
        return None if self.auroc is None or self.without is None else self.without - self.auroc


@dataclass(frozen=True)
class BestF1:
    """The published figure of one label; see :data:`BEST_F1_FLAW`."""

    label: str
    f1: float | None
    threshold: float | None
    accuracy: float | None


def prompt_sensitivity(
    prompts: PromptSet, embeddings: np.ndarray, truth: np.ndarray, cache: TextCache, *, lower_case: bool = True
) -> tuple[SensitivityRow, ...]:
    """AUROC of each label with each of its prompts left out in turn; the others keep their proportions.

    Args:
        prompts: What was asked.
        embeddings: (n, d).
        truth: (n, labels) of 1, 0 and NaN for unknown, columns in the order of `prompts`.
        cache: The text tower.
        lower_case: As in scoring.
    """
    _check(truth, (len(embeddings), len(prompts.classes)))
    whole = zero_shot_scores(embeddings, class_vectors(prompts, cache, lower_case=lower_case))
    reduced: list[ClassPrompts] = []
    rows: list[tuple[int, str, float, int | None]] = []
    for position, entry in enumerate(prompts.classes):
        for g, group in enumerate(entry.groups):
            for p, prompt in enumerate(group):
                kept = group[:p] + group[p + 1 :]
                usable = any(q.weight > 0 for q in kept)
                groups = entry.groups[:g] + ((kept,) if usable else ()) + entry.groups[g + 1 :]
                rows.append((position, prompt.text, prompt.weight, len(reduced) if groups else None))
                if groups:
                    reduced.append(ClassPrompts(f"{len(reduced)}", groups, entry.pool))
    changed = np.empty((len(embeddings), 0))
    if reduced:
        variants = replace(prompts, classes=tuple(reduced))
        changed = zero_shot_scores(embeddings, class_vectors(variants, cache, lower_case=lower_case))
    full = [label_auroc(whole[:, i], truth[:, i]) for i in range(len(prompts.classes))]
    return tuple(
        SensitivityRow(
            prompts.labels[i],
            text,
            weight,
            full[i],
            None if column is None else label_auroc(changed[:, column], truth[:, i]),
        )
        for i, text, weight, column in rows
    )


def label_auroc(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """AUROC of one label, unknown truths left out; ``None`` where only one kind is there."""
    known = np.flatnonzero(~np.isnan(truth))
    plan = RankPlan(scores[known], truth[known] == 1, np.arange(len(known)), len(known))
    return float(plan.auroc(np.ones((len(known), 1)))[0]) if plan.defined else None


def best_f1(cosines: np.ndarray, truth: np.ndarray, labels: tuple[str, ...]) -> tuple[BestF1, ...]:
    """Largest F1 over all thresholds, and the accuracy there with a strict ``>``, as MERL prints them.

    For reproduction only: :data:`BEST_F1_FLAW` belongs beside every such figure.
    """
    _check(truth, cosines.shape)
    if cosines.shape[1] != len(labels):
        raise EvaluationError(f"There are {len(labels)} labels for {cosines.shape[1]} columns of scores.")
    return tuple(_best(labels[i], cosines[:, i], truth[:, i]) for i in range(len(labels)))


def _best(label: str, scores: np.ndarray, truth: np.ndarray) -> BestF1:
    known = ~np.isnan(truth)
    positive, values = truth[known] == 1, scores[known]
    if not positive.any():
        return BestF1(label, None, None, None)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    found = np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last record of each tie
    f1 = 2 * found[last] / (last + 1 + positive.sum())
    # Of equal F1 the lowest threshold, which the published loop meets first.
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    threshold = float(ranked[last[best]])
    return BestF1(label, float(f1[best]), threshold, float(((values > threshold) == positive).mean()))


def _check(truth: np.ndarray, shape: tuple[int, ...]) -> None:
    if truth.shape != shape:
        raise EvaluationError(f"The truth has shape {truth.shape}.", expected=f"(records, labels) = {shape}")
