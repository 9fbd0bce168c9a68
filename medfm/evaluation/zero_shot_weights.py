"""Prompt weights without labels, from how the prompts score the records themselves.

``zpe``: zero-shot prompt ensembling (Allingham et al., ICML 2023, arXiv 2302.06235): a template
counts by how confident it makes the classes, after each prompt's own bias, its mean score over
the records, is taken off. (The paper also uses the mean over pretraining data, which is not at
hand here.) It weighs templates that all labels share.

``consensus``: of this package, for prompts that differ from label to label: a prompt counts by how
far its scores over the records agree with the mean of the other prompts of its label.

Both look at the records that are scored, though never at their labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.names import unknown_name
from medfm.embeddings.texts import TextCache
from medfm.evaluation.zero_shot import prompt_vectors, unit_rows
from medfm.knowledge.prompts import Prompt, PromptSet

WEIGHTINGS = ("zpe", "consensus")
_BLOCK = 2048


def weigh_prompts(
    prompts: PromptSet,
    embeddings: np.ndarray,
    cache: TextCache,
    method: str,
    *,
    temperature: float = 0.07,
    lower_case: bool = True,
) -> PromptSet:
    """`prompts` with new weights; the strategy's name gains ``+METHOD@1``.

    Args:
        prompts: Several prompts per label; a label with one keeps it.
        embeddings: (n, d) of the records, at least two.
        cache: The text tower.
        method: ``"zpe"`` or ``"consensus"``.
        temperature: Cosines are divided by it before the confidences of ``zpe`` are taken.
        lower_case: As in scoring.

    Raises:
        UnknownNameError: No such method.
        EvaluationError: Fewer than two records, or the labels do not share templates (``zpe``).
    """
    if method not in WEIGHTINGS:
        raise unknown_name("prompt weighting", method, WEIGHTINGS)
    if len(embeddings) < 2:
        raise EvaluationError(f"Prompts cannot be weighed on {len(embeddings)} records.", expected="2 or more")
    vectors = prompt_vectors(prompts, cache, lower_case=lower_case)
    groups: list[tuple[tuple[Prompt, ...], ...]]
    if method == "zpe":
        weights = zpe_weights(prompts, embeddings, vectors, temperature)
        groups = [(_with(c.groups[0], weights),) for c in prompts.classes]
    else:
        groups = [tuple(_consensus(group, embeddings, vectors) for group in c.groups) for c in prompts.classes]
    classes = tuple(replace(c, groups=found) for c, found in zip(prompts.classes, groups, strict=True))
    return replace(prompts, strategy=f"{prompts.strategy}+{method}@1", classes=classes)


def zpe_weights(
    prompts: PromptSet, embeddings: np.ndarray, vectors: dict[str, np.ndarray], temperature: float = 0.07
) -> np.ndarray:
    """float64 (templates,), summing to 1: softmax of the mean largest bias-free score.

    Raises:
        EvaluationError: A label has several groups, or another number of prompts than the first; the
            temperature is not positive.
    """
    if not temperature > 0:
        raise EvaluationError(f"The temperature is {temperature}.", expected="above 0")
    counts = {len(c.groups[0]) for c in prompts.classes}
    if len(counts) != 1 or any(len(c.groups) != 1 for c in prompts.classes):
        raise EvaluationError(
            "The labels do not share templates, so these cannot be weighed together.",
            expected="the same number of prompts for every label, in one group",
            fix="use the strategy 'templates@1', or the weighting 'consensus'",
        )
    templates = counts.pop()
    rows = np.stack([vectors[p.text] for c in prompts.classes for p in c.groups[0]])
    # The mean cosine over the records is the cosine with their mean, so one pass suffices for it.
    total = np.zeros(rows.shape[1])
    for begin in range(0, len(embeddings), _BLOCK):
        total += unit_rows(embeddings[begin : begin + _BLOCK], "embeddings").sum(axis=0)
    bias = rows @ (total / len(embeddings))
    confidence = np.zeros(templates)
    for begin in range(0, len(embeddings), _BLOCK):
        cosines = unit_rows(embeddings[begin : begin + _BLOCK], "embeddings") @ rows.T - bias
        by_label = cosines.reshape(len(cosines), len(prompts.classes), templates) / temperature
        confidence += by_label.max(axis=1).sum(axis=0)
    confidence /= len(embeddings)
    powers = np.exp(confidence - confidence.max())
    return powers / powers.sum()


def _with(group: tuple[Prompt, ...], weights: np.ndarray) -> tuple[Prompt, ...]:
    return tuple(Prompt(p.text, float(w)) for p, w in zip(group, weights, strict=True))


def _consensus(group: tuple[Prompt, ...], embeddings: np.ndarray, vectors: dict[str, np.ndarray]) -> tuple[Prompt, ...]:
    if len(group) < 3:
        return group  # two prompts agree equally with each other
    rows = np.stack([vectors[p.text] for p in group])
    scores = np.concatenate(
        [
            unit_rows(embeddings[begin : begin + _BLOCK], "embeddings") @ rows.T
            for begin in range(0, len(embeddings), _BLOCK)
        ]
    )
    spread = scores.std(axis=0)
    level = np.divide(scores - scores.mean(axis=0), spread, out=np.zeros_like(scores), where=spread > 0)
    others = (level.sum(axis=1, keepdims=True) - level) / (len(group) - 1)
    other_spread = others.std(axis=0)
    agreement = np.divide(
        (level * others).mean(axis=0), other_spread, out=np.zeros(len(group)), where=other_spread > 1e-12
    )
    weights = np.clip(agreement, 0.0, None) * np.array([p.weight for p in group])
    if weights.sum() <= 0:
        return group
    return _with(group, weights / weights.sum())
