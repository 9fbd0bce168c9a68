from __future__ import annotations

import pandas as pd
import pytest

from medfm.evaluation.summary import BatchEffect, Estimate
from medfm.reporting.maps import batch_plot, map_plots


def test_the_map_is_coloured_by_class_and_by_site(result):
    titles = [plot.title for plot in map_plots(result)]
    assert titles == ["Embedding by class", "Embedding by site"]
    assert all("UMAP" in plot.caption for plot in map_plots(result))


@pytest.mark.parametrize("sites", [None, "one site"])
def test_without_two_sites_there_is_one_map(make, result, sites):
    table = result.predictions.table.assign(site=sites)
    made = make(type(result.predictions)(table, "multiclass", result.predictions.classes, "cell_type"))
    assert [plot.title for plot in map_plots(made)] == ["Embedding by class"]


def test_some_unknown_sites_are_a_group(make, result):
    table = result.predictions.table.copy()
    table.loc[table["site"] == "Lab B", "site"] = None
    made = make(type(result.predictions)(table, "multiclass", result.predictions.classes, "cell_type"))
    assert [plot.title for plot in map_plots(made)][1] == "Embedding by site"


def test_values_and_labels_have_a_map(make, tasks):
    assert [p.title for p in map_plots(make(tasks["regression"]))] == ["Embedding by mcv_fl"]
    (plot,) = map_plots(make(tasks["multilabel"]))
    assert plot.title.startswith("Embedding by the label")


def test_no_map_no_figure(make):
    assert map_plots(make(embedding_map=None)) == []
    other = pd.DataFrame({"record_id": ["nobody"], "x": [0.0], "y": [0.0], "method": "PCA"})
    assert map_plots(make(embedding_map=other)) == []


def test_many_classes_end_in_others(make, result):
    table = result.predictions.of_variant().table
    names = [f"class {i % 26}" for i in range(len(table))]
    classes = tuple(f"class {i}" for i in range(26))
    table = table.assign(truth=names, predicted=names, **{f"score:{c}": 1 / 26 for c in classes})
    made = make(summary=result.summary)
    object.__setattr__(made, "predictions", type(result.predictions)(table, "multiclass", classes, "t"))
    assert map_plots(made)[0].title == "Embedding by class"


def test_the_batch_panel_says_both_figures(result):
    plot = batch_plot(result.batch_effect)
    assert plot is not None
    assert "balanced accuracy 0.710 (95 % CI 0.640 to 0.780" in plot.alt
    assert "20 nearest neighbours 0.830" in plot.alt
    assert "instead of the disease" in plot.caption


def test_half_a_batch_effect_is_shown():
    mixing = BatchEffect(column="scanner", sites=("a", "b"), chance=0.5, knn_mixing=0.2, k=5, note="Few patients.")
    plot = batch_plot(mixing)
    assert plot is not None and plot.caption.endswith("Few patients.") and "()" not in plot.caption
    point = Estimate(metric="balanced_accuracy", value=0.7)
    assert batch_plot(BatchEffect(column="site", sites=("a", "b"), balanced_accuracy=point, chance=0.5)) is not None


def test_no_batch_effect_no_figure():
    assert batch_plot(None) is None
    assert batch_plot(BatchEffect(column="site", sites=("a", "b"), chance=0.5)) is None
