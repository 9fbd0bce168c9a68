"""k nearest neighbours on embeddings: scikit-learn's uniform vote and DINOv2's weighted one.

Both are computed in chunks of queries, so that memory does not grow with their product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.neighbors import NearestNeighbors

from medfm.core.errors import EvaluationError
from medfm.evaluation.protocol import KNN
from medfm.evaluation.target import Target

_CHUNK_VALUES = 1 << 25  # similarities held at once: 256 MiB in float64


def knn_scores(
    train: np.ndarray, test: np.ndarray, target: Target, method: KNN, *, device: str | None = None
) -> dict[int, np.ndarray]:
    """Votes of the training neighbours for every k of `method`.

    Args:
        train: (n, d) training embeddings.
        test: (m, d) query embeddings.
        target: Truth of the n training units.
        method: k values, vote, metric, temperature.
        device: Torch device of the DINOv2 vote; the CPU by default.

    Returns:
        For each k float64 (m, classes): shares of the neighbours (uniform; rows sum to 1), the
        partial sums of DINOv2's softmax over the largest k (rows of a smaller k sum to less),
        or (m, 1) means for regression.

    Raises:
        EvaluationError: k exceeds the number of training units, or the vote does not fit the task.
    """
    largest = max(method.k)
    if min(method.k) < 1 or largest > len(train):
        raise EvaluationError(
            f"k = {largest} neighbours cannot be taken from {len(train)} training records.",
            expected=f"k from 1 to {len(train)}",
            fix="lower it with --set method.k=[1]",
        )
    if method.standardise:
        mean, scale = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
        scale[scale == 0] = 1.0
        train, test = (train - mean) / scale, (test - mean) / scale
    if method.vote == "dinov2":
        if target.task in ("multilabel", "regression"):
            raise EvaluationError(
                f"DINOv2's vote is for classes, not for a {target.task} task.", fix="use vote 'uniform'"
            )
        near, similarity = cosine_neighbours(train, test, largest, device=device)
        return dinov2_votes(near, similarity, target.values, len(target.classes), method.k, method.temperature)
    if method.metric == "cosine":
        near, _ = cosine_neighbours(train, test, largest, device=device)
    else:
        near = euclidean_neighbours(train, test, largest)
    return {k: uniform_votes(near[:, :k], target) for k in method.k}


def euclidean_neighbours(train: np.ndarray, test: np.ndarray, k: int) -> np.ndarray:
    """int64 (m, k): the nearest training rows, as scikit-learn's KNeighborsClassifier finds them.

    Computed in float64 on the features as given.
    """
    search = NearestNeighbors(n_neighbors=k).fit(np.ascontiguousarray(train, dtype=np.float64))
    step = max(1, _CHUNK_VALUES // max(1, len(train)))
    parts = [
        search.kneighbors(np.ascontiguousarray(test[i : i + step], dtype=np.float64), return_distance=False)
        for i in range(0, len(test), step)
    ]
    return np.concatenate(parts) if parts else np.empty((0, k), dtype=np.int64)


def cosine_neighbours(
    train: np.ndarray, test: np.ndarray, k: int, *, device: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar training rows and their cosine similarities, best first.

    Features are L2-normalised in float32 as in DINOv2; ties go to the lower row.

    Returns:
        int64 (m, k) rows and float32 (m, k) similarities.
    """
    import torch

    place = torch.device(device or "cpu")
    keys = torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(train, dtype=np.float32)).to(place))
    step = max(1, _CHUNK_VALUES // max(1, len(train)))
    rows, values = [np.empty((0, k), dtype=np.int64)], [np.empty((0, k), dtype=np.float32)]
    for i in range(0, len(test), step):
        part = torch.from_numpy(np.ascontiguousarray(test[i : i + step], dtype=np.float32)).to(place)
        best = (torch.nn.functional.normalize(part) @ keys.T).topk(k, dim=1, largest=True, sorted=True)
        rows.append(best.indices.cpu().numpy())
        values.append(best.values.cpu().numpy())
    return np.concatenate(rows), np.concatenate(values)


def uniform_votes(near: np.ndarray, target: Target) -> np.ndarray:
    """Shares of the classes among the neighbours `near` (m, k); means for regression.

    For multilabel the share among the neighbours whose label is known (the overall share where
    none is).
    """
    if target.task == "regression":
        return target.values[near].mean(axis=1, keepdims=True)
    if target.task == "multilabel":
        values = target.values[near]
        known = (~np.isnan(values)).sum(axis=1)
        overall = np.nanmean(target.values, axis=0)
        return np.where(known > 0, np.nansum(values, axis=1) / np.maximum(known, 1), overall)
    votes = target.values[near]
    classes = len(target.classes)
    flat = (np.arange(len(near))[:, None] * classes + votes).ravel()
    counts = np.bincount(flat, minlength=len(near) * classes)
    return counts.reshape(len(near), classes) / near.shape[1]


def dinov2_votes(
    near: np.ndarray,
    similarity: np.ndarray,
    values: np.ndarray,
    classes: int,
    ks: Sequence[int],
    temperature: float = 0.07,
) -> dict[int, np.ndarray]:
    """DINOv2's votes: softmax(similarity / T) over the largest k, partial sums for smaller ones.

    Args:
        near: int64 (m, K) neighbours, best first.
        similarity: float (m, K) cosine similarities.
        values: int64 (n,) classes of the training rows.
        classes: Number of classes.
        ks: The k values, each at most K.
        temperature: T.

    Returns:
        float64 (m, classes) per k. Rows of k = max(ks) sum to 1, others to less.
        Source: DINOv2 ``eval/knn.py`` (KnnModule).
    """
    scaled = similarity[:, : max(ks)].astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    found = {}
    for k in ks:
        flat = (np.arange(len(near))[:, None] * classes + values[near[:, :k]]).ravel()
        votes = np.bincount(flat, weights=weights[:, :k].ravel(), minlength=len(near) * classes)
        found[k] = votes.reshape(len(near), classes)
    return found
