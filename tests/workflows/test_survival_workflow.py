"""``medfm.survival`` on small pictures: from files and follow-up to a result folder and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medfm
from medfm.core.errors import ChecksFailedError, CohortError, ConfigError, EvaluationError, StoreError
from medfm.embeddings.embeddings import Embeddings
from medfm.reporting.html import render_report
from medfm.workflows.survival import plan_of, survival_table

FEW = (
    "statistics.resamples=50",
    "scheme.folds=3",
    "scheme.kind=kfold",
    "method.inner_folds=3",
    "method.components=[1,2]",
    "method.penalties=[0.1]",
)
SETTINGS = {"cohort": {"modality": "blood_cell"}, "embed_settings": {"workers": 0}, "device": "cpu"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pictures of 40 patients: the redder, the sooner the event."""
    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(40):
        redness = rng.normal()
        own, end = 20 * rng.exponential() * np.exp(-1.5 * redness), rng.uniform(5, 60)
        for number in range(2):
            pixels = rng.integers(90, 110, (16, 16, 3)).astype(np.float64)
            pixels[..., 0] += 30 * redness
            name = f"{patient}-{number}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
            rows.append(
                {
                    "path": name,
                    "patient_id": f"P{patient:02d}",
                    "site": "north" if patient % 2 else "south",
                    "sex": "FM"[patient % 2],
                    "months": round(max(min(own, end), 0.1), 1),
                    "relapse": int(own <= end),
                }
            )
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def test_a_table_becomes_a_result_that_can_be_read_again(table: Path, tmp_path: Path) -> None:
    run = survival_table(
        table,
        time="months",
        event="relapse",
        encoder="color-histogram",
        unit="months",
        out=tmp_path / "out",
        overrides=(*FEW, "statistics.subgroups=[sex]"),
        **SETTINGS,
    )
    result = run.result
    assert run.failed == 0 and run.out == tmp_path / "out" and result.kind == "survival"
    assert result.summary.n_records == result.summary.n_patients == 40
    c = result.summary.estimate("c_index")
    assert c.value is not None and c.value > 0.65
    assert {row.value for row in result.summary.sites} == {"north", "south"}
    assert {row.value for row in result.summary.subgroups} == {"F", "M"}
    again = medfm.load_result(tmp_path / "out")
    assert again.id == result.id and again.summary == result.summary and again.extras == result.extras
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert render_report(again) == page
    assert "Kaplan-Meier curves by risk group" in page and "Log-rank" in page and "(months)" in page
    card = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert "survival-analysis" in card and "C-index (Harrell)" in card
    compared = medfm.compare(tmp_path / "out", result, resamples=20)
    assert compared.rows[0].found.difference == 0
    with pytest.raises(StoreError, match="exists already"):
        survival_table(table, encoder="color-histogram", out=tmp_path / "out", **SETTINGS)


def test_embeddings_at_hand_and_from_a_file_give_the_same(table: Path, tmp_path: Path) -> None:
    cohort = medfm.load_cohort(table, modality="blood_cell")
    vectors = medfm.embed(medfm.load_encoder("color-histogram"), cohort, workers=0)
    first = medfm.survival(vectors, cohort, "months", "relapse", overrides=FEW)
    assert medfm.survival(vectors, cohort, "months", "relapse", overrides=FEW).id == first.id
    from medfm.embeddings.export import save_embeddings

    save_embeddings(vectors, tmp_path / "cells.npz")
    run = survival_table(
        table,
        time="months",
        event="relapse",
        embeddings=tmp_path / "cells.npz",
        overrides=FEW,
        cohort={"modality": "blood_cell"},
    )
    assert run.result.summary == first.summary and "report" not in str(run.out)
    text = str(first)
    assert "C-index (Harrell)" in text and "Better than guessing" in text


def test_signals_work_as_pictures_do() -> None:
    """Any modality: here ECGs that are never read, for their embeddings are at hand."""
    from medfm.cohorts.cohort import Cohort

    rng = np.random.default_rng(1)
    hidden = rng.normal(size=180)
    ids = [f"e{i}" for i in range(180)]
    own, end = 10 * rng.exponential(size=180) * np.exp(-1.5 * hidden), rng.uniform(5, 40, 180)
    frame = pd.DataFrame(
        {
            "record_id": ids,
            "path": ids,
            "patient_id": ids,
            "site": None,
            "split": ["train", "train", "test"] * 60,
            "time": np.minimum(own, end),
            "event": own <= end,
        }
    )
    cohort = Cohort(frame, "ecg", Path())
    vectors = Embeddings(np.c_[hidden, 0.1 * rng.normal(size=180)].astype(np.float32), tuple(ids))
    few = [s for s in FEW if "kind" not in s]
    result = medfm.survival(vectors, cohort, overrides=few, allow=("F001",))
    assert result.summary.n_records == 60 and result.summary.estimate("c_index").value > 0.6  # type: ignore[operator]
    assert result.provenance["modality"] == "ecg" and result.extras["chosen"][0]["train"] == 120


def test_what_is_wrong_comes_out_before_the_embedding(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("embedded although the request is wrong")

    monkeypatch.setattr("medfm.workflows.embed.embed", never)
    named = {"encoder": "color-histogram", **SETTINGS}
    with pytest.raises(CohortError, match="no column 'month'"):
        survival_table(table, time="month", event="relapse", **named)
    with pytest.raises(EvaluationError, match="no number"):
        survival_table(table, time="months", event="site", **named)
    with pytest.raises(EvaluationError, match="No record has the event 2"):
        survival_table(table, time="months", event="relapse", overrides=("method.cause=2",), **named)
    with pytest.raises(ConfigError, match="not 'survival'"):
        survival_table(table, time="months", event="relapse", protocol="knn@1", **named)
    with pytest.raises(ConfigError, match="either an encoder or a file"):
        survival_table(table, time="months", event="relapse", **SETTINGS)


def test_a_patient_in_two_splits_stops_the_run(table: Path) -> None:
    cohort = medfm.load_cohort(table, modality="blood_cell")
    split = ["train", "test"] * 40  # the two pictures of each patient
    cohort = type(cohort)(cohort.table.assign(split=split), "blood_cell", cohort.root)
    vectors = Embeddings(np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32), tuple(cohort.record_ids))
    with pytest.raises(ChecksFailedError, match="L001"):
        medfm.survival(vectors, cohort, "months", "relapse")


def test_records_without_an_embedding_are_left_out_and_counted(table: Path) -> None:
    cohort = medfm.load_cohort(table, modality="blood_cell")
    ids = tuple(cohort.record_ids[:70])
    values = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    result = medfm.survival(Embeddings(values, ids), cohort, "months", "relapse", overrides=FEW)
    assert result.summary.n_records == 35
    assert any("10 of 80 records have no embedding" in note for note in result.summary.notes)


def test_the_plan_can_be_changed_by_name() -> None:
    plan = plan_of(overrides=("method.groups=3", "method.times=[12,24]"))
    assert plan.method.groups == 3 and plan.method.times == (12.0, 24.0)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="penalty"):
        plan_of(overrides=("method.penalty=1",))
