"""The report of a zero-shot result: what is shown, what is stamped, what is hidden."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflows"))
from tiny_results import tiny_result
from zero_shot_cases import FAST, one_column, planted, shapes_file

import medfm
from medfm.evaluation.zero_shot_sensitivity import BEST_F1_FLAW
from medfm.reporting.banners import banners
from medfm.reporting.card import result_card
from medfm.reporting.html import render_report
from medfm.reporting.protocols import protocol_changes
from medfm.reporting.result import Result
from medfm.reporting.text import one_screen
from medfm.reporting.thumbnails import confident_errors
from medfm.reporting.zero_shot import zero_shot_section, zero_shot_warnings


def made(folder: Path, case: Any = None, **settings: Any) -> Result:
    case = planted() if case is None else case
    given = {"label_set": "cohort"} if "E" in case.cohort.table else {}
    return medfm.zero_shot(
        case.embeddings,
        case.cohort,
        text_encoder=case.tower,
        knowledge=shapes_file(folder),
        overrides=FAST,
        embedding_map="none",
        **{**given, **settings},
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return made(tmp_path_factory.mktemp("k"), strategy=["synonyms@1", "class-name@1"])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return made(tmp_path_factory.mktemp("k"), protocol="merl-zeroshot@1")


def test_other_results_have_no_such_section() -> None:
    other = tiny_result()
    assert zero_shot_section(other) is None and zero_shot_warnings(other) == []
    assert "What was asked" not in render_report(other)


def test_prompts_with_their_sensitivity(result) -> None:
    section = zero_shot_section(result)
    assert section is not None
    main, names = section["strategies"]
    assert main["main"] and not names["main"] and main["count"] == "6 prompts"
    rows = result.extras["zero_shot"]["prompts"]
    assert main["table"].header == ("label", "prompt", "weight", "AUROC with all", "without it", "change")
    assert main["table"].rows[1][:2] == ("C", "disc.")
    assert main["table"].rows[1][5] == f"{rows[1]['change']:+.3f}"
    assert names["table"].header == ("label", "prompt", "weight")  # one prompt each: nothing to leave out
    html = render_report(result)
    for text in (
        "What was asked?",
        "disc.",
        "Prompts of class-name@1",
        "training on the test records",
        "reviewed by: none",
    ):
        assert text in html


def test_strategies_side_by_side(result) -> None:
    section = zero_shot_section(result)
    assert section is not None
    (comparison,) = section["comparisons"]
    row = result.extras["zero_shot"]["comparison"]["rows"][0]
    cells = comparison["table"].rows[0]
    assert cells[0] == "AUROC (macro)" and cells[3] == f"{row['difference']:+.3f}"
    assert "is better" in cells[-1] or cells[-1] == "no difference shown"
    assert "corrected over" in render_report(result)
    assert "main (synonyms@1)" in render_report(result)


def test_what_means_nothing_is_hidden(result) -> None:
    html, card = render_report(result), result_card(result)
    for text in ("Can the probabilities be trusted", "expected calibration error", "net benefit", "F1 (macro)"):
        assert text not in html
    for text in ("scheme.kind", "sensitivity (recall)"):
        assert text not in html
    assert "Scores are no probabilities" in html and "Scores are no probabilities" in card
    assert "zero-shot scoring" in html and "Nothing is fitted to labels" in html


def test_decisions_of_one_column_stay(tmp_path) -> None:
    html = render_report(made(tmp_path, one_column()))
    assert "Confusion matrix" in html and "balanced accuracy" in html and "Calibration" not in html


def test_stand_in_prompts_and_the_best_f1_are_stamped(published) -> None:
    found = {b.title: b for b in banners(published)}
    assert found["Not the published prompts"].level == "stop"
    assert found["The published best F1 is chosen on the test records"].text == BEST_F1_FLAW
    html = render_report(published)
    assert html.count(BEST_F1_FLAW.split(",")[0]) >= 2 and "Best F1, as published" in html
    assert "Not the published prompts" in one_screen(published) and "no figure here can count" in result_card(published)
    assert any("method.strategy: findings@1" in change for change in protocol_changes(published.protocol))


def test_without_a_prompt_file_problem_there_is_no_stamp(result) -> None:
    titles = [b.title for b in banners(result)]
    assert "Not the published prompts" not in titles and "Prompts not reviewed" in titles
    assert not any("best F1" in title for title in titles)


def test_where_a_file_lay_is_no_change_of_the_protocol(published) -> None:
    method = published.protocol.method.model_copy(
        update={"strategy": "file@1", "prompt_file": "x.json", "label_set": "mine", "knowledge": None}
    )
    changes = protocol_changes(published.protocol.model_copy(update={"method": method}))
    assert not [c for c in changes if c.startswith("method.")]
    method = method.model_copy(update={"lower_case": False})
    assert any(
        "method.lower_case: no" in c for c in protocol_changes(published.protocol.model_copy(update={"method": method}))
    )


def test_cut_texts_are_said(result) -> None:
    extras = {**result.extras["zero_shot"]}
    extras["texts"] = [{"text": "disc.", "encoded": "di", "tokens": 9, "kept": 3}]
    cut = Result(
        kind="zero_shot",
        protocol=result.protocol,
        summary=result.summary,
        predictions=result.predictions,
        extras={"zero_shot": extras},
    )
    assert any(b.title == "Prompts cut off" and b.text.startswith("1 prompt is") for b in banners(cut))
    html = render_report(cut)
    assert "9, cut to 3" in html and "What reaches the text tower" in html


def test_texts_are_escaped(tmp_path) -> None:
    case = one_column(names=("<b>x</b>", "square", "ellipse"))
    html = render_report(made(tmp_path, case, map_class={"<b>x</b>": "circle"}))
    assert "<b>x</b>" not in html and "&lt;b&gt;x" in html


def test_errors_of_label_columns_are_records_on_the_wrong_side(tmp_path) -> None:
    errors = confident_errors(made(tmp_path, planted(noise=4.0)))
    assert len(errors) == 8 and errors["score"].between(0.5, 1, inclusive="right").all()
    assert errors["record_id"].is_unique
    assert set(errors["truth"].str.split(": ").str[1]) == {"present", "absent"}
    assert (errors["truth"] != errors["predicted"]).all()
