"""The concept probe from a table to a result: knowledge, black box on the same folds, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_picture_encoder import NAME, ready

import medfm
from medfm.core.errors import CardError, ConfigError, EvaluationError, UnknownNameError
from medfm.evaluation.concepts import FEATURES
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.protocol import load_protocol
from medfm.reporting.concepts import concept_sentence, concepts_context
from medfm.reporting.html import render_report
from medfm.reporting.result import load_result
from medfm.workflows.concept_probe import black_box_plan, concept_plan
from medfm.workflows.probe_table import probe_table

QUICK = ("statistics.resamples=60",)
FEW = ("method.penalties=3", "method.folds=2", "method.smallest=0.1")  # what is tested here is not the selection


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def table(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return ready(root, monkeypatch)


def run(table: Path, *overrides: str, out: Path | None = None, **settings: Any):
    given = {k: settings.pop(k) for k in ("knowledge", "label_set") if k in settings}
    plan = concept_plan("concept-probe@1", (*QUICK, *FEW, *overrides), **given)
    settings = {"encoder": NAME, "embed_settings": {"workers": 0}} | settings
    return probe_table(table, weights="random", protocol=plan, out=out, **settings)


def planted(classes: int = 2, n: int = 160, split: bool = True, noise: float = 0.6):
    """Embeddings in a space where five texts have directions, the first of each class present in it."""
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    patient = np.arange(n) // 2
    y = rng.permutation(np.arange(patient.max() + 1) % classes)[patient]
    X = axes[:classes][y] + noise * rng.normal(size=(n, 16)) / 4
    rows = {"path": [f"{i}.png" for i in range(n)], "record_id": [f"r{i}" for i in range(n)]}
    rows |= {"patient_id": [f"p{i}" for i in patient], "site": None, "label": np.array(list("xyz"))[y]}
    rows["split"] = np.where(patient % 3 == 0, "test", "train") if split else None
    frame = pd.DataFrame(rows).assign(one=(y == 0).astype(float), two=(y == 1).astype(float))
    cohort = medfm.Cohort(frame, "retina", Path("/nowhere"))

    class Tower:
        id, fingerprint, text_fingerprint, weights_kind = "planted", "f" * 64, "t" * 64, "local file"
        modality, embedding_dim = cohort.modality, axes.shape[1]

        def encode_text(self, texts):
            import torch

            places = ["alpha", "beta", "gamma", "delta", "epsilon"]
            return torch.tensor(np.stack([axes[next(i for i, p in enumerate(places) if p in t)] for t in texts]))

    about = {"encoder": "planted", "fingerprint": "f" * 64, "weights_kind": "local file"}
    return cohort, medfm.Embeddings(X.astype(np.float32), tuple(frame["record_id"]), about), Tower()


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    content = {
        "domain": "greek", "title": "t", "version": 3, "reviewed_by": "none", "templates": ["a picture of {name}"],
        "classes": [
            {"id": "x", "name": "X", "findings": [{"seen": "alpha"}, {"seen": "delta"}]},
            {"id": "y", "name": "Y", "findings": [{"seen": "beta"}, {"seen": "delta"}]},
            {"id": "z", "name": "Z", "findings": [{"seen": "gamma"}, {"seen": "epsilon"}]},
            {"id": "bare", "name": "Bare"},
        ],
        "label_sets": {"xy": {"title": "t", "source": "here", "labels": {"x": "x", "y": "y"}},
                       "none": {"title": "t", "source": "here", "labels": {"b": "bare"}}},
    }  # fmt: skip
    path = tmp_path / "greek.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def planted_result(knowledge: Path, tmp_path: Path, classes: int = 2, split: bool = True, **settings: Any):
    cohort, emb, tower = planted(classes, split=split)
    settings = {"overrides": (*QUICK, "method.penalties=6"), "cache": tmp_path / "c", "knowledge": knowledge} | settings
    return cohort, emb, medfm.concept_probe(emb, cohort, text_encoder=tower, **settings)


def test_the_planted_finding_of_each_class_has_its_largest_weight(knowledge, tmp_path):
    _, _, result = planted_result(knowledge, tmp_path, classes=3)
    found = result.extras["concepts"]
    assert found["columns"] == ["x", "y", "z"] and found["asked"] == 5 and found["trainings"] == 1
    weights = {f["finding"]: f["weights"] for f in found["findings"]}
    for name, finding in zip("xyz", ("alpha", "beta", "gamma"), strict=True):
        assert max((f for f in weights if name in weights[f]), key=lambda f: weights[f][name]["mean"]) == finding
    listed = {f["finding"]: f["classes"] for f in found["findings"]}
    assert listed["delta"] == ["X", "Y"] and found["used"] == sum(bool(w) for w in weights.values())
    heaviest = [max((abs(w["mean"]) for w in f["weights"].values()), default=0) for f in found["findings"]]
    assert heaviest == sorted(heaviest, reverse=True)
    assert any("1 of 4 classes of the knowledge list no findings: Bare" in note for note in result.summary.notes)
    assert result.kind == "concept_probe" and result.provenance["knowledge"] == "greek, 3"
    assert result.config["protocol"]["method"]["knowledge"] == "greek.yaml", "no path of this machine in a result"


def test_the_black_box_is_the_linear_probe_on_the_same_folds(knowledge, tmp_path):
    cohort, emb, result = planted_result(knowledge, tmp_path, split=False)
    box = result.extras["concepts"]["black_box"]
    alone = medfm.linear_probe(emb, cohort, overrides=QUICK)
    assert alone.summary.n_records == result.summary.n_records == 160
    pairs = zip(
        *(r.predictions.table[["record_id", "fold"]].itertuples(index=False) for r in (alone, result)), strict=True
    )
    assert all(tuple(a) == tuple(b) for a, b in pairs), "the same records are tested in the same folds"
    by_name = {e.metric: e for e in alone.summary.headline}
    for row in box["rows"]:
        own = result.summary.estimate(row["metric"])
        assert row["black_box"]["value"] == pytest.approx(by_name[row["metric"]].value)
        assert row["concepts"]["value"] == pytest.approx(own.value)
        assert row["difference"]["value"] == pytest.approx(own.value - by_name[row["metric"]].value)
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
        assert "paired" in row["method"]
    assert result.extras["concepts"]["trainings"] == 5 == len(result.extras["concepts"]["folds"])
    for entry in result.extras["concepts"]["findings"]:
        per_fold = [f["weights"]["y"].get(entry["finding"], 0.0) for f in result.extras["concepts"]["folds"]]
        about = entry["weights"].get("y")
        assert (about is None) == (not any(per_fold))
        if about is not None:
            assert about["mean"] == pytest.approx(np.mean(per_fold)) and about["trainings"] == np.count_nonzero(
                per_fold
            )
            assert (about["least"], about["most"]) == (min(per_fold), max(per_fold))


def test_findings_that_miss_what_separates_the_classes_are_said_to_be_worse(knowledge, tmp_path):
    cohort, emb, tower = planted(2, noise=1.6)  # so that the black box errs now and then: the difference must vary
    blind = tmp_path / "blind.yaml"
    text = (
        knowledge.read_text(encoding="utf-8")
        .replace("seen: alpha", "seen: gamma")
        .replace("seen: beta", "seen: epsilon")
    )
    blind.write_text(text, encoding="utf-8")
    result = medfm.concept_probe(
        emb, cohort, text_encoder=tower, knowledge=blind, cache=tmp_path / "c", overrides=("statistics.resamples=200",)
    )
    said = concept_sentence(result)
    assert "alone are worse than the black-box probe" in said and said in " ".join(str(result).split())
    rows = {r["metric"]: r for r in result.extras["concepts"]["black_box"]["rows"]}
    assert rows["auroc"]["difference"]["high"] < 0 and rows["auroc"]["black_box"]["value"] > 0.95


def test_label_columns_have_a_column_of_weights_each(knowledge, tmp_path):
    _, _, result = planted_result(knowledge, tmp_path, classes=3, target=["one", "two"])
    found = result.extras["concepts"]
    assert result.summary.task == "multilabel" and found["columns"] == ["one", "two"]
    weights = {f["finding"]: f["weights"] for f in found["findings"]}
    assert weights["alpha"]["one"]["mean"] > 0 > weights["alpha"].get("two", {"mean": -1})["mean"]
    assert "log odds of the label" in concepts_context(result)["unit"]


def test_the_section_of_the_report(knowledge, tmp_path):
    _, _, result = planted_result(knowledge, tmp_path, classes=3, label_set="xy", split=False)
    folder = result.save(tmp_path / "run")
    again = load_result(folder)
    assert again.extras == result.extras and again.id == result.id
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page == render_report(again)
    context = concepts_context(again)
    assert [c["name"] for c in context["classes"]] == ["x", "y", "z"] and context["several"]
    assert "label set xy" in context["source"] and "reviewed by: none" in context["source"]
    shares = [float(row["share"]) for c in context["classes"] for row in c["rows"]]
    assert max(shares) == pytest.approx(50) and min(shares) > 0
    for part in ("Which named findings carry it?", "black box", "alpha", "beta", context["sentence"]):
        assert part in page
    assert "gamma" not in page, "the label set has no such finding"
    assert "5 of 5" in page and "-0.000" not in page


def test_from_a_table_with_an_encoder_at_hand(table, tmp_path):
    done = run(table, out=tmp_path / "run", label_set="idrid")
    found = done.result.extras["concepts"]
    assert done.failed == 0 and found["asked"] == 9 and found["label_set"] == "idrid"
    assert done.result.provenance["text_fingerprint"] and done.result.summary.n_records == 16
    assert all(entry["kept"] <= 40 for entry in found["texts"])
    assert (tmp_path / "run" / "report.html").exists()
    same = run(table, label_set="idrid")
    assert same.result.extras["concepts"]["findings"] == found["findings"], "equal input, equal weights"


def test_the_untrained_self_stands_beside_where_it_is_asked_for(table):
    result = run(table, label_set="idrid", baseline="untrained").result
    assert "untrained themselves" in result.extras["untrained"]["why_not"]
    assert "untrained" not in run(table, label_set="idrid").result.extras


def test_long_findings_are_cut_and_the_note_says_so(table):
    long = "method.template=" + " ".join(["fundus"] * 45) + " {name}"
    result = run(table, long, label_set="idrid").result
    assert any("were cut off" in note for note in result.summary.notes)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"encoder": "imagenet-resnet50"}, CardError, "no text tower"),
        ({"knowledge": "retnia"}, UnknownNameError, "did you mean"),
        ({"label_set": "idrdi"}, UnknownNameError, "idrid"),
        ({"target": "number"}, EvaluationError, "measurement"),
        ({"encoder": None, "embeddings": "x.npz"}, ConfigError, "text tower"),
    ],
)
def test_refusals_say_what_to_do(table, settings, error, words):
    with pytest.raises(error, match=words):
        run(table, **settings)


def test_knowledge_without_findings_stops_before_any_record_is_read(table, knowledge, monkeypatch):
    import medfm.workflows.embed as embedding

    monkeypatch.setattr(embedding, "embed", lambda *_, **__: pytest.fail("a record was read"))
    with pytest.raises(ConfigError, match="no named findings"):
        run(table, knowledge=str(knowledge), label_set="none")


def test_knowledge_for_a_protocol_that_asks_nothing_and_findings_for_plain_embeddings():
    with pytest.raises(ConfigError, match="asks for no findings"):
        concept_plan("linear-probe@1", knowledge="retina")
    assert concept_plan("knn@1").id == "knn@1"
    cohort, emb, tower = planted()
    with pytest.raises(EvaluationError, match="similarities to findings"):
        evaluate(emb, cohort, "label", load_protocol("concept-probe@1"))
    with pytest.raises(ConfigError, match="'linear_probe', not 'concept_probe'"):
        medfm.concept_probe(emb, cohort, protocol="linear-probe@1", text_encoder=tower)
    other = replace(emb, provenance={**emb.provenance, "fingerprint": "0" * 64})
    with pytest.raises(ConfigError, match="fingerprints differ"):
        medfm.concept_probe(other, cohort, text_encoder=tower)
    assert FEATURES not in emb.provenance


def test_the_black_box_has_the_selection_of_the_concept_probe():
    plan = load_protocol("concept-probe@1", overrides=("method.folds=3", "method.metric=auroc", "scheme.folds=4"))
    box = black_box_plan(plan)
    assert box.method.kind == "linear_probe" and box.scheme == plan.scheme
    assert (box.method.selection.folds, box.method.selection.metric) == (3, "auroc")
