"""The untrained encoder beside the trained one: what is compared, what is said, when there is none."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from probe_data import cohort_of, table_of

import medfm
from medfm.cli.main import main
from medfm.core.errors import ConfigError
from medfm.embeddings.embeddings import Embeddings
from medfm.workflows.baseline import ONLY_EMBEDDINGS, untrained, wanted
from medfm.workflows.probe import linear_probe, probe

QUICK = {"overrides": ("statistics.resamples=200",), "embedding_map": "none"}


def vectors(table, X, kind="local file", fingerprint="a") -> Embeddings:
    about = {"encoder": "test-encoder", "fingerprint": fingerprint * 64, "weights_kind": kind}
    return Embeddings(X.astype(np.float32), tuple(table["record_id"]), about)


def ecg(n=160, **settings):
    table, X = table_of(n, **settings)
    return replace(cohort_of(table), modality="ecg"), table, X


def noise(X, seed=9) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(X.shape)


def test_a_trained_encoder_that_knows_more_is_better():
    cohort, table, X = ecg()
    result = linear_probe(vectors(table, X), cohort, "label", baseline=vectors(table, noise(X), "random"), **QUICK)
    entry = result.extras["untrained"]
    assert entry["sentence"].startswith("The trained encoder is better than its untrained self by 0.")
    assert "in balanced accuracy (95 % CI +" in entry["sentence"]
    assert entry["sentence"] in str(result).replace("\n   ", " ")


def test_differences_equal_a_comparison_of_two_results():
    cohort, table, X = ecg(signal=0.8)
    bare = vectors(table, noise(X) + 0.3 * X, "random", "b")
    result = linear_probe(vectors(table, X), cohort, "label", baseline=bare, **QUICK)
    alone = linear_probe(bare, cohort, "label", **QUICK)
    found = medfm.compare(alone, result, resamples=200)
    rows = {r["metric"]: r for r in result.extras["untrained"]["rows"]}
    assert set(rows) == {e.metric for e in result.summary.headline}
    for row in found.rows:
        ours = rows[row.found.metric]
        assert ours["difference"]["value"] == pytest.approx(row.found.difference)
        assert (ours["difference"]["low"], ours["difference"]["high"]) == (row.found.low, row.found.high)
        assert ours["p"] == row.found.p
        estimate = alone.summary.estimate(row.found.metric)
        assert ours["untrained"] == {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        estimate = result.summary.estimate(row.found.metric)
        assert ours["trained"] == {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def test_the_same_vectors_are_not_shown_to_be_better_and_worse_ones_are_worse():
    cohort, table, X = ecg()
    weak = vectors(table, noise(X))
    same = linear_probe(weak, cohort, "label", baseline=vectors(table, noise(X), "random"), **QUICK)
    assert "not shown to be better" in same.extras["untrained"]["sentence"]
    worse = linear_probe(weak, cohort, "label", baseline=vectors(table, X, "random"), **QUICK)
    assert "is worse than its untrained self" in worse.extras["untrained"]["sentence"]


def test_every_fraction_has_its_baseline():
    cohort, table, X = ecg(n=400)
    settings = {**QUICK, "overrides": (*QUICK["overrides"], "fractions=[1,0.2]", "fraction_repeats=2")}
    result = probe(vectors(table, X), cohort, "label", baseline=vectors(table, noise(X), "random"), **settings)
    assert {r["variant"] for r in result.extras["untrained"]["rows"]} == {"main", "fraction=0.2"}


@pytest.mark.parametrize("task", [["grainy", "pale"], "age", "sex"])
def test_other_tasks(task):
    cohort, table, X = ecg(n=200)
    cohort.table["sex"] = np.where(X[:, 3] > 0, "m", "f")
    settings = {**QUICK, "overrides": ("statistics.resamples=50", "scheme.kind=kfold")}
    result = probe(vectors(table, X), cohort, task, baseline=vectors(table, noise(X), "random"), **settings)
    assert result.extras["untrained"]["sentence"].startswith("The trained encoder")


def test_records_that_only_one_of_them_has_are_left_out_with_a_note():
    cohort, table, X = ecg()
    bare = Embeddings(noise(X)[10:].astype(np.float32), tuple(table["record_id"][10:]), {"weights_kind": "random"})
    result = linear_probe(vectors(table, X), cohort, "label", baseline=bare, **QUICK)
    assert any("common records" in note for note in result.extras["untrained"]["notes"])


def test_why_there_is_none():
    cohort, table, X = ecg()
    own = linear_probe(vectors(table, X, "random"), cohort, "label", **QUICK)
    assert own.extras["untrained"] == {"why_not": "these weights are untrained themselves"}
    given = linear_probe(vectors(table, X), cohort, "label", **QUICK)
    assert given.extras["untrained"] == {"why_not": ONLY_EMBEDDINGS}
    off = linear_probe(vectors(table, X), cohort, "label", baseline="it was switched off", **QUICK)
    assert "it was switched off" in str(off)
    cells = replace(cohort, modality="blood_cell")
    assert "untrained" not in linear_probe(vectors(table, X), cells, "label", **QUICK).extras


def test_when_it_is_wanted():
    assert wanted("auto", "ecg") and not wanted("auto", "blood_cell")
    assert wanted("untrained", "blood_cell") and not wanted("none", "ecg")
    cohort, _, _ = ecg()
    assert untrained(None, cohort, "auto") == ONLY_EMBEDDINGS
    assert untrained(None, cohort, "none") == "it was switched off"
    assert untrained(None, replace(cohort, modality="blood_cell"), "none") is None
    with pytest.raises(ConfigError, match="needs the encoder"):
        untrained(None, cohort, "untrained")
    for kind, reason in (("random", "untrained themselves"), ("no weights", "fixed formula")):
        assert reason in str(untrained(SimpleNamespace(weights_kind=kind), cohort, "auto"))  # type: ignore[arg-type]


def test_the_page_shows_the_section_or_the_reason(tmp_path):
    cohort, table, X = ecg()
    result = linear_probe(vectors(table, X), cohort, "label", baseline=vectors(table, noise(X), "random"), **QUICK)
    page = (result.save(tmp_path / "a") / "report.html").read_text()
    assert "Does training help?" in page and result.extras["untrained"]["sentence"].split(" (")[0] in page
    assert "paired patient-clustered bootstrap" in page and "less is better" in page
    assert "untrained.rows" not in page  # no dump of the raw entry
    assert medfm.load_result(tmp_path / "a").extras["untrained"] == result.extras["untrained"]
    why = linear_probe(vectors(table, X), cohort, "label", **QUICK)
    assert "No untrained encoder stands beside this one" in (why.save(tmp_path / "b") / "report.html").read_text()
    cells = linear_probe(vectors(table, X), replace(cohort, modality="blood_cell"), "label", **QUICK)
    assert "Does training help?" not in (cells.save(tmp_path / "c") / "report.html").read_text()


LEADS = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Ten short recordings as npy files, and a table."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(10):
        wave = np.sin(np.linspace(0, 6 + 8 * (i % 2), 1000))[None] * rng.uniform(0.5, 1, (12, 1))
        np.save(tmp_path / f"e{i}.npy", (wave + 0.1 * rng.standard_normal((12, 1000))).astype(np.float32))
        rows.append(
            {
                "record_id": f"e{i}",
                "path": f"e{i}.npy",
                "patient_id": f"p{i}",
                "label": ("slow", "fast")[i % 2],
                "sampling_hz": 100,
                "units": "mV",
                "leads": LEADS,
            }
        )
    pd.DataFrame(rows).to_csv(tmp_path / "ecg.csv", index=False)
    return tmp_path / "ecg.csv"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["probe", *arguments])
    return int(caught.value.code or 0)


def test_from_files_to_the_sentence(recordings: Path, tmp_path: Path, capsys) -> None:
    import torch

    torch.save(
        medfm.load_encoder("merl-vit-tiny-pooled", "random", "cpu", seed=3).module.state_dict(), tmp_path / "w.pth"
    )
    fast = ["--set", "statistics.resamples=20", "--set", "scheme.folds=2", "--map-method", "none", "--json"]
    common = [str(recordings), "--modality", "ecg", "--encoder", "merl-vit-tiny-pooled", "--cache", str(tmp_path / "c")]
    assert run(*common, "--weights", str(tmp_path / "w.pth"), *fast) == 0
    entry = json.loads(capsys.readouterr().out)["extras"]["untrained"]
    assert entry["sentence"].startswith("The trained encoder")
    assert entry["fingerprint"] == medfm.load_encoder("merl-vit-tiny-pooled", "random", "cpu").fingerprint
    assert run(*common, "--weights", str(tmp_path / "w.pth"), *fast, "--baseline", "none") == 0
    assert json.loads(capsys.readouterr().out)["extras"]["untrained"] == {"why_not": "it was switched off"}
    assert run(*common, "--weights", "random", *fast) == 0
    assert "untrained themselves" in json.loads(capsys.readouterr().out)["extras"]["untrained"]["why_not"]
