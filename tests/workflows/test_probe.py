"""The probe workflow: checks first, a complete result, clear refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from probe_data import cohort_of, pair, table_of

import medfm
from medfm.core.errors import ChecksFailedError, CohortError, ConfigError
from medfm.core.hashing import sha256_json
from medfm.embeddings.embeddings import Embeddings, Failure
from medfm.workflows.probe import knn, linear_probe, mil, probe

QUICK = {
    "overrides": ("statistics.resamples=50",),
    "embedding_map": "pca",
}


def test_the_public_names_are_these() -> None:
    assert medfm.linear_probe is linear_probe and medfm.knn is knn and medfm.mil is mil


def test_a_complete_result() -> None:
    cohort, embeddings = pair()
    result = linear_probe(embeddings, cohort, target="label", name="mine", **QUICK)
    assert result.kind == "linear_probe" and result.name == "mine"
    estimate = result.summary.estimate("balanced_accuracy")
    assert estimate.low is not None and estimate.low < estimate.value < estimate.high
    assert result.summary.n_records == 40 and result.summary.n_patients == 10
    assert result.provenance["encoder"] == "test-encoder" and result.provenance["cohort_digest"] == cohort.digest()
    assert result.provenance["seeds"] == {"folds": 0, "resampling": 0}
    assert result.config["target"] == "label" and result.config["task"] == "multiclass"
    assert result.extras["chosen"][0]["C"] > 0
    taking_part = result.extras["participants"]
    assert taking_part["asked"] == taking_part["kept"] == {"records": 160, "patients": 40}
    assert [(part["name"], part["records"]) for part in taking_part["parts"]] == [("train", 120), ("test", 40)]
    assert result.embedding_map is not None and len(result.embedding_map) == 40
    assert result.batch_effect is not None and result.batch_effect.sites == ("north", "south")
    assert any(f.severity == "passed" for f in result.findings)
    assert "balanced accuracy" in str(result)


def test_equal_input_gives_the_same_result() -> None:
    cohort, embeddings = pair()
    a, b = (linear_probe(embeddings, cohort, **QUICK) for _ in range(2))
    assert a.id == b.id and a.summary == b.summary


def test_saved_and_loaded(tmp_path: Path) -> None:
    cohort, embeddings = pair()
    result = knn(embeddings, cohort, **QUICK)
    folder = result.save(tmp_path / "run")
    assert (folder / "report.html").stat().st_size > 1000
    assert medfm.load_result(folder).id == result.id


def test_bags_and_their_attention(tmp_path: Path) -> None:
    cohort, embeddings = pair(n=160, cells=5, classes=2)
    settings = {**QUICK, "overrides": ("statistics.resamples=50", "method.epochs=2")}
    result = mil(embeddings, cohort, attention_out=tmp_path / "cells.csv", **settings)
    cells = pd.read_csv(tmp_path / "cells.csv")
    assert set(cells["record_id"]) == set(cohort.table.loc[cohort.table["split"] == "test", "record_id"])
    assert result.embedding_map is not None and len(result.embedding_map) == result.summary.n_records
    with pytest.raises(ConfigError, match="no attention"):
        knn(embeddings, cohort, attention_out=tmp_path / "none.csv", **QUICK)


def test_papers_average_goes_into_the_extras() -> None:
    cohort, embeddings = pair()
    result = knn(embeddings, cohort, protocol="dinobloom-knn@1", **QUICK)
    average = result.extras["paper_average"]
    assert set(average) == {"main", "k=20"}
    folds = [r.metrics["accuracy"] for r in result.summary.folds if r.variant == "main"]
    assert average["main"]["accuracy"]["mean"] == pytest.approx(np.mean(folds))
    assert average["main"]["accuracy"]["std"] == pytest.approx(np.std(folds))


def test_a_patient_in_two_splits_stops_unless_allowed() -> None:
    table, X = table_of()
    table.loc[1, "split"] = "train" if table.loc[0, "split"] == "test" else "test"
    cohort, embeddings = cohort_of(table), Embeddings(X, tuple(table["record_id"]))
    with pytest.raises(ChecksFailedError) as caught:
        linear_probe(embeddings, cohort, **QUICK)
    code = str(caught.value).split("--allow ")[1].split()[0]
    result = linear_probe(embeddings, cohort, allow=(code,), **QUICK)
    assert any(f.code == code and f.allowed for f in result.findings)


def test_unlabelled_records_can_be_dropped() -> None:
    table, X = table_of()
    table.loc[:4, "label"] = None
    cohort, embeddings = cohort_of(table), Embeddings(X, tuple(table["record_id"]))
    with pytest.raises(medfm.MedfmError, match="5 of 160"):
        linear_probe(embeddings, cohort, **QUICK)
    result = linear_probe(embeddings, cohort, drop_unlabelled=True, **QUICK)
    assert any("5 records without a label" in n for n in result.summary.notes)


def test_failures_are_kept() -> None:
    cohort, embeddings = pair()
    part = Embeddings(
        embeddings.values[1:], embeddings.record_ids[1:], embeddings.provenance, (Failure("r0", "zero bytes"),)
    )
    result = linear_probe(part, cohort, **QUICK)
    assert result.provenance["failures"] == [{"record_id": "r0", "reason": "zero bytes"}]
    assert any("1 of 160 records have no embedding" in n for n in result.summary.notes)


@pytest.mark.parametrize("target", ["age", ["grainy", "pale"]])
def test_other_tasks(target) -> None:
    cohort, embeddings = pair()
    result = linear_probe(embeddings, cohort, target=target, **QUICK)
    assert result.summary.task == ("regression" if target == "age" else "multilabel")
    assert result.summary.headline[0].value is not None


def test_refusals() -> None:
    cohort, embeddings = pair()
    with pytest.raises(ConfigError, match="of the method 'knn', not 'mil'"):
        mil(embeddings, cohort, protocol="knn@1")
    with pytest.raises(CohortError, match="did you mean 'label'"):
        probe(embeddings, cohort, "lable")
    nameless = cohort_of(cohort.table.drop(columns="label"))
    with pytest.raises(ConfigError, match="not said what to predict"):
        probe(embeddings, nameless)


def test_patients_unknown_is_said() -> None:
    table, X = table_of()
    table["patient_id"] = table["record_id"]
    result = linear_probe(Embeddings(X, tuple(table["record_id"])), cohort_of(table, patients_known=False), **QUICK)
    assert not result.summary.patients_known


def test_a_result_can_be_run_again_from_its_config(tmp_path):
    """The saved config.yaml alone, given as the protocol, leads to the same result id."""
    from medfm.evaluation.protocol import load_protocol

    cohort, embeddings = pair()
    first = probe(embeddings, cohort, "label", "knn@1", overrides=("method.k=[3, 7]", "statistics.resamples=20"))
    first.save(tmp_path / "first")
    config = yaml.safe_load((tmp_path / "first" / "config.yaml").read_text())
    assert config["protocol"] == first.protocol.to_dict()
    assert config["cohort"]["digest"] == cohort.digest()
    assert config["encoder"]["fingerprint"] == first.provenance.get("fingerprint")
    assert config["seeds"] == {"folds": 0, "resampling": 0}
    assert load_protocol(str(tmp_path / "first" / "config.yaml")) == first.protocol
    again = probe(
        embeddings,
        cohort,
        config["target"],
        str(tmp_path / "first" / "config.yaml"),
        task=config["task"],
        positive=config["positive"],
        drop_unlabelled=config["drop_unlabelled"],
        allow=config["allow"],
    )
    assert again.id == first.id
    other = probe(embeddings, cohort, "label", str(tmp_path / "first" / "config.yaml"), overrides=("method.k=[3]",))
    assert other.id != first.id


def test_the_batch_effect_keeps_its_permutation_band_through_a_folder(tmp_path: Path) -> None:
    """The band is there, survives saving, and a folder written before there was one still loads."""
    cohort, embeddings = pair(n=160)
    table, values = cohort.table, embeddings.values.copy()
    values[:, 11] += 4 * (table["site"] == "north").to_numpy()
    strong = Embeddings(values, embeddings.record_ids, embeddings.provenance)
    plain, shifted = (linear_probe(e, cohort, target="label", **QUICK).batch_effect for e in (embeddings, strong))
    assert shifted.balanced_accuracy.value > shifted.null_high > plain.chance > shifted.null_low
    assert shifted.p == pytest.approx(1 / 51)
    assert plain.p > shifted.p
    result = linear_probe(strong, cohort, target="label", **QUICK)
    folder = tmp_path / "run"
    result.save(folder)
    assert medfm.load_result(folder).batch_effect == shifted
    path = folder / "result.json"
    head = json.loads(path.read_text(encoding="utf-8"))
    for name in ("null_low", "null_high", "p"):
        del head["batch_effect"][name]
    del head["sha256"]
    path.write_text(json.dumps({**head, "sha256": sha256_json(head)}), encoding="utf-8")
    assert medfm.load_result(folder).batch_effect.null_low is None


def test_a_site_that_does_not_show_is_said_to_lie_in_the_band() -> None:
    cohort, embeddings = pair(n=240)
    effect = linear_probe(embeddings, cohort, target="label", **QUICK).batch_effect
    assert effect.null_low <= effect.balanced_accuracy.value <= effect.null_high
    assert effect.p > 0.05
    assert f"p = {effect.p:.2g}" in effect.note
