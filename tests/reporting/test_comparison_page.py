"""The page of a comparison: it says what the comparison says, and nothing from outside gets in."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medfm.evaluation.predictions import Predictions
from medfm.reporting.comparison import comparison_page, forest_plot
from medfm.workflows.compare import compare


@pytest.fixture
def pair(make, tasks):
    """The same records; the weak result has had the scores of two thirds of them shuffled."""
    strong = tasks["multiclass"].of_variant()
    table = strong.table.copy()
    rows = np.flatnonzero(np.arange(len(table)) % 3 > 0)
    columns = [f"score:{name}" for name in strong.classes]
    shuffled = table.loc[np.random.default_rng(0).permutation(rows), columns].to_numpy()
    table.loc[rows, columns] = shuffled
    table["predicted"] = np.array(strong.classes)[table[columns].to_numpy().argmax(axis=1)]
    weak = Predictions(table, strong.task, strong.classes, strong.target)
    return make(weak, name="weak"), make(strong, name="strong <b>")


@pytest.fixture
def found(pair):
    return compare(*pair, resamples=400, require_better="balanced_accuracy")


def test_the_page_names_the_correction(pair, found):
    other = comparison_page(compare(*pair, resamples=400, correction="bh").to_dict())
    assert "p (BH)" in other and "Benjamini and Hochberg&#39;s correction" in other and "p (Holm)" not in other
    data = found.to_dict()
    del data["correction"]
    assert "p (Holm)" in comparison_page(data) and "BH" not in comparison_page(data)


def test_every_figure_of_the_comparison_is_on_the_page(found):
    page = comparison_page(found.to_dict())
    for row in found.rows:
        assert f"{row.found.difference:+.3f}" in page
        assert f"{row.found.low:+.3f} to {row.found.high:+.3f}" in page
        assert f">{row.found.first:.3f}<" in page and f">{row.found.second:.3f}<" in page
    assert "Required: better on balanced_accuracy: yes." in page
    assert page.count('data-label="difference"') == len(found.rows)


def test_the_page_is_self_contained_and_escaped(found):
    page = comparison_page(found.to_dict())
    assert "strong &lt;b&gt;" in page and "<b>" not in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert page == comparison_page(json.loads(json.dumps(found.to_dict())))


def test_saving_writes_the_page_beside_the_json(found, tmp_path):
    found.save(tmp_path / "sub" / "compare.json")
    assert (tmp_path / "sub" / "compare.html").read_text() == comparison_page(found.to_dict())
    assert json.loads((tmp_path / "sub" / "compare.json").read_text()) == json.loads(json.dumps(found.to_dict()))


def test_a_gain_points_to_the_right_whatever_the_metric_counts(found, monkeypatch):
    """A lower Brier score is drawn on the side of the better result, as a higher accuracy is."""
    from medfm.reporting import comparison

    drawn = []

    def catch(paint, height, width=4.4):
        from matplotlib.figure import Figure

        figure = Figure()
        paint(figure)
        drawn.append(figure.axes[0])
        return "data:,"

    monkeypatch.setattr(comparison, "draw", catch)
    rows = [row for row in found.to_dict()["rows"] if row["winner"] == "other"]
    assert {row["better"] for row in rows} == {"higher", "lower"}
    plot = forest_plot(rows, 0.95)
    places = [float(line.get_xdata()[0]) for line in drawn[0].lines if line.get_marker() == "D"]
    assert len(places) == len(rows) and min(places) > 0
    assert "Turned" in plot.caption
    assert "Turned" not in forest_plot([row for row in rows if row["better"] == "higher"], 0.95).caption


def test_what_cannot_be_compared_is_a_dash_and_not_drawn(found):
    data = found.to_dict()
    lost = {**data["rows"][0], **dict.fromkeys(("first", "second", "difference", "low", "high", "p", "p_holm"))}
    assert forest_plot([lost], 0.95) is None
    page = comparison_page({**data, "rows": [{**lost, "winner": None}]})
    assert page.count(">–<") == 6 and "<img" not in page
