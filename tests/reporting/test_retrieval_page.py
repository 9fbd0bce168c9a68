"""The section on a retrieval: figures, ranks, examples; texts only where they were asked for; escaping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_results import tiny_result

from medfm.evaluation.metrics import list_metrics
from medfm.evaluation.protocol import Protocol, StatisticsPlan
from medfm.evaluation.retrieval import Texts, chances, headline_metrics, retrieval_predictions
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.retrieval_summary import summarise_retrieval
from medfm.reporting.card import result_card
from medfm.reporting.html import render_report
from medfm.reporting.result import Result, load_result
from medfm.reporting.retrieval import examples, figure_table, rank_plot, retrieval_section
from medfm.reporting.retrieval_words import retrieval_words
from medfm.reporting.verdict import verdict
from medfm.reporting.words import word

EVIL = "<script>alert(1)</script>"


def made(n: int = 40, noise: float = 0.5, **changes: Any) -> Result:
    rng = np.random.default_rng(0)
    method = Retrieval()
    texts = Texts.of([f"{EVIL} {i // 2}" for i in range(n)])
    vectors = rng.normal(size=(len(texts.distinct), 12)).astype(np.float32)
    values = vectors[texts.code] + noise * rng.normal(size=(n, 12)).astype(np.float32)
    records = pd.DataFrame(
        {
            "record_id": [f"r{i:02d}{EVIL if i == 0 else ''}" for i in range(n)],
            "patient_id": [f"P{i // 2}" for i in range(n)],
        }
    )
    predictions, notes = retrieval_predictions(values, records, method, texts=texts, text_values=vectors)
    plan = StatisticsPlan(resamples=50)
    names = headline_metrics(method)
    settings: dict[str, Any] = {
        "kind": "retrieval",
        "protocol": Protocol(id="mine@1", title="Mine", method=method, statistics=plan),
        "summary": summarise_retrieval(predictions, plan, names, said=notes),
        "predictions": predictions,
        "provenance": {"encoder": "tiny", "weights_kind": "local file"},
        "extras": {"chance": chances(predictions, names)},
    }
    return Result(**(settings | changes))


def test_the_page_shows_figures_ranks_and_examples() -> None:
    result = made()
    page = render_report(result)
    assert page == render_report(made())
    for text in ("Does the search find", "Ranks, record to text", "Text to record: worst queries", "guessing: 0.050"):
        assert text in page
    assert "Only record ids are shown" in page
    assert EVIL not in page and "&lt;script&gt;" in page
    assert verdict(result).startswith("Better than guessing")
    assert "Most confident errors" not in page and "Confusion" not in page


def test_texts_are_shown_escaped_and_cut() -> None:
    texts = {f"r{i:02d}": f"{EVIL} " + "long " * 200 for i in range(1, 40)}
    result = made(extras={"chance": {}, "shown_texts": texts})
    page = render_report(result)
    assert "text found" in page and EVIL not in page and "…" in page and "long " * 100 not in page


def test_a_saved_result_is_the_same_and_pictures_do_not_trip_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = made()
    result.save(tmp_path / "out", images={"r01": np.zeros((8, 8, 3), np.uint8)})
    again = load_result(tmp_path / "out")
    assert again.id == result.id and again.summary == result.summary
    front = yaml.safe_load(result_card(again).split("---")[1])
    (entry,) = front["model-index"][0]["results"]
    assert {m["type"] for m in entry["metrics"]} == {e.metric for e in result.summary.headline}


def test_the_table_has_a_column_per_direction() -> None:
    table = figure_table(made())
    assert table.header == ("figure", "record to text", "guessing", "text to record", "guessing")
    rows = {row[0]: row for row in table.rows}
    assert rows["mean average precision"][1] == "–" and rows["mean reciprocal rank"][3] == "–"
    assert rows["R@1"][2] == "0.050"


def test_examples_are_the_best_and_the_worst() -> None:
    table = made(noise=2.0).predictions.table
    best, worst = examples(table, "record_to_text")
    ranks = np.sort(table["record_to_text:rank"].to_numpy())
    assert best["record_to_text:rank"].tolist() == ranks[:5].tolist()
    assert worst["record_to_text:rank"].tolist() == ranks[::-1][:5].tolist()
    assert len(examples(table.head(2), "record_to_text")[0]) == 2


@pytest.mark.parametrize("n", [1, 2, 40])
def test_the_picture_of_ranks_at_any_size(n: int) -> None:
    result = made(n)
    plot = rank_plot(result.predictions.table, "text_to_record")
    assert plot.uri.startswith("data:image/svg") and f"of {n} candidates" in plot.alt


def test_every_metric_has_words_and_others_are_left_alone() -> None:
    for name in list_metrics("retrieval"):
        found = retrieval_words(name)
        assert found is not None and found == (word(name).title, word(name).meaning), name
    assert retrieval_words("auroc") is None and retrieval_words("record_to_text_nothing") is None
    assert retrieval_section(tiny_result()) is None
