"""Heat maps beside the surest errors: which class they ask for, what they cost, and that they never stop a run."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_picture_encoder import NAME, ready

import medfm
from medfm.core.errors import MedfmError
from medfm.embeddings.texts import text_cache
from medfm.encoders.explain_picture import heat_map
from medfm.evaluation.evaluate import Evaluation
from medfm.evaluation.predictions import MAIN
from medfm.reporting.explanations import KEY
from medfm.reporting.result import load_result
from medfm.reporting.thumbnails import confident_errors
from medfm.workflows import explanations
from medfm.workflows.explanations import EXPLAINED, NOT_KEPT, Directions, explained, probe_directions, text_directions
from medfm.workflows.few_shot import few_shot_table
from medfm.workflows.probe import probed
from medfm.workflows.probe_table import probe_table
from medfm.workflows.zero_shot import zero_shot_table

QUICK = ("statistics.resamples=30",)
ALONE = {"workers": 0}
MAPPED = {"a": "dr_none", "b": "dr_severe"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def table(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return ready(root, monkeypatch)


def probe_run(table: Path, out: Path | None = None, **settings: Any):
    settings = {
        "encoder": NAME,
        "weights": "random",
        "overrides": QUICK,
        "embedding_map": "none",
        "embed_settings": ALONE,
    } | settings
    return probe_table(table, out=out, **settings).result


def zero_shot_run(table: Path, out: Path, **settings: Any):
    settings = {
        "weights": "random",
        "overrides": QUICK,
        "map_class": MAPPED,
        "embedding_map": "none",
        "embed_settings": ALONE,
    } | settings
    return zero_shot_table(table, encoder=NAME, out=out, **settings).result


def checked_panels(folder: Path, roles: list[str]) -> dict[str, Any]:
    """The entry of a saved result, whose pictures hold as many panels as it says."""
    result = load_result(folder)
    entry = result.extras[KEY]
    assert 0 < len(entry["records"]) <= EXPLAINED and entry["notes"] == []
    errors = list(confident_errors(result)["record_id"])
    assert list(entry["records"]) == errors[: len(entry["records"])], "the surest come first"
    for record_id, about in entry["records"].items():
        assert [panel["role"] for panel in about["panels"]] == ["picture", *roles]
        wide, high = about["size"]
        with Image.open(io.BytesIO(result.thumbnails[record_id])) as image:
            assert image.format == "JPEG" and image.size == (wide * (1 + len(roles)), high)
    return entry


def test_a_probe_asks_for_the_predicted_and_the_true_class(table, tmp_path):
    result = probe_run(table, tmp_path / "run")
    entry = checked_panels(tmp_path / "run", ["predicted", "truth"])
    assert entry["method"] == "grad_cam" and "linear probe" in entry["score"]
    errors = confident_errors(result).set_index("record_id")
    for record_id, about in entry["records"].items():
        named = [panel["class"] for panel in about["panels"][1:]]
        assert named == [errors.loc[record_id, "predicted"], errors.loc[record_id, "truth"]]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Grad-CAM" in page and "(predicted)" in page and "untrained, so where it looked means nothing" in page


def test_zero_shot_asks_the_texts(table, tmp_path):
    zero_shot_run(table, tmp_path / "run")
    entry = checked_panels(tmp_path / "run", ["predicted", "truth"])
    assert "prompts of the class" in entry["score"]


def test_the_maps_are_the_same_as_by_hand(table, tmp_path, monkeypatch):
    """What is drawn is Grad-CAM towards the mean of the unit prompts of the class, by cosine."""
    seen: list[tuple[np.ndarray, bool]] = []

    def spy(encoder, record, toward=None, method="auto", *, cosine=False):
        seen.append((np.asarray(toward), cosine))
        return heat_map(encoder, record, toward, method, cosine=cosine)

    monkeypatch.setattr(explanations, "heat_map", spy)
    result = zero_shot_run(table, tmp_path / "run")
    encoder = medfm.load_encoder(NAME, weights="random")
    prompts: dict[str, list[str]] = {}
    for row in result.extras["zero_shot"]["prompts"]:
        prompts.setdefault(row["label"], []).append(row["text"])
    weights = {row["text"]: row["weight"] for row in result.extras["zero_shot"]["prompts"]}
    first = confident_errors(result).iloc[0]
    for (toward, cosine), name in zip(seen, (first["predicted"], first["truth"]), strict=False):
        vectors = encoder.encode_text(prompts[name]).numpy().astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        w = np.array([weights[t] for t in prompts[name]])
        np.testing.assert_allclose(toward, (w / w.sum()) @ vectors, atol=1e-5)
        assert cosine


@pytest.mark.parametrize("target", ["label", ["bright", "odd"]])
@pytest.mark.parametrize("split", [True, False])
def test_directions_of_a_probe_are_those_of_the_fold_that_tested_the_record(root, monkeypatch, target, split):
    """Embedding times direction, up to one constant per fold, is the log odds that the report gives."""
    cohort = medfm.load_cohort(ready(root, monkeypatch, split=split))
    emb = medfm.embed(medfm.load_encoder(NAME, weights="random"), cohort, workers=0)
    result, done = probed(emb, cohort, target, overrides=QUICK, embedding_map="none")
    directions = probe_directions(done, result)
    assert isinstance(directions, Directions) and not directions.cosine
    name = "b" if target == "label" else "odd"
    frame = result.predictions.of_variant(MAIN).table
    logit = np.log(frame[f"score:{name}"] / (1 - frame[f"score:{name}"]))
    values = emb.values[emb.rows(list(frame["record_id"]))]
    product = np.array([v @ directions.of(r, name) for v, r in zip(values, frame["record_id"], strict=True)])
    for fold in frame["fold"].unique():
        rest = (logit - product)[frame["fold"] == fold].to_numpy()
        np.testing.assert_allclose(rest, rest[0], atol=1e-4)
    if target == "label":
        one = frame["record_id"].iloc[0]
        np.testing.assert_array_equal(directions.of(one, "a"), -directions.of(one, "b"))
    assert directions.of("nobody", name) is None


def test_several_classes_and_numbers_have_directions_too(table):
    cohort = medfm.load_cohort(table)
    emb = medfm.embed(medfm.load_encoder(NAME, weights="random"), cohort, workers=0)
    frame = cohort.table.assign(
        three=np.array(list("xyz"))[np.arange(len(cohort)) % 3], size=np.linspace(1, 9, len(cohort))
    )
    wide = medfm.Cohort(frame, "retina", cohort.root)
    result, done = probed(emb, wide, "three", overrides=QUICK, embedding_map="none")
    directions = probe_directions(done, result)
    scores = result.predictions.of_variant(MAIN).table
    values = emb.values[emb.rows(list(scores["record_id"]))]
    logits = np.stack(
        [[v @ directions.of(r, c) for c in "xyz"] for v, r in zip(values, scores["record_id"], strict=True)]
    )
    log = np.log(scores[[f"score:{c}" for c in "xyz"]].to_numpy())
    gap = (log - log[:, :1]) - (logits - logits[:, :1])
    np.testing.assert_allclose(gap, np.tile(gap[0], (len(gap), 1)), atol=1e-4)
    number, done = probed(emb, wide, "size", overrides=QUICK, embedding_map="none")
    along = probe_directions(done, number)
    rows = number.predictions.of_variant(MAIN).table
    rest = rows["predicted"] - [
        v @ along.of(r, "")
        for v, r in zip(emb.values[emb.rows(list(rows["record_id"]))], rows["record_id"], strict=True)
    ]
    np.testing.assert_allclose(rest, rest.iloc[0], atol=1e-4)


def test_a_concept_probe_points_along_its_findings(table, tmp_path):
    from medfm.workflows.concept_probe import concept_plan

    plan = concept_plan("concept-probe@1", (*QUICK, "method.penalty=0.001"), label_set="idrid")
    probe_run(table, tmp_path / "run", protocol=plan, overrides=())
    entry = checked_panels(tmp_path / "run", ["predicted", "truth"])
    assert "weighted similarities to its findings" in entry["score"]


def test_switched_off(table, tmp_path):
    for number, run in enumerate((probe_run, zero_shot_run)):
        result = run(table, tmp_path / f"run{number}", explanations=False)
        assert result.extras[KEY] == {"why_not": "they were switched off"}
        page = (tmp_path / f"run{number}" / "report.html").read_text(encoding="utf-8")
        assert "No heat maps beside the pictures: they were switched off." in page and "Grad-CAM" not in page
        assert len(load_result(tmp_path / f"run{number}").thumbnails) > 0, "the pictures themselves are still there"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"protocol": "knn@1"}, NOT_KEPT),
        ({"protocol": "gradient-probe@1", "overrides": (*QUICK, "method.epochs=1", "method.seeds=1")}, NOT_KEPT),
        ({"encoder": "color-histogram", "weights": None}, "fixed formula"),
    ],
)
def test_why_there_are_none_is_recorded(table, tmp_path, settings, words):
    result = probe_run(table, tmp_path / "run", cohort={"modality": "retina"}, **settings)
    assert words in result.extras[KEY]["why_not"]
    assert words in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_embeddings_alone(table, tmp_path):
    from medfm.embeddings.export import save_embeddings

    cohort = medfm.load_cohort(table)
    save_embeddings(medfm.embed(medfm.load_encoder(NAME, weights="random"), cohort, workers=0), tmp_path / "e.npz")
    result = probe_run(table, tmp_path / "run", encoder=None, weights=None, embeddings=tmp_path / "e.npz")
    assert "only embeddings were given" in result.extras[KEY]["why_not"]


def test_few_shot_says_that_it_keeps_no_weights(table, tmp_path):
    run = few_shot_table(
        table,
        encoder=NAME,
        weights="random",
        out=tmp_path / "run",
        shots=(1, 2),
        draws=1,
        embed_settings=ALONE,
        overrides=QUICK,
        embedding_map="none",
    )
    assert run.result.extras[KEY] == {"why_not": NOT_KEPT}


@pytest.mark.parametrize("broken", [MedfmError("planted"), RuntimeError("out of memory"), ZeroDivisionError()])
def test_nothing_that_breaks_stops_the_run(table, tmp_path, monkeypatch, broken):
    calls = []

    def explode(*_: Any, **__: Any):
        calls.append(1)
        if len(calls) == 1:
            raise broken
        return heat_map(*_, **__)

    monkeypatch.setattr(explanations, "heat_map", explode)
    result = probe_run(table, tmp_path / "run")
    entry = result.extras[KEY]
    first = str(confident_errors(result)["record_id"].iloc[0])
    assert first not in entry["records"] and entry["records"]
    assert len(entry["notes"]) == 1 and first in entry["notes"][0]
    saved = load_result(tmp_path / "run")
    with Image.open(io.BytesIO(saved.thumbnails[first])) as image:
        assert max(image.size) <= 112, "the plain picture stands in"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Further errors, without heat maps" in page and "No heat map of record" in page


def test_when_every_map_breaks_the_page_says_why(table, tmp_path, monkeypatch):
    monkeypatch.setattr(explanations, "heat_map", lambda *_, **__: (_ for _ in ()).throw(MedfmError("planted")))
    result = probe_run(table, tmp_path / "run")
    assert result.extras[KEY]["records"] == {}
    assert "No heat maps beside the pictures: No heat map of record" in (tmp_path / "run" / "report.html").read_text()


def test_cost_is_bounded(table, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(explanations, "heat_map", lambda *a, **k: (calls.append(1), heat_map(*a, **k))[1])
    probe_run(table, tmp_path / "run")
    assert 0 < len(calls) <= 2 * EXPLAINED
    calls.clear()
    probe_run(table)
    assert not calls, "without a report nothing is drawn"


def test_other_modalities_and_bags_are_left_alone(table):
    cohort = medfm.load_cohort(table)
    emb = medfm.embed(medfm.load_encoder(NAME, weights="random"), cohort, workers=0)
    result, done = probed(emb, cohort, "label", overrides=QUICK, embedding_map="none")
    other = medfm.Cohort(cohort.table, "ecg", cohort.root)
    assert explained(result, other, None, NOT_KEPT)[0] is result
    bags, pictures = explained(replace(result, kind="mil"), cohort, None, NOT_KEPT)
    assert pictures is None and "bag" in bags.extras[KEY]["why_not"]
    bare = Evaluation(done.predictions, (), ())
    assert probe_directions(bare, result) == NOT_KEPT
    encoder = medfm.load_encoder(NAME, weights="random")
    assert text_directions(result, text_cache(encoder, None)) == NOT_KEPT
