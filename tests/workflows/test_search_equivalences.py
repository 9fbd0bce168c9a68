"""Searches and measurements that must agree: orders of the table, resumed runs, one cohort in two tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_text_encoder import TEXTS, put_cohort, put_tiny_encoder

import medfm
from medfm.core.errors import ReadError
from medfm.modalities.ecg import ElectroCardiogram
from medfm.workflows.retrieve import retrieve_table
from medfm.workflows.search import Hit, Search, search_table

RUN: dict[str, Any] = {"cohort": {"modality": "ecg"}, "weights": "random", "device": "cpu",
                       "embed_settings": {"workers": 0}}  # fmt: skip
FEW = ("statistics.resamples=20",)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_encoder(tmp_path / "cards")))
    return put_cohort(tmp_path / "ecg")


def shuffled(table: Path, seed: int) -> Path:
    other = table.with_name(f"shuffled{seed}.csv")
    pd.read_csv(table).sample(frac=1, random_state=seed).to_csv(other, index=False)
    return other


def test_the_order_of_the_rows_does_not_matter(table: Path) -> None:
    first = search_table(table, "tiny-text", query="pacing", top=8, **RUN)
    again = search_table(shuffled(table, 1), "tiny-text", query="pacing", top=8, **RUN)
    assert [h.record_id for h in first.hits] == [h.record_id for h in again.hits]
    assert [h.cosine for h in first.hits] == pytest.approx([h.cosine for h in again.hits], abs=1e-6)
    whole = retrieve_table(table, "tiny-text", overrides=FEW, **RUN).result.summary
    turned = retrieve_table(shuffled(table, 2), "tiny-text", overrides=FEW, **RUN).result.summary
    assert {e.metric: e.value for e in whole.headline} == pytest.approx({e.metric: e.value for e in turned.headline})


def test_cosines_are_those_of_the_vectors(table: Path) -> None:
    encoder = medfm.load_encoder("tiny-text", weights="random")
    cohort = medfm.load_cohort(table, modality="ecg")
    vectors = medfm.embed(encoder, cohort, workers=0)
    words = encoder.encode_text(["atrial flutter"]).numpy()[0]
    unit = vectors.values / np.linalg.norm(vectors.values, axis=1, keepdims=True)
    expected = unit @ (words / np.linalg.norm(words))
    found = search_table(table, encoder, query="atrial  flutter", top=3, cohort={"modality": "ecg"},
                         embed_settings={"workers": 0})  # fmt: skip
    order = np.argsort(-expected, kind="stable")[:3]
    assert [h.record_id for h in found.hits] == [vectors.record_ids[i] for i in order]
    assert [h.cosine for h in found.hits] == pytest.approx(expected[order].tolist(), abs=1e-6)
    assert [h.place for h in found.hits] == [1, 2, 3] and found.searched == 8


def test_a_search_that_was_stopped_goes_on_and_ends_the_same(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = ElectroCardiogram.read, []

    def stopping(self: ElectroCardiogram, ref: Any) -> Any:
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(ref.record_id)
        return read(self, ref)

    one_shard = {**RUN, "embed_settings": {"workers": 0, "cache": str(table.parent / "stopped")}}
    monkeypatch.setattr(ElectroCardiogram, "read", stopping)
    with pytest.raises(KeyboardInterrupt):
        search_table(table, "tiny-text", query="pacing", **one_shard)
    monkeypatch.setattr(ElectroCardiogram, "read", read)
    resumed = search_table(table, "tiny-text", query="pacing", **one_shard)
    assert resumed == search_table(table, "tiny-text", query="pacing", **RUN)


def test_records_that_cannot_be_read_are_counted_and_never_found(table: Path) -> None:
    (table.parent / "r4.dat").write_bytes(b"\0" * 10)
    found = search_table(table, "tiny-text", query="pacing", top=50, **RUN)
    assert found.failed == 1 and found.searched == len(found.hits) == 7
    assert "r4" not in {hit.record_id for hit in found.hits}
    with pytest.raises(Exception, match="'r4' cannot be searched with"):
        search_table(table, "tiny-text", like="r4", **RUN)
    stop = {**RUN, "embed_settings": {"workers": 0, "on_error": "stop"}}
    with pytest.raises(Exception, match="r4") as caught:
        search_table(table, "tiny-text", query="pacing", **stop)
    assert isinstance(caught.value, ReadError) or "r4" in str(caught.value)


def test_a_copy_of_the_record_is_found_first_and_the_record_itself_not(table: Path) -> None:
    rows = pd.read_csv(table)
    for ending in ("hea", "dat"):
        text = (table.parent / f"r2.{ending}").read_bytes().replace(b"r2", b"c2")
        (table.parent / f"c2.{ending}").write_bytes(text)
    copy = rows[rows["record_id"] == "r2"].assign(record_id="copy", path="c2.hea", patient_id="PX")
    pd.concat([copy, rows]).to_csv(table, index=False)
    allowed = {**RUN, "cohort": {"modality": "ecg"}}
    found = search_table(table, "tiny-text", like="r2", top=3, **allowed)
    assert found.hits[0].record_id == "copy" and found.hits[0].cosine == pytest.approx(1.0, abs=1e-5)
    assert "r2" not in {hit.record_id for hit in found.hits} and len(found.hits) == 3


def test_texts_are_shown_cleaned_and_only_when_asked_for(table: Path) -> None:
    quiet = search_table(table, "tiny-text", query="pacing", top=8, **RUN)
    loud = search_table(table, "tiny-text", query="pacing", top=8, show_text=True, **RUN)
    assert all(hit.text is None for hit in quiet.hits)
    said = {hit.record_id: hit.text for hit in loud.hits}
    assert said == {f"r{i}": " ".join(text.split()) for i, text in enumerate(TEXTS)}
    assert [h.record_id for h in quiet.hits] == [h.record_id for h in loud.hits]


def test_a_csv_of_odd_texts_is_read_back(tmp_path: Path) -> None:
    hits = (Hit(1, "a,b", 0.5, 'he said "no"'), Hit(2, "é", -0.25, "x\ny"), Hit(3, "", 0.0, None))
    found = Search("q", hits, 3)
    found.to_csv(tmp_path / "deep" / "hits.csv")
    back = pd.read_csv(tmp_path / "deep" / "hits.csv", keep_default_na=False)
    assert back["record_id"].tolist() == ["a,b", "é", ""] and back["cosine"].tolist() == [0.5, -0.25, 0.0]
    assert back["text"].tolist() == ['he said "no"', "x\ny", ""]
    assert [set(hit) for hit in found.to_dict()["hits"]] == [{"place", "record_id", "cosine", "text"}] * 2 + [
        {"place", "record_id", "cosine"}
    ]
