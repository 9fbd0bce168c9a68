"""Zero-shot: records scored by the cosine between their embedding and the prompts of each label.

The rule is MERL's, CLIP's and open_clip's: each text vector to unit length, their (weighted) mean to
unit length again, cosine with the unit embedding. It holds for every encoder whose record and text
embeddings share a space. FLAIR leaves the mean as it is (``PromptSet.prototype``), so what is called
a cosine here is, for it, the mean of the cosines with the single prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.core.names import did_you_mean
from medfm.embeddings.texts import TextCache
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.target import Target
from medfm.knowledge.prompts import Context, Pool, PromptSet

_BLOCK = 8192


@dataclass(frozen=True)
class ClassVectors:
    """The prompts of all labels as unit vectors.

    Attributes:
        labels: The labels in order.
        values: float64 (groups, d), one row per group of prompts; of unit length unless the prompts
            ask for plain means.
        owner: int64 (groups,): the label of each row; the rows of a label lie together.
        pools: How each label's groups become one score.
    """

    labels: tuple[str, ...]
    values: np.ndarray
    owner: np.ndarray
    pools: tuple[Pool, ...]


def unit_rows(values: np.ndarray, what: str) -> np.ndarray:
    """`values` as float64 with rows of length 1.

    Raises:
        EvaluationError: A row is zero or not finite, which has no direction.
    """
    rows = np.asarray(values, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} of {len(rows)} {what} are zero or not finite, so they have no direction.",
            where=f"row {int(bad[0])}",
        )
    return rows / lengths


def prompt_vectors(prompts: PromptSet, cache: TextCache, *, lower_case: bool = True) -> dict[str, np.ndarray]:
    """The unit vector of every text of `prompts`, by the text as written there."""
    texts = prompts.texts()
    rows = unit_rows(cache.vectors([t.lower() if lower_case else t for t in texts]), "text embeddings")
    return dict(zip(texts, rows, strict=True))


def class_vectors(prompts: PromptSet, cache: TextCache, *, lower_case: bool = True) -> ClassVectors:
    """The vectors that records are compared with.

    Args:
        prompts: What to ask for.
        cache: The text tower.
        lower_case: MERL lower-cases every text; towers trained on mixed case may want ``False``.

    Raises:
        EvaluationError: The text vectors of a label cancel out, or the tower failed.
    """
    vectors = {} if prompts.together else prompt_vectors(prompts, cache, lower_case=lower_case)
    rows, owner = [], []
    for position, entry in enumerate(prompts.classes):
        for group in entry.groups:
            weights = np.array([p.weight for p in group])
            if prompts.together:
                texts = [p.text.lower() if lower_case else p.text for p in group]
                members = unit_rows(cache.together(texts), "text embeddings")
            else:
                members = np.stack([vectors[p.text] for p in group])
            rows.append((weights / weights.sum()) @ members)
            owner.append(position)
    averages = np.stack(rows)
    unit = unit_rows(averages, "prompt averages")  # also refuses prompts that cancel out
    return ClassVectors(
        prompts.labels,
        unit if prompts.prototype == "unit" else averages,
        np.array(owner, dtype=np.int64),
        tuple(c.pool for c in prompts.classes),
    )


def zero_shot_scores(embeddings: np.ndarray, vectors: ClassVectors) -> np.ndarray:
    """Cosines float64 (n, labels) of embeddings (n, d), in blocks, so a memory map may be given.

    Raises:
        EvaluationError: The widths differ, or an embedding has no direction.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != vectors.values.shape[1]:
        raise EvaluationError(
            f"Embeddings of shape {embeddings.shape} cannot be compared with text vectors of width "
            f"{vectors.values.shape[1]}.",
            expected="records and texts embedded in one space",
            fix="use the encoder's projected embedding, not the features under it",
        )
    result = np.empty((len(embeddings), len(vectors.labels)))
    starts = np.searchsorted(vectors.owner, np.arange(len(vectors.labels)))
    sizes = np.bincount(vectors.owner, minlength=len(vectors.labels))
    averaged = np.array([pool == "mean" for pool in vectors.pools])
    for begin in range(0, len(embeddings), _BLOCK):
        cosines = unit_rows(embeddings[begin : begin + _BLOCK], "embeddings") @ vectors.values.T
        block = np.maximum.reduceat(cosines, starts, axis=1)
        if averaged.any():
            block[:, averaged] = (np.add.reduceat(cosines, starts, axis=1) / sizes)[:, averaged]
        result[begin : begin + _BLOCK] = block
    return result


def zero_shot_in_contexts(
    embeddings: np.ndarray,
    contexts: Sequence[Context],
    build: Callable[[Context], PromptSet],
    cache: TextCache,
    *,
    lower_case: bool = True,
) -> np.ndarray:
    """As :func:`zero_shot_scores`, each record against the prompts of its own context.

    Args:
        embeddings: (n, d).
        contexts: One per record, such as :func:`medfm.knowledge.prompts.context_of` gives.
        build: Makes the prompts of a context; the labels must not depend on it.
        cache: The text tower.
        lower_case: See :func:`class_vectors`.
    """
    if len(contexts) != len(embeddings):
        raise EvaluationError(f"There are {len(contexts)} contexts for {len(embeddings)} records.")
    places: dict[Context, list[int]] = {}
    for row, context in enumerate(contexts):
        places.setdefault(context, []).append(row)
    labels: tuple[str, ...] | None = None
    result = np.empty((0, 0))
    for context, rows in places.items():
        vectors = class_vectors(build(context), cache, lower_case=lower_case)
        if labels is None:
            labels, result = vectors.labels, np.empty((len(embeddings), len(vectors.labels)))
        if vectors.labels != labels:
            raise EvaluationError("The labels differ between contexts.", expected=", ".join(labels))
        result[rows] = zero_shot_scores(embeddings[rows], vectors)
    if labels is None:
        raise EvaluationError("There are no records to score.")
    return result


def zero_shot_predictions(
    cosines: np.ndarray,
    labels: Sequence[str],
    target: Target,
    records: pd.DataFrame,
    *,
    temperature: float = 0.07,
    multiclass_score: Literal["softmax", "cosine"] = "softmax",
    variant: str = MAIN,
) -> Predictions:
    """Cosines as predictions that every statistic accepts; truth is matched by label name.

    Multilabel scores are (1 + cosine) / 2 and those of one label column softmax(cosine / temperature), for
    these must lie in [0, 1]. The first keeps every ranking, hence every AUROC; neither is a
    calibrated probability, so thresholds, Brier scores and calibration say nothing about a
    zero-shot result. The cosines themselves are kept in columns ``cosine:LABEL``.

    Args:
        cosines: (n, labels).
        labels: Names of the columns of `cosines`; more than the target has are left out.
        target: The truth of the same n records.
        records: n rows with ``record_id, patient_id``; ``site`` and further columns are carried.
        temperature: Of the softmax.
        multiclass_score: ``"cosine"`` gives (1 + cosine) / 2 for one label column too.
        variant: Such as the name of the prompt strategy when several are compared.

    Raises:
        EvaluationError: Sizes differ, or a class of the target has no prompt.
    """
    if not (len(cosines) == len(target) == len(records)):
        raise EvaluationError(
            f"{len(cosines)} scores, {len(target)} labels and {len(records)} records were given.",
            expected="the same records in the same order",
        )
    if target.task == "regression":
        raise EvaluationError("A number cannot be predicted zero-shot.", expected="classes or labels")
    if temperature <= 0:
        raise EvaluationError(f"The temperature is {temperature}.", expected="above 0")
    names = list(labels)
    missing = [c for c in target.classes if c not in names]
    if missing:
        raise EvaluationError(
            f"No prompt exists for {', '.join(missing[:10])}.",
            where=f"target '{target.name}'",
            fix=f"name the columns as the label set does; {did_you_mean(missing[0], names)}",
        )
    chosen = cosines[:, [names.index(c) for c in target.classes]]
    table = records.reset_index(drop=True).copy()
    table = table.assign(variant=variant, repeat=0, fold=0)
    if "site" not in table:
        table["site"] = None
    columns: dict[str, np.ndarray] = {}
    if target.task == "multilabel" or multiclass_score == "cosine":
        shown = np.clip((1.0 + chosen) / 2.0, 0.0, 1.0)
    else:
        shown = _softmax(chosen / temperature)
    if target.task == "multilabel":
        columns |= {f"truth:{c}": target.values[:, i] for i, c in enumerate(target.classes)}
    else:
        columns |= {"truth": target.names(target.values), "predicted": target.names(chosen.argmax(axis=1))}
    columns |= {f"score:{c}": shown[:, i] for i, c in enumerate(target.classes)}
    columns |= {f"cosine:{c}": chosen[:, i] for i, c in enumerate(target.classes)}
    return Predictions(
        pd.concat([table.drop(columns=[c for c in columns if c in table]), pd.DataFrame(columns)], axis=1),
        target.task,
        tuple(target.classes),
        target.name,
    )


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
