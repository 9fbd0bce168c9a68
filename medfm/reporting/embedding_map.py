"""The embedding in two dimensions (UMAP or PCA), for looking at."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.core.extras import import_extra
from medfm.embeddings.embeddings import Embeddings

Method = Literal["pca", "umap"]


def embedding_map(embeddings: Embeddings, method: Method = "pca", seed: int = 0) -> pd.DataFrame:
    """Two coordinates per record for looking at, not for measuring.

    Args:
        embeddings: At least two records.
        method: ``"pca"``, quick and the same on every machine, or ``"umap"`` (extra ``umap``;
            cosine distance), which keeps neighbours together but compiles itself for some
            seconds in every process.
        seed: Seed of UMAP; the same seed gives the same map on the same machine.

    Returns:
        Columns ``record_id`` (str), ``x``, ``y`` (float64, finite) and ``method`` (``"UMAP"`` or
        ``"PCA (41 % of variance)"``), in order of the embeddings.

    Raises:
        MissingExtraError: UMAP was asked for but is not installed.
        EvaluationError: Fewer than two records.
    """
    if len(embeddings) < 2:
        raise EvaluationError("A map needs at least two records.", expected="two or more embeddings")
    places, title = _umap(embeddings.values, seed) if method == "umap" else _pca(embeddings.values)
    return pd.DataFrame(
        {"record_id": list(embeddings.record_ids), "x": places[:, 0], "y": places[:, 1], "method": title}
    )


def _pca(values: np.ndarray) -> tuple[np.ndarray, str]:
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(values), 2))
    width = min(2, len(s))
    # The sign of a principal axis is arbitrary; fix it so that runs agree.
    signs = np.sign(u[np.abs(u[:, :width]).argmax(axis=0), np.arange(width)])
    places[:, :width] = u[:, :width] * s[:width] * np.where(signs == 0, 1, signs)
    total = float((s**2).sum())
    share = float((s[:2] ** 2).sum()) / total if total > 0 else 0.0
    return places, f"PCA ({100 * share:.0f} % of variance)"


def _umap(values: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    import torch

    umap = import_extra("umap", "umap", "A UMAP embedding map")
    threads = torch.get_num_threads()
    neighbours = min(15, len(values) - 1)
    # Vectors of length zero have no direction; Euclidean distance copes with them.
    metric = "cosine" if (np.linalg.norm(values, axis=1) > 0).all() else "euclidean"
    with warnings.catch_warnings():
        # UMAP warns that a seed makes it use one thread, which is what is wanted here.
        warnings.simplefilter("ignore")
        reducer = umap.UMAP(n_neighbors=neighbours, min_dist=0.1, metric=metric, random_state=seed, n_jobs=1)
        try:
            places = np.asarray(reducer.fit_transform(values), dtype=np.float64)
        finally:
            # Its compiler sets the thread number of the whole process, which would change what training computes.
            torch.set_num_threads(threads)
    if not np.isfinite(places).all():
        return _pca(values)
    return places, "UMAP"
