"""Retrieval over a cohort of short signals with a tiny text tower: result, folder, report, searches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_text_encoder import TEXTS, put_cohort, put_tiny_encoder

import medfm
from medfm.core.errors import CardError, CohortError, ConfigError, EvaluationError, StoreError, UnknownNameError
from medfm.embeddings.embeddings import Embeddings
from medfm.reporting.html import render_report
from medfm.workflows.retrieve import plan_of, retrieve_table
from medfm.workflows.search import search_table

SETTINGS = {"embed_settings": {"workers": 0}, "cohort": {"modality": "ecg"}, "weights": "random", "device": "cpu"}
FEW = ("statistics.resamples=50",)


@pytest.fixture
def cohort_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_encoder(tmp_path / "cards")))
    return put_cohort(tmp_path / "ecg")


def test_a_table_becomes_a_result_that_can_be_read_again(cohort_file: Path, tmp_path: Path) -> None:
    run = retrieve_table(cohort_file, "tiny-text", out=tmp_path / "out", overrides=FEW, **SETTINGS)
    assert run.failed == 0 and run.out == tmp_path / "out"
    table = run.result.predictions.table
    assert list(table["record_id"]) == ["r0", "r1", "r2", "r3", "r4", "r5", "r7"]  # r6 has no text
    assert set(table["record_to_text:candidates"]) == {4}
    notes = " ".join(run.result.summary.notes)
    assert "1 records without a text" in notes and "5 of 7 records share" in notes
    again = medfm.load_result(tmp_path / "out")
    assert again.id == run.result.id and again.summary == run.result.summary
    assert render_report(again) == (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "R@1, record to text" in str(again)
    chance = again.extras["chance"]
    assert chance["record_to_text_r@1"] == 0.25
    assert "guessing: 0.250" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    compared = medfm.compare(tmp_path / "out", run.result, resamples=20)
    assert compared.rows[0].found.difference == 0


def test_texts_stay_out_of_every_file_unless_asked_for(cohort_file: Path, tmp_path: Path) -> None:
    quiet = retrieve_table(cohort_file, "tiny-text", out=tmp_path / "quiet", overrides=FEW, **SETTINGS)
    for path in (tmp_path / "quiet").iterdir():
        assert b"fibrillation" not in path.read_bytes(), path.name
    loud = retrieve_table(
        cohort_file, "tiny-text", out=tmp_path / "loud", overrides=FEW, show_text=True, name="<b>", **SETTINGS
    )
    page = (tmp_path / "loud" / "report.html").read_text(encoding="utf-8")
    assert "atrial fibrillation" in page and "its text" in page and "<b>" not in page
    assert "fibrillation" not in " ".join(map(str, loud.result.predictions.table.to_numpy().ravel()))
    assert quiet.result.summary == loud.result.summary


def test_embeddings_and_encoder_give_the_same(cohort_file: Path) -> None:
    cohort = medfm.load_cohort(cohort_file, modality="ecg")
    encoder = medfm.load_encoder("tiny-text", weights="random")
    vectors = medfm.embed(encoder, cohort, workers=0)
    first = medfm.retrieve(vectors, cohort, encoder=encoder, overrides=FEW)
    assert medfm.retrieve(encoder, cohort, overrides=FEW).summary == first.summary
    assert first.provenance["text_fingerprint"] == encoder.text_fingerprint
    other = medfm.load_encoder("tiny-text", weights="random")
    wrong = Embeddings(vectors.values, vectors.record_ids, {**vectors.provenance, "fingerprint": "0" * 64})
    with pytest.raises(ConfigError, match="fingerprints differ"):
        medfm.retrieve(wrong, cohort, encoder=other)
    with pytest.raises(ConfigError, match="no encoder reads them"):
        medfm.retrieve(vectors, cohort)
    with pytest.raises(EvaluationError, match="No record of the cohort"):
        medfm.retrieve(Embeddings(vectors.values, tuple("abcdefgh")), cohort, encoder=encoder)


def test_labels_and_planted_vectors_need_no_text_tower(cohort_file: Path) -> None:
    cohort = medfm.load_cohort(cohort_file, modality="ecg")
    values = np.array([[1, 0] if i % 2 else [0, 1] for i in range(8)], np.float32)
    values += np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32) * 0.01
    result = medfm.retrieve(Embeddings(values, tuple(cohort.record_ids)), cohort, label="rhythm", overrides=FEW)
    assert result.protocol.id == "retrieval-records@1"
    assert result.summary.estimate("record_to_record_r@1").value == 1.0
    assert result.summary.estimate("record_to_record_map").value == 1.0
    assert "record to record" in render_report(result)
    by_text = medfm.retrieve(Embeddings(values, tuple(cohort.record_ids)), cohort, "retrieval-records@1", overrides=FEW)
    assert by_text.summary.target == "text" and by_text.summary.n_records == 5


def test_the_test_split_is_searched_where_there_is_one(cohort_file: Path) -> None:
    table = pd.read_csv(cohort_file)
    table["split"] = ["train"] * 3 + ["test"] * 5
    table.to_csv(cohort_file, index=False)
    run = retrieve_table(cohort_file, "tiny-text", overrides=FEW, **SETTINGS)
    assert run.result.summary.n_records == 4
    assert "Only the split 'test' is searched: 5 of 8 records." in run.result.summary.notes
    whole = retrieve_table(cohort_file, "tiny-text", overrides=(*FEW, "method.split=all"), **SETTINGS)
    assert whole.result.summary.n_records == 7


def test_long_texts_are_counted(cohort_file: Path) -> None:
    table = pd.read_csv(cohort_file)
    table.loc[0, "text"] = "sinus " * 300
    table.to_csv(cohort_file, index=False)
    run = retrieve_table(cohort_file, "tiny-text", overrides=FEW, **SETTINGS)
    assert run.result.extras["texts"] == {
        "distinct": 5,
        "cut_off": 1,
        "max_tokens": 256,
        "tokens_not_read": 46,
    }
    said = "1 of 5 texts are longer than 256 tokens and were cut off there; 46 tokens were not read."
    assert said in run.result.summary.notes


def test_what_goes_wrong_is_said_before_the_work(cohort_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no column 'report'"):
        retrieve_table(cohort_file, "tiny-text", text="report", **SETTINGS)
    with pytest.raises(CohortError, match="no column 'rythm'"):
        retrieve_table(cohort_file, "tiny-text", label="rythm", **SETTINGS)
    with pytest.raises(CardError, match="no text tower"):
        retrieve_table(cohort_file, "color-histogram", **{**SETTINGS, "weights": None})
    with pytest.raises(UnknownNameError):
        retrieve_table(cohort_file, "tiny-text", protocol="retrieval@9", **SETTINGS)
    with pytest.raises(ConfigError, match="not 'retrieval'"):
        plan_of("knn@1", None)
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="exists already"):
        retrieve_table(cohort_file, "tiny-text", out=tmp_path / "out", **SETTINGS)
    table = pd.read_csv(cohort_file)
    table["text"] = None
    table.to_csv(cohort_file, index=False)
    with pytest.raises(EvaluationError, match="none has a text"):
        retrieve_table(cohort_file, "tiny-text", **SETTINGS)


def test_a_probe_does_not_take_a_retrieval_protocol(cohort_file: Path) -> None:
    cohort = medfm.load_cohort(cohort_file, modality="ecg")
    vectors = Embeddings(np.eye(8, dtype=np.float32), tuple(cohort.record_ids))
    from medfm.workflows.probe import probe

    with pytest.raises(EvaluationError, match="medfm retrieve"):
        probe(vectors, cohort, "rhythm", "retrieval@1")


def test_search_by_words_and_by_record(cohort_file: Path, tmp_path: Path) -> None:
    found = search_table(cohort_file, "tiny-text", query=" Sinus   rhythm ", top=3, **SETTINGS)
    assert found.query == "Sinus rhythm" and found.searched == 8 and found.untrained
    assert [hit.place for hit in found.hits] == [1, 2, 3] and found.hits[0].text is None
    encoder = medfm.load_encoder("tiny-text", weights="random")
    vectors = medfm.embed(encoder, medfm.load_cohort(cohort_file, modality="ecg"), workers=0)
    text = encoder.encode_text(["Sinus rhythm"]).numpy()[0]
    cosines = vectors.values @ text / np.linalg.norm(vectors.values, axis=1) / np.linalg.norm(text)
    assert [h.record_id for h in found.hits] == [f"r{i}" for i in np.argsort(-cosines)[:3]]
    assert found.hits[0].cosine == pytest.approx(cosines.max(), abs=1e-5)
    like = search_table(cohort_file, "tiny-text", like="r3", top=99, show_text=True, **SETTINGS)
    assert len(like.hits) == 7 and "r3" not in {h.record_id for h in like.hits}
    assert {h.text for h in like.hits} == {" ".join(t.split()) for i, t in enumerate(TEXTS) if i != 3}
    like.to_csv(tmp_path / "hits.csv")
    written = pd.read_csv(tmp_path / "hits.csv", keep_default_na=False)
    assert list(written.columns) == ["place", "record_id", "cosine", "text"] and len(written) == 7
    assert "text" not in search_table(cohort_file, "tiny-text", like="r3", **SETTINGS).to_dict()["hits"][0]


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({}, ConfigError, "Search by words or by a record"),
        ({"query": "a", "like": "r0"}, ConfigError, "Search by words or by a record"),
        ({"query": "  "}, ConfigError, "query is empty"),
        ({"query": "a", "top": 0}, ConfigError, "0 records"),
        ({"like": "r00"}, UnknownNameError, "no record 'r00'"),
        ({"query": "a", "show_text": True, "text": "report"}, CohortError, "no column 'report'"),
    ],
)
def test_bad_searches(cohort_file: Path, request_: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        search_table(cohort_file, "tiny-text", **request_, **SETTINGS)  # type: ignore[arg-type]


def test_one_record_and_one_that_cannot_be_read(cohort_file: Path) -> None:
    table = pd.read_csv(cohort_file)
    table.iloc[:1].to_csv(cohort_file, index=False)
    run = retrieve_table(cohort_file, "tiny-text", overrides=FEW, **SETTINGS)
    assert run.result.summary.headline[0].value == 1.0
    table.iloc[:3].to_csv(cohort_file, index=False)
    (cohort_file.parent / "r1.dat").write_bytes(b"xx")
    run = retrieve_table(cohort_file, "tiny-text", overrides=FEW, **SETTINGS)
    assert run.failed == 1 and run.result.summary.n_records == 2
    with pytest.raises(EvaluationError, match="'r1' cannot be searched with"):
        search_table(cohort_file, "tiny-text", like="r1", **SETTINGS)
