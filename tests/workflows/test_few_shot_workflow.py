"""The few-shot workflow: texts, tokens, curve, comparison, saving, and what it says when something is missing."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from zero_shot_cases import one_column, shapes_file

import medfm
from medfm.cohorts.synthesize import synthesize
from medfm.core.errors import CardError, ConfigError, EvaluationError
from medfm.embeddings.token_view import TokenView, map_tokens
from medfm.reporting.few_shot import curve_lines, few_shot_section
from medfm.reporting.html import render_report
from medfm.workflows.embed import embed
from medfm.workflows.few_shot import few_shot, few_shot_plan
from medfm.workflows.few_shot_texts import own_scale

FAST = ("statistics.resamples=30",)


@pytest.fixture
def case(tmp_path):
    made = one_column(150, noise=0.7)
    split = np.where(np.arange(150) < 90, "train", "test")
    cohort = made.cohort.__class__(**{**made.cohort.__dict__, "table": made.cohort.table.assign(split=split)})
    return SimpleNamespace(**{**vars(made), "cohort": cohort}, knowledge=shapes_file(tmp_path))


def run(case, protocol="tip-adapter@1", **settings):
    settings = {"shots": (1, 4), "draws": 2, "knowledge": case.knowledge, "overrides": FAST, **settings}
    return few_shot(
        case.embeddings, case.cohort, "label", protocol, text_encoder=case.tower, embedding_map="none", **settings
    )


def test_result_curve_comparison_and_texts(case, tmp_path):
    result = run(case)
    extras = result.extras["few_shot"]
    assert result.kind == "few_shot" and extras["levels"] == [1, 4]
    metrics = [e.metric for e in result.summary.headline]
    series = {(row["series"], row["shots"]) for row in extras["curve"]}
    assert series == {
        ("tip-adapter@1", 1), ("tip-adapter@1", 4), ("linear-probe", 1), ("linear-probe", 4), ("zero-shot", None)
    }  # fmt: skip
    assert len(extras["curve"]) == 5 * len(metrics)
    head = next(
        r for r in extras["curve"] if (r["series"], r["shots"], r["metric"]) == ("tip-adapter@1", 4, metrics[0])
    )
    estimate = result.summary.headline[0]
    assert (head["value"], head["low"], head["high"]) == (estimate.value, estimate.low, estimate.high)
    assert len(head["draws"]) == 2 and np.mean(head["draws"]) == pytest.approx(head["value"], abs=1e-9)
    rows = extras["comparison"]["rows"]
    assert len(rows) == 2 * len(metrics) and all(row["p_holm"] is None or row["p_holm"] >= row["p"] for row in rows)
    first = next(r for r in rows if r["shots"] == 4 and r["metric"] == metrics[0])
    assert first["second"] == pytest.approx(estimate.value) and first["difference"] == pytest.approx(
        first["second"] - first["first"]
    )
    assert {row["label"] for row in extras["texts"]["prompts"]} == {"circle", "square", "ellipse"}
    assert result.provenance["prompts_sha256"] and result.provenance["knowledge_sha256"]
    folder = result.save(tmp_path / "run")
    again = medfm.load_result(folder)
    assert again.id == result.id and again.extras == result.extras
    html = (folder / "report.html").read_text(encoding="utf-8")
    for part in ("How far with few labels?", "plain linear probe", "Learning curve", "few-shot adaptation"):
        assert part in html
    assert str(tmp_path) not in html and str(tmp_path) not in (folder / "config.yaml").read_text()


def test_page_has_two_curves_and_words(case):
    result = run(case)
    section = few_shot_section(result)
    assert [plot.title for plot in section["plots"]] == [
        "balanced accuracy by shots",
        "AUROC (one-vs-rest, macro) by shots",
    ]
    assert "zero-shot" in section["plots"][0].alt and section["draws"] == 2
    assert "tip-adapter@1  1: " in "\n".join(curve_lines(result))
    assert render_report(result) == render_report(result)


def test_other_results_have_no_curve(case):
    plain = medfm.linear_probe(case.embeddings, case.cohort, "label", embedding_map="none", overrides=FAST)
    assert few_shot_section(plain) is None and curve_lines(plain) == []


def test_published_choice_on_test_is_stamped(case):
    result = run(case, "tip-adapter-f-published@1", overrides=(*FAST, "method.training.epochs=2"))
    html = render_report(result)
    assert "Settings chosen on the test records" in html
    assert "Settings chosen on the test records" not in render_report(run(case))


def test_same_shots_can_be_compared_across_results(case):
    first, second = run(case), run(case, "zero-shot-lp@1")
    found = medfm.compare(first, second)
    assert found.overlaps[0].n_common == 60
    assert not any("only the" in note for note in found.notes)


def test_methods_on_embeddings_need_no_text_tower(case):
    result = few_shot(
        case.embeddings, case.cohort, "label", "flair-lp@1", shots=(2,), draws=2, embedding_map="none", overrides=FAST
    )
    assert result.extras["few_shot"]["texts"] is None
    assert "zero-shot" not in result.predictions.variants


def test_a_class_can_be_left_out(case):
    gone, *kept = sorted(set(case.cohort.column("label").astype(str)))
    result = few_shot(
        case.embeddings, case.cohort, "label", "flair-lp@1", shots=(2,), draws=2, leave_out=(gone,), embedding_map="none",
        overrides=FAST,
    )  # fmt: skip
    assert list(result.predictions.classes) == kept
    assert any(f"records of the class {gone} are left out" in note for note in result.summary.notes)
    with pytest.raises(ConfigError, match="No record has the class 'nothing'"):
        few_shot(
            case.embeddings, case.cohort, "label", "flair-lp@1", shots=(2,), leave_out=("nothing",), overrides=FAST
        )


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"protocol": "knn@1"}, EvaluationError, "not fitted on shots"),
        ({"protocol": "flair-lp@1"}, ConfigError, "prompts change nothing"),
        ({"strategy": "context@1"}, ConfigError, "one vector per class"),
        ({"shots": (500,)}, EvaluationError, "fewer than 500 shots"),
        ({"shots": (4, 1)}, ConfigError, "rise"),
        ({"map_class": {"nothing": "circle"}}, ConfigError, "nothing"),
        ({"protocol": "attentive-probe@1", "knowledge": None}, ConfigError, "holds none"),
    ],
)
def test_wrong_requests(case, settings, kind, text):
    with pytest.raises(kind, match=text):
        run(case, **settings)


def test_texts_are_missing_without_a_tower(case):
    with pytest.raises(ConfigError, match="text tower"):
        few_shot(case.embeddings, case.cohort, "label", "tip-adapter@1", knowledge=case.knowledge)


def test_several_label_columns_are_refused(case):
    with pytest.raises(EvaluationError, match="single column"):
        few_shot(case.embeddings, case.cohort, ["label", "split"], "flair-lp@1")


def test_shots_and_prompts_go_into_the_plan():
    plan = few_shot_plan("tip-adapter@1", ("method.scale=7",), shots=(1, 3), draws=4, prompts={"prompt_file": "p.json"})
    assert plan.few_shot.shots == (1, 3) and plan.few_shot.draws == 4 and plan.method.scale == 7
    assert plan.method.prompts.strategy == "file@1" and plan.method.prompts.prompt_file == "p.json"
    assert few_shot_plan("linear-probe@1").few_shot.shots == (1, 2, 4, 8, 16)


def test_a_prompt_file_by_name_only(case, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"circle": "circle", "square": "square", "ellipse": "ellipse"}))
    result = run(case, knowledge=None, prompt_file=path)
    assert result.protocol.method.prompts.prompt_file == "p.json"
    assert result.provenance["prompt_file_sha256"] and result.extras["few_shot"]["texts"]["strategy"] == "file@1"


def test_the_networks_own_multiplier():
    module = SimpleNamespace(logit_scale=torch.tensor(3.0))
    assert own_scale(SimpleNamespace(module=module)) == pytest.approx(math.exp(3))
    assert own_scale(SimpleNamespace()) is None


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells") / "c"
    synthesize("blood_cell", folder, records=60, size=32)
    return medfm.load_cohort(folder / "labels.csv", modality="blood_cell")


def test_tokens_pass_through_the_store(cells, tmp_path):
    encoder = medfm.load_encoder("dinov2-tiny", weights="random", device="cpu")
    view = TokenView(encoder)
    part = cells.subset(np.arange(len(cells)) < 5)
    assert view.fingerprint != encoder.fingerprint and view.embedding_dim == np.prod(view.shape)
    stored = embed(view, part, collect=False, flush_every=2, cache=str(tmp_path / "cache"), workers=0)
    found = map_tokens(stored, view.shape, tmp_path / "t.npy")
    batch = torch.stack([encoder.preprocess(part.read(i)) for i in range(5)])
    np.testing.assert_allclose(found, encoder.tokens(batch).numpy(), atol=1e-5)
    again = embed(view, part, collect=False, cache=str(tmp_path / "cache"), workers=0)
    assert again.provenance["run"]["computed"] == 0
    assert map_tokens(embed(view, part.subset(np.zeros(5, bool)), collect=False), view.shape, "x").shape[0] == 0


@pytest.mark.parametrize("protocol", ["attentive-probe@1", "moment-probe@1"])
def test_token_methods_from_files(cells, protocol, tmp_path):
    more = ("method.width=8",) if "moment" in protocol else ("method.training.epochs=2",)
    result = few_shot(
        medfm.load_encoder("dinov2-tiny", weights="random", device="cpu"), cells, "label", protocol, shots=(1, 2), draws=1,
        embedding_map="none", overrides=(*FAST, *more), cache=tmp_path / "cache", embed_settings={"workers": 0},
    )  # fmt: skip
    assert result.extras["few_shot"]["levels"] == [1, 2]
    assert not list((tmp_path / "cache").glob(".tokens-*"))


def test_an_encoder_without_tokens_says_so(cells):
    encoder = medfm.load_encoder("color-histogram", device="cpu")
    with pytest.raises(CardError, match=r"no patch tokens[\s\S]*few-shot-lp@1"):
        few_shot(encoder, cells, "label", "attentive-probe@1", shots=(1,), embed_settings={"workers": 0})


def test_an_encoder_without_texts_says_so_before_reading(cells, tmp_path):
    encoder = medfm.load_encoder("color-histogram", device="cpu")
    path = tmp_path / "p.json"
    path.write_text(json.dumps({name: name for name in cells.column("label").unique()}))
    with pytest.raises(CardError, match="no text tower"):
        few_shot(encoder, cells, "label", "tip-adapter@1", shots=(1,), prompt_file=path)
