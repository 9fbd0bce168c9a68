"""``medfm zeroshot`` on ECGs: the untrained encoder beside, and errors as sheets with the attention strip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_zeroshot_verb import FAST, data, put_vocabulary, run  # noqa: F401  (data is a fixture)

import medfm

NAMES = ["--target", "sinus_rhythm", "--target", "AFIB", "--strategy", "class-name@1", "--strategy", "synonyms@1"]


@pytest.fixture
def trained(data: Path, tmp_path: Path) -> list[str]:  # noqa: F811
    """Arguments of a run with weights of a file: the tiny network with another seed."""
    put_vocabulary()
    card = data / "tiny-merl.md"
    torch.save(medfm.load_encoder(str(card), "random", "cpu", seed=3).module.state_dict(), tmp_path / "w.pth")
    return [str(data / "labels.csv"), "--encoder", str(card), "--weights", str(tmp_path / "w.pth"), *FAST]


def scored(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert run(*arguments, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_figures_beside_are_those_of_a_run_with_random_weights(trained, capsys) -> None:
    found = scored([*trained, *NAMES], capsys)
    entry = found["extras"]["untrained"]
    at = trained.index("--weights") + 1
    bare = scored([*trained[:at], "random", *trained[at + 1 :], *NAMES], capsys)
    assert "untrained themselves" in bare["extras"]["untrained"]["why_not"]
    assert {row["variant"] for row in entry["rows"]} == {"main", "synonyms@1"}
    for name, side in (("trained", found), ("untrained", bare)):
        for estimate in side["summary"]["headline"]:
            row = next(r for r in entry["rows"] if (r["variant"], r["metric"]) == ("main", estimate["metric"]))
            assert row[name]["value"] == pytest.approx(estimate["value"])
    for row in entry["rows"]:
        assert row["difference"]["value"] == pytest.approx(row["trained"]["value"] - row["untrained"]["value"])
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
    assert "in macro AUROC" in entry["sentence"].replace("AUROC (macro)", "macro AUROC")


def test_it_can_be_left_out_and_needs_the_encoder(trained, tmp_path, capsys) -> None:
    off = scored([*trained, *NAMES, "--baseline", "none"], capsys)
    assert off["extras"]["untrained"] == {"why_not": "it was switched off"}
    encoder = medfm.load_encoder(trained[2], trained[4], "cpu")
    cohort = medfm.load_cohort(trained[0], modality="ecg")
    values = np.random.default_rng(0).standard_normal((len(cohort), encoder.embedding_dim)).astype(np.float32)
    ready = medfm.Embeddings(values, tuple(cohort.record_ids), {"fingerprint": encoder.fingerprint})
    given = medfm.zero_shot(
        ready, cohort, "AFIB", text_encoder=encoder, overrides=("statistics.resamples=20",), embedding_map="none"
    )
    assert "only embeddings were given" in given.extras["untrained"]["why_not"]


def test_the_report_has_the_section_and_sheets_with_the_strip(trained, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert run(*trained, *NAMES, "--out", str(out)) == 0
    assert "untrained self" in " ".join(capsys.readouterr().out.split())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Does training help?" in page and "both towers" in page
    assert "data:image/svg+xml" in page and "attention" in page.lower()
    pictures = pd.read_parquet(out / "predictions.parquet").filter(like="thumb")
    assert pictures.empty or pictures.notna().any().any()
    assert ">positives<" in page and ">records<" not in page.split("For whom does it work?")[1].split("</table>")[0]
