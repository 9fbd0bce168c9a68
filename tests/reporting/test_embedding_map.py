from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from medfm.core import extras
from medfm.core.errors import EvaluationError, MissingExtraError
from medfm.embeddings.embeddings import Embeddings
from medfm.reporting import embedding_map as module
from medfm.reporting.embedding_map import embedding_map


def embeddings(n: int = 40, d: int = 8, seed: int = 0) -> Embeddings:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)) * np.linspace(5, 0.1, d)
    return Embeddings(values.astype(np.float32), tuple(f"r{i}" for i in range(n)))


def test_pca_is_the_projection_on_the_two_widest_axes():
    made = embeddings()
    table = embedding_map(made, "pca")
    assert list(table.columns) == ["record_id", "x", "y", "method"]
    assert list(table["record_id"]) == list(made.record_ids)
    centred = made.values - made.values.mean(axis=0)
    variances = np.sort(np.linalg.eigvalsh(np.cov(centred.T.astype(np.float64))))[::-1]
    assert table["x"].var() == pytest.approx(variances[0], rel=1e-4)
    assert table["y"].var() == pytest.approx(variances[1], rel=1e-4)
    assert abs(table["x"].corr(table["y"])) < 1e-6
    share = round(100 * variances[:2].sum() / variances.sum())
    assert table["method"].unique().tolist() == [f"PCA ({share} % of variance)"]


def test_pca_does_not_depend_on_the_order_of_the_records():
    made = embeddings()
    order = np.random.default_rng(1).permutation(len(made))
    shuffled = Embeddings(made.values[order], tuple(made.record_ids[i] for i in order))
    first = embedding_map(made, "pca").set_index("record_id")
    second = embedding_map(shuffled, "pca").set_index("record_id").loc[first.index]
    np.testing.assert_allclose(first[["x", "y"]], second[["x", "y"]], atol=1e-4)


def test_degenerate_embeddings_have_a_map():
    one = Embeddings(np.array([[1.0], [2.0], [4.0]], np.float32), ("a", "b", "c"))
    assert embedding_map(one, "pca")["y"].tolist() == [0.0, 0.0, 0.0]
    equal = Embeddings(np.ones((3, 4), np.float32), ("a", "b", "c"))
    assert np.isfinite(embedding_map(equal, "pca")[["x", "y"]].to_numpy()).all()


def test_pca_is_the_default_and_needs_no_extra(monkeypatch):
    monkeypatch.setattr(module, "import_extra", None)
    assert embedding_map(embeddings())["method"].iloc[0].startswith("PCA")


def test_umap_asked_for_but_missing_names_the_extra(monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match="medfm\\[umap\\]"):
        embedding_map(embeddings(), "umap")


def test_a_map_needs_two_records():
    with pytest.raises(EvaluationError, match="two records"):
        embedding_map(embeddings(1))


@pytest.mark.slow
def test_umap_is_finite_and_repeats_with_its_seed():
    made = embeddings(60)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    first, second = embedding_map(made, "umap", seed=3), embedding_map(made, "umap", seed=3)
    assert first["method"].unique().tolist() == ["UMAP"]
    assert np.isfinite(first[["x", "y"]].to_numpy()).all()
    pd.testing.assert_frame_equal(first, second)
    left = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert left == 1, "UMAP changed the number of threads for everything after it"


@pytest.mark.slow
def test_umap_bears_vectors_of_length_zero():
    made = embeddings(30)
    values = made.values.copy()
    values[0] = 0
    table = embedding_map(Embeddings(values, made.record_ids), "umap")
    assert np.isfinite(table[["x", "y"]].to_numpy()).all()
