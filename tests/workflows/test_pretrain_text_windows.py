"""Training on reports that are longer than the tower takes, from the table to the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import medfm
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.synthesize import synthesize
from medfm.training.log import read_log
from medfm.workflows.pretrain import load_recipe, pretrain

SMALL = {"epochs": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return medfm.load_cohort(synthesize("ecg", tmp_path_factory.mktemp("ecgs") / "out", records=48).table)


def run(cohort: Cohort, folder: Path, **text: object) -> tuple[object, list[dict]]:
    config = load_recipe("merl-smoke", {**SMALL, "text": text})
    return pretrain(cohort, config, folder), read_log(folder / "log.jsonl")


@pytest.mark.parametrize("kind", ["truncate", "random_sentence", "sentences"])
def test_figures_are_in_summary_card_and_log(cohort: Cohort, tmp_path: Path, kind: str) -> None:
    result, rows = run(cohort, tmp_path / "run", max_tokens=8, window={"kind": kind, "most": 2})
    assert "texts are longer than 8 tokens" in str(result)
    assert f"text.window.kind {kind}" in str(result)
    card = (tmp_path / "run" / "card.md").read_text(encoding="utf-8")
    assert f"text.window.kind {kind}" in card
    per_epoch = len(rows) // 2
    told = [row for row in rows if "text_long" in row]
    assert [row["step"] + 1 for row in told] == [per_epoch, 2 * per_epoch]
    assert told[0]["text_long"] > 0
    assert 0 < told[0]["text_step_share"] < 1
    assert all(row["total"] == row["total"] for row in rows)
    encoder = medfm.load_encoder(tmp_path / "run")
    assert encoder.encode_text(["sinus rhythm"]).shape == (1, encoder.embedding_dim)
    settings = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert load_recipe(tmp_path / "run" / "config.yaml").text.window.kind == kind, settings  # type: ignore[union-attr]


def test_texts_that_fit_are_said_to_fit(cohort: Cohort, tmp_path: Path) -> None:
    result, rows = run(cohort, tmp_path / "run", max_tokens=64)
    assert "0 of" in str(result)
    assert "0 of" in " ".join(result.notes)  # type: ignore[attr-defined]
    assert rows[-1]["text_never_read"] == 0


def test_the_way_of_reading_changes_the_training(cohort: Cohort, tmp_path: Path) -> None:
    ends = {
        kind: run(cohort, tmp_path / kind, max_tokens=8, window={"kind": kind})[1][-1]["total"]
        for kind in ("truncate", "random_window")
    }
    assert ends["truncate"] != ends["random_window"]
