"""How a measurement chooses its way, says so, and keeps large vectors out of memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text_encoder import put_cohort, put_tiny_encoder

import medfm
from medfm.core.errors import ConfigError, EvaluationError, MissingExtraError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation import retrieval_index
from medfm.evaluation.retrieval_index import choose_way, duration, exact_seconds
from medfm.reporting.html import render_report
from medfm.reporting.retrieval_search import SearchFacts
from medfm.workflows import measured_search
from medfm.workflows.measured_search import mapped
from medfm.workflows.retrieve import plan_of, retrieve_table
from medfm.workflows.search import search_table

SETTINGS: dict[str, Any] = {
    "embed_settings": {"workers": 0}, "cohort": {"modality": "ecg"}, "weights": "random", "device": "cpu",
}  # fmt: skip
FEW = ("statistics.resamples=50",)
FAISS = (*FEW, "method.index=faiss")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_encoder(tmp_path / "cards")))
    return put_cohort(tmp_path / "ecg")


def test_auto_is_exact_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    limit = retrieval_index.PAIRS_EXACT
    assert choose_way("auto", limit) == choose_way("exact", 10 * limit) == retrieval_index.Way(False)
    assert choose_way("auto", limit + 1) == choose_way("faiss", 1) == retrieval_index.Way(True)
    kept = choose_way("auto", 2 * limit, ("record_to_text_map", "record_to_text_r@1"))
    assert not kept.approximate and "2e+10 pairs" in kept.note and "record_to_text_map needs all ranks" in kept.note
    assert choose_way("auto", 2 * limit, ("record_to_text_map@100", "auc")).approximate
    with pytest.raises(ConfigError, match="record_to_text_mrr"):
        choose_way("faiss", 1, ("record_to_text_mrr",))
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert choose_way("auto", limit) == retrieval_index.Way(False)
    absent = choose_way("auto", limit + 1)
    assert not absent.approximate and "medfm[faiss]" in absent.note
    with pytest.raises(MissingExtraError, match=r"medfm\[faiss\]"):
        choose_way("faiss", 1)


def test_published_protocols_stay_exact_unless_asked() -> None:
    kinds = {name: plan_of(name, None).method.index for name in (  # type: ignore[union-attr]
        "retrieval@1", "retrieval-records@1", "retrieval-one-to-one@1", "quilt-retrieval@1")}  # fmt: skip
    assert kinds == {"retrieval@1": "auto", "retrieval-records@1": "auto",
                     "retrieval-one-to-one@1": "exact", "quilt-retrieval@1": "exact"}  # fmt: skip
    assert plan_of("quilt-retrieval@1", None, ("method.index=faiss",)).method.index == "faiss"  # type: ignore[union-attr]
    with pytest.raises(ConfigError):
        plan_of("retrieval@1", None, ("method.index=hnsw",))


@pytest.mark.parametrize("protocol", ["retrieval@1", "retrieval-one-to-one@1"])
def test_an_index_of_a_small_cohort_finds_the_same(table: Path, tmp_path: Path, protocol: str) -> None:
    pytest.importorskip("faiss")
    exact = retrieve_table(table, "tiny-text", protocol=protocol, overrides=FEW, **SETTINGS).result
    run = retrieve_table(table, "tiny-text", protocol=protocol, overrides=FAISS, out=tmp_path / "out", **SETTINGS)
    found = run.result
    assert exact.extras["search"] == {"way": "exact"} and found.id != exact.id
    for column in exact.predictions.table.columns:
        name = column if column in found.predictions.table else f"{column}@100"
        assert exact.predictions.table[column].tolist() == pytest.approx(found.predictions.table[name].tolist()), column
    values = {e.metric.replace("@100", ""): e.value for e in found.summary.headline}
    whole = {e.metric: e.value for e in exact.summary.headline if not e.metric.endswith("median_rank")}
    assert values == pytest.approx(whole)
    chance, expected = (r.extras["chance"] for r in (found, exact))
    assert {k.replace("@100", ""): v for k, v in chance.items()} == pytest.approx(
        {k: v for k, v in expected.items() if not k.endswith("median_rank")}
    )
    about = found.extras["search"]
    assert about["way"] == "approximate" and about["depth"] == 100
    assert set(about["directions"]) == set(found.protocol.method.directions)  # type: ignore[union-attr]
    assert all(d["recall"]["10"] == 1.0 and d["sample"] for d in about["directions"].values())
    notes = " ".join(found.summary.notes)
    assert "The search is approximate" in notes and "100.00 % of the exact 100 nearest" in notes
    again = medfm.load_result(tmp_path / "out")
    assert again.summary == found.summary and again.extras["search"] == about
    assert medfm.compare(found, again, resamples=20).rows
    with pytest.raises(EvaluationError, match="differ in classes"):
        medfm.compare(exact, found, resamples=20)


def planted(n: int) -> Embeddings:
    values = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    return Embeddings(values, tuple(f"r{i}" for i in range(n)))


def test_above_the_limit_auto_goes_either_way_and_says_so(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(retrieval_index, "PAIRS_EXACT", 10)
    cohort = medfm.load_cohort(table, modality="ecg")
    run = medfm.retrieve(planted(8), cohort, label="rhythm", overrides=FEW)
    assert run.extras["search"]["way"] == "approximate"
    page = render_report(run)
    assert "How far the approximate search can be trusted" in page and "Ranks to" in page
    monkeypatch.setitem(sys.modules, "faiss", None)
    titles: list[str] = []

    class Shown(medfm.core.progress.Silent):
        def __init__(self, title: str, total: int | None, unit: str = "records") -> None:
            titles.append(title)
            super().__init__(title, total, unit)

    exact = medfm.retrieve(planted(8), cohort, label="rhythm", overrides=FEW, progress=Shown)
    assert any("exact, about 1 seconds" in title for title in titles)
    assert exact.extras["search"]["way"] == "exact" and "medfm[faiss]" in exact.extras["search"]["note"]
    assert any("Estimated beforehand: 1 seconds on this machine." in note for note in exact.summary.notes)
    assert "How far the approximate search" not in render_report(exact)
    assert SearchFacts.of(exact).depth is None
    found = search_table(table, "tiny-text", query="pacing", **SETTINGS)
    assert found.note is None  # 8 records, one query: below even this limit
    monkeypatch.setattr(retrieval_index, "PAIRS_EXACT", 5)
    said = search_table(table, "tiny-text", query="pacing", **SETTINGS)
    assert said.note is not None and "medfm[faiss]" in said.note and said.hits == found.hits and said.recall is None


def test_without_faiss_nothing_is_embedded(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr("medfm.workflows.embed.embed", lambda *_, **__: pytest.fail("embedded"))
    with pytest.raises(MissingExtraError):
        retrieve_table(table, "tiny-text", overrides=FAISS, **SETTINGS)
    with pytest.raises(MissingExtraError):
        search_table(table, "tiny-text", query="pacing", index="faiss", **SETTINGS)


def test_ranks_beyond_the_list_are_said_to_be(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(measured_search, "list_depth", lambda k: 1)
    cohort = medfm.load_cohort(table, modality="ecg")
    with pytest.raises(Exception, match="only the first 1 are looked at"):
        medfm.retrieve(planted(8), cohort, label="rhythm", overrides=FAISS)
    settings = (*FAISS, "method.k=[1]", "metrics=[record_to_record_r@1]")
    result = medfm.retrieve(planted(8), cohort, label="rhythm", overrides=settings)
    ranks = result.predictions.table["record_to_record:rank"]
    assert np.isinf(ranks).any()
    page = render_report(result)
    assert "beyond 1 of" in page and "found none among the first 1" in page and ">inf" not in page


def test_large_vectors_are_read_from_a_file(table: Path) -> None:
    cohort = medfm.load_cohort(table, modality="ecg")
    encoder = medfm.load_encoder("tiny-text", weights="random")
    stored = medfm.embed(encoder, cohort, collect=False, workers=0)
    small, large = mapped(stored), mapped(stored, most=10)
    assert isinstance(large.values, np.memmap) and not isinstance(small.values, np.memmap)
    np.testing.assert_array_equal(small.values, large.values)
    assert large.record_ids == small.record_ids
    few = medfm.retrieve(large, cohort, encoder=encoder, overrides=FEW)  # r6 has no text: rows are picked
    assert few.summary == medfm.retrieve(small, cohort, encoder=encoder, overrides=FEW).summary


def test_times_are_said_roughly() -> None:
    assert [duration(s) for s in (0.01, 40, 600, 9000)] == ["1 seconds", "40 seconds", "10 minutes", "2.5 hours"]
    values = np.ones((200, 4), np.float32)
    assert 0 < exact_seconds(values, values) < 5 and exact_seconds(values, values, sorting=True) > 0
