"""The zero-shot workflow against figures computed by hand with numpy and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from zero_shot_cases import FAST, LABELS, WORDS, Tower, one_column, planted, shapes_file, unit

import medfm
from medfm.core.errors import CardError, ConfigError, EvaluationError, UnknownNameError
from medfm.evaluation.zero_shot_sensitivity import BEST_F1_FLAW
from medfm.reporting.result import load_result


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    return shapes_file(tmp_path)


def ask(case: Any, knowledge: Path, **settings: Any) -> Any:
    given = {"text_encoder": case.tower, "knowledge": knowledge, "overrides": FAST, "embedding_map": "none"}
    return medfm.zero_shot(case.embeddings, case.cohort, **{**given, **settings})


def by_hand(case: Any, texts: list[list[tuple[str, float]]]) -> np.ndarray:
    """Cosines of weighted prompts, one list per label."""
    columns = []
    for prompts in texts:
        rows = unit(case.tower.planted([t for t, _ in prompts]))
        columns.append(unit((np.array([w for _, w in prompts])[:, None] * rows).sum(axis=0)))
    return unit(case.vectors) @ np.stack(columns).T


SYNONYMS = [
    [("circle.", 0.5), ("disc.", 0.25), ("ring.", 0.25)],
    [("square.", 0.5), ("box.", 0.5)],
    [("ellipse.", 1.0)],
]


def test_figures_of_label_columns_are_scikit_learns(knowledge) -> None:
    case = planted()
    result = ask(case, knowledge, label_set="cohort")
    cosines = by_hand(case, SYNONYMS)
    table = result.predictions.table
    assert np.allclose(table[[f"cosine:{c}" for c in LABELS]], cosines, atol=1e-6)
    aurocs = [roc_auc_score(case.truth[:, i], cosines[:, i]) for i in range(3)]
    assert result.summary.estimate("auroc_macro").value == pytest.approx(np.mean(aurocs))
    found = {e.metric: e for e in result.summary.headline}
    expected = np.mean([average_precision_score(case.truth[:, i], cosines[:, i]) for i in range(3)])
    assert found["map"].value == pytest.approx(expected)
    assert "patient-clustered" in found["auroc_macro"].method
    rows = {row.name: {e.metric: e for e in row.estimates} for row in result.summary.per_class}
    for i, label in enumerate(LABELS):
        assert rows[label]["auroc"].value == pytest.approx(aurocs[i])
        assert "clustered by patient" in rows[label]["auroc"].method
        assert rows[label]["auroc"].low < aurocs[i] < rows[label]["auroc"].high
    assert result.kind == "zero_shot" and result.protocol.id == "zero-shot@1"


def test_what_needs_probabilities_is_not_there(knowledge) -> None:
    summary = ask(planted(), knowledge, label_set="cohort").summary
    assert summary.calibration is None and summary.decision == ()
    assert {e.metric for row in summary.per_class for e in row.estimates} == {"auroc", "average_precision"}


def test_figures_of_one_column(knowledge) -> None:
    case = one_column()
    result = ask(case, knowledge)
    cosines = by_hand(case, SYNONYMS)
    order = [WORDS.index(c) for c in result.predictions.classes]
    powers = np.exp(cosines / 0.07)
    softmax = powers / powers.sum(axis=1, keepdims=True)
    aurocs = [roc_auc_score(case.truth == i, softmax[:, i]) for i in order]
    assert result.summary.estimate("auroc_ovr_macro").value == pytest.approx(np.mean(aurocs))
    accuracy = balanced_accuracy_score(case.truth, cosines.argmax(axis=1))
    assert result.summary.estimate("balanced_accuracy").value == pytest.approx(accuracy)
    assert result.summary.calibration is None and result.summary.confusion
    plain = ask(case, knowledge, overrides=[*FAST, "method.multiclass_score=cosine"])
    aurocs = [roc_auc_score(case.truth == i, cosines[:, i]) for i in order]
    assert plain.summary.estimate("auroc_ovr_macro").value == pytest.approx(np.mean(aurocs))


def test_a_column_named_after_a_label_is_one_label(knowledge) -> None:
    case = planted(columns=("circle", "square", "ellipse"))
    result = ask(case, knowledge, target="square")
    assert (result.summary.task, result.summary.classes) == ("multilabel", ("square",))
    expected = roc_auc_score(case.truth[:, 1], by_hand(case, SYNONYMS)[:, 1])
    assert result.summary.estimate("auroc_macro").value == pytest.approx(expected)


def test_several_strategies_are_compared_as_medfm_compare_does(knowledge, tmp_path) -> None:
    case = planted()
    both = ask(case, knowledge, label_set="cohort", strategy=["class-name@1", "synonyms@1"])
    alone = [ask(case, knowledge, label_set="cohort", strategy=s) for s in ("class-name@1", "synonyms@1")]
    assert both.predictions.variants == ["main", "synonyms@1"]
    for metric in ("auroc_macro", "map"):
        assert both.summary.estimate(metric).value == alone[0].summary.estimate(metric).value
        assert both.summary.estimate(metric, "synonyms@1").value == alone[1].summary.estimate(metric).value
    folders = [r.save(tmp_path / f"r{i}") for i, r in enumerate(alone)]
    outside = medfm.compare(*folders, resamples=40).to_dict()
    inside = both.extras["zero_shot"]["comparison"]
    assert (inside["reference"], inside["rows"][0]["other"]) == ("class-name@1", "synonyms@1")
    keys = ("metric", "first", "second", "difference", "low", "high", "p", "p_holm")
    assert [[row[k] for k in keys] for row in inside["rows"]] == [[row[k] for k in keys] for row in outside["rows"]]
    assert alone[0].extras["zero_shot"]["comparison"] is None
    assert alone[0].protocol.method.strategy == "class-name@1"


def test_the_table_of_prompts_says_what_each_is_worth(knowledge) -> None:
    case = planted()
    rows = ask(case, knowledge, label_set="cohort").extras["zero_shot"]["prompts"]
    assert [(r["label"], r["text"], r["weight"]) for r in rows] == [
        ("C", "circle.", 0.5),
        ("C", "disc.", 0.25),
        ("C", "ring.", 0.25),
        ("S", "square.", 0.5),
        ("S", "box.", 0.5),
        ("E", "ellipse.", 1.0),
    ]
    whole = roc_auc_score(case.truth[:, 0], by_hand(case, SYNONYMS)[:, 0])
    left = roc_auc_score(case.truth[:, 0], by_hand(case, [[("circle.", 0.5), ("ring.", 0.25)]])[:, 0])
    assert rows[1]["auroc"] == pytest.approx(whole) and rows[1]["without"] == pytest.approx(left)
    assert rows[1]["change"] == pytest.approx(left - whole)
    assert rows[5]["without"] is None and rows[5]["change"] is None


def test_the_sensitivity_table_is_bounded(knowledge, monkeypatch) -> None:
    from medfm.workflows import zero_shot_extras

    monkeypatch.setattr(zero_shot_extras, "_MOST_SCORES", 10)
    case = planted(n=1500)
    found = ask(case, knowledge, label_set="cohort", overrides=["statistics.resamples=0"]).extras["zero_shot"]
    assert "random sample of 1000 records" in found["sensitivity_note"]
    assert found["prompts"][0]["without"] is not None


def test_text_vectors_are_kept_by_the_towers_fingerprint(knowledge, tmp_path) -> None:
    case = planted()
    ask(case, knowledge, label_set="cohort", cache=tmp_path / "cache")
    assert sorted(case.tower.asked) == sorted(t for group in SYNONYMS for t, _ in group)
    again, other = Tower(), Tower()
    other.text_fingerprint = "9" * 64
    ask(case, knowledge, label_set="cohort", cache=tmp_path / "cache", text_encoder=again)
    assert again.asked == []
    ask(case, knowledge, label_set="cohort", cache=tmp_path / "cache", text_encoder=other)
    assert len(other.asked) == 6
    folders = sorted(path.name for path in (tmp_path / "cache" / "embeddings").iterdir())
    assert folders == sorted(f"{tower.text_fingerprint}-fp32" for tower in (again, other))


def test_provenance_says_what_was_asked_with(knowledge) -> None:
    case = planted()
    result = ask(case, knowledge, label_set="cohort")
    about, extras = result.provenance, result.extras["zero_shot"]
    assert about["text_fingerprint"] == case.tower.text_fingerprint
    assert about["knowledge"] == "shapes, 3" and len(about["knowledge_sha256"]) == 64
    assert about["prompts_sha256"] == extras["strategies"][0]["sha256"]
    assert extras["classes"] == {"C": ["circle"], "S": ["square"], "E": ["ellipse"]}
    assert extras["strategies"][0]["strategy"] == "synonyms@1" and extras["strategies"][0]["prompts"] == 6
    assert str(knowledge) not in str(result.protocol.to_dict()) + str(result.config) + str(about)
    assert result.provenance["weights_note"] == "planted directions"


def test_a_result_is_read_back_as_it_was(knowledge, tmp_path) -> None:
    result = ask(planted(), knowledge, label_set="cohort", strategy=["synonyms@1", "class-name@1"])
    again = load_result(result.save(tmp_path / "run"))
    assert again.id == result.id and again.extras == result.extras and again.protocol == result.protocol
    assert (tmp_path / "run" / "report.html").read_text().count("circle.") >= 2


def test_the_published_protocol_without_its_prompts_is_stamped(knowledge) -> None:
    case = planted()
    result = ask(case, knowledge, label_set="cohort", protocol="merl-zeroshot@1")
    extras = result.extras["zero_shot"]
    assert extras["stand_in"] and result.protocol.method.strategy == "findings@1"
    assert extras["best_f1_flaw"] == BEST_F1_FLAW and [r["label"] for r in extras["best_f1"]] == list(LABELS)
    assert [e.metric for e in result.summary.headline] == ["auroc_macro"]


def test_the_published_protocol_with_a_prompt_file(knowledge, tmp_path) -> None:
    import json

    file = tmp_path / "theirs.json"
    file.write_text(json.dumps({"C": "CIRCLE disc.", "S": "box", "E": "ellipse", "X": "noise"}))
    case = planted()
    result = ask(case, knowledge, protocol="merl-zeroshot@1", prompt_file=file, target=list(LABELS))
    extras = result.extras["zero_shot"]
    assert not extras["stand_in"] and extras["prompt_file"]["name"] == "theirs.json"
    assert extras["knowledge"] is None and extras["classes"] == {}
    assert result.protocol.method.prompt_file == "theirs.json" and result.protocol.method.strategy == "file@1"
    cosines = by_hand(case, [[("circle disc.", 1.0)], [("box", 1.0)], [("ellipse", 1.0)]])
    expected = np.mean([roc_auc_score(case.truth[:, i], cosines[:, i]) for i in range(3)])
    assert result.summary.estimate("auroc_macro").value == pytest.approx(expected)
    assert case.tower.asked == ["circle disc.", "box", "ellipse"]  # lower-cased, and only what is needed


def test_weights_without_labels(knowledge) -> None:
    case = planted()
    plain = ask(case, knowledge, label_set="cohort")
    found = ask(case, knowledge, label_set="cohort", overrides=[*FAST, "method.weighting=consensus"])
    assert found.extras["zero_shot"]["strategies"][0]["strategy"] == "synonyms@1+consensus@1"
    weights = [[r["weight"] for r in x.extras["zero_shot"]["prompts"]] for x in (plain, found)]
    assert weights[0][:3] != weights[1][:3] and weights[0][3:] == weights[1][3:]
    assert any("weighted by 'consensus'" in note for note in found.summary.notes)
    with pytest.raises(EvaluationError, match="share templates"):
        ask(case, knowledge, label_set="cohort", overrides=[*FAST, "method.weighting=zpe"])


def test_templates_of_ones_own(knowledge) -> None:
    case = planted()
    settings = [*FAST, "method.strategy=templates@1", 'method.templates=["noise {name}"]']
    found = ask(case, knowledge, label_set="cohort", overrides=settings)
    assert [r["text"] for r in found.extras["zero_shot"]["prompts"]] == [
        "noise circle",
        "noise square",
        "noise ellipse",
    ]
    with pytest.raises(ConfigError, match="must hold exactly"):
        ask(case, knowledge, label_set="cohort", overrides=[*settings, "method.templates=[noise]"])


def test_each_record_in_its_own_context(tmp_path) -> None:
    context = {"age_and_sex": "{name} {age} {sex}.", "age": "{name} {age}.", "sex": "{name} {sex}."}
    knowledge = shapes_file(tmp_path, context=context)
    case = one_column(sex=["m", "f"] * 60)
    for word in ("male", "female"):
        case.tower.planted.words[word] = np.random.default_rng(len(word)).normal(size=32)
    result = ask(case, knowledge, strategy="context@1")
    cosines = np.empty((120, 3))
    for sex, rows in (("male", slice(0, None, 2)), ("female", slice(1, None, 2))):
        cosines[rows] = by_hand(case, [[(f"{w} {sex}.", 1.0)] for w in WORDS])[rows]
    order = [WORDS.index(c) for c in result.predictions.classes]
    shown = result.predictions.table[[f"cosine:{c}" for c in result.predictions.classes]]
    assert np.allclose(shown, cosines[:, order], atol=1e-6)
    assert any("own age and sex" in note for note in result.summary.notes)
    assert result.extras["zero_shot"]["prompts"][0]["without"] is None


def test_a_union_of_classes_scores_as_its_best(knowledge) -> None:
    case = one_column(names=("round thing", "square", "round thing"))
    result = ask(case, knowledge, map_class={"round thing": "circle+ellipse"}, strategy="class-name@1")
    both = by_hand(case, [[("circle.", 1)], [("ellipse.", 1)]]).max(axis=1)
    assert np.allclose(result.predictions.table["cosine:round thing"], both, atol=1e-6)


def test_lost_records_are_left_out_and_said(knowledge) -> None:
    case = planted()
    part = replace(case.embeddings, values=case.vectors[5:], record_ids=case.embeddings.record_ids[5:])
    result = ask(case, knowledge, label_set="cohort")
    less = medfm.zero_shot(
        part,
        case.cohort,
        text_encoder=case.tower,
        knowledge=knowledge,
        label_set="cohort",
        overrides=FAST,
        embedding_map="none",
    )
    assert result.summary.n_records == 120 and less.summary.n_records == 115
    assert any("5 of 120 records have no embedding" in note for note in less.summary.notes)


def test_embeddings_of_another_encoder_are_refused(knowledge) -> None:
    case = planted()
    case.tower.fingerprint = "8" * 64
    with pytest.raises(ConfigError, match="fingerprints differ"):
        ask(case, knowledge, label_set="cohort")
    with pytest.raises(ConfigError, match="text tower of their encoder"):
        ask(case, knowledge, label_set="cohort", text_encoder=None)


def test_embeddings_of_another_width_are_refused(knowledge) -> None:
    case = planted()
    wide = replace(case.embeddings, values=np.ones((120, 7), dtype=np.float32))
    with pytest.raises(EvaluationError, match="one space"):
        medfm.zero_shot(wide, case.cohort, text_encoder=case.tower, knowledge=knowledge, label_set="cohort")


def test_what_is_missing_comes_out_before_the_records_are_embedded(knowledge) -> None:
    class Mute(Tower):
        text_fingerprint = ""  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__()
            self.text_fingerprint = ""

        def encode_text(self, texts: list[str]) -> Any:
            raise CardError("The encoder has no text tower.")

        def __call__(self, batch: Any) -> Any:
            raise AssertionError("a record was embedded")

    case = planted()
    with pytest.raises(CardError, match="no text tower"):
        medfm.zero_shot(Mute(), case.cohort, knowledge=knowledge, label_set="cohort")
    # No prompt: said before the tower is even asked.
    with pytest.raises(ConfigError, match="No prompt can be made for 'C', 'S', 'E'"):
        medfm.zero_shot(Mute(), case.cohort, list(LABELS), knowledge=knowledge)


def test_wrong_requests(knowledge) -> None:
    case = planted()
    with pytest.raises(UnknownNameError, match="did you mean 'synonyms@1'"):
        ask(case, knowledge, label_set="cohort", strategy="synonym@1")
    with pytest.raises(ConfigError, match="--prompt-file"):
        ask(case, knowledge, label_set="cohort", strategy="file@1")
    with pytest.raises(ConfigError, match="not 'zero_shot'"):
        ask(case, knowledge, protocol="linear-probe@1")
    with pytest.raises(UnknownNameError, match="label set"):
        ask(case, knowledge, label_set="cohrt")
    with pytest.raises(EvaluationError, match="medfm zeroshot runs it"):
        medfm.workflows.probe.probe(case.embeddings, case.cohort, ["C"], "zero-shot@1")


def test_the_public_name() -> None:
    from medfm.workflows.zero_shot import zero_shot

    assert medfm.zero_shot is zero_shot
