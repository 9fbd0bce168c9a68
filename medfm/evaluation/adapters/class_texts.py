"""One text vector per class, from the prompts and the cache of the zero-shot layer."""

from __future__ import annotations

import numpy as np

from medfm.embeddings.texts import TextCache
from medfm.evaluation.zero_shot import prompt_vectors, unit_rows
from medfm.knowledge.prompts import PromptSet


def class_text_vectors(
    prompts: PromptSet, cache: TextCache, *, lower_case: bool = True, renormalise: bool = True
) -> np.ndarray:
    """float64 (K, d): the weighted mean of each class's unit text vectors.

    Groups of prompts that zero-shot scores keep apart (findings, sub-classes) are averaged here: an
    adapter has one vector per class.

    Args:
        prompts: The prompts of all classes, in the order of the target.
        cache: The text tower.
        lower_case: See :func:`medfm.evaluation.zero_shot.class_vectors`.
        renormalise: Bring the means to length 1; FLAIR's prototypes stay shorter.

    Raises:
        EvaluationError: The texts of a class cancel out, or the tower failed.
    """
    vectors = prompt_vectors(prompts, cache, lower_case=lower_case)
    rows = []
    for entry in prompts.classes:
        means = []
        for group in entry.groups:
            weights = np.array([p.weight for p in group])
            means.append((weights / weights.sum()) @ np.stack([vectors[p.text] for p in group]))
        rows.append(np.mean(means, axis=0))
    found = np.stack(rows)
    unit = unit_rows(found, "class text vectors")  # also refuses texts that cancel out
    return unit if renormalise else found
