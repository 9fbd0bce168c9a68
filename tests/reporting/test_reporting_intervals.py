from __future__ import annotations

import pytest

from medfm.evaluation.protocol import KNN
from medfm.evaluation.summary import ClassRow, Estimate
from medfm.reporting.intervals import class_plot, main_variant, regression_plots, variant_plot


def estimate(metric: str, value: float | None, variant: str = "main") -> Estimate:
    known = value is not None
    return Estimate(
        metric=metric,
        value=value,
        low=value - 0.1 if known else None,
        high=value + 0.1 if known else None,
        variant=variant,
    )


def with_variants(result, *variants: tuple[str, float | None]):
    metric = result.summary.headline[0].metric
    made = tuple(estimate(metric, value, name) for name, value in variants)
    return result.summary.model_copy(update={"variants": made})


def test_classes_show_sensitivity_and_f1(result):
    plot = class_plot(result.summary.per_class)
    assert plot is not None
    assert plot.alt.startswith("sensitivity and F1")


def test_other_metrics_are_shown_where_these_are_missing():
    rows = [ClassRow(name="a", n_records=5, n_patients=5, estimates=(estimate("kappa", 0.5),))]
    plot = class_plot(rows)
    assert plot is not None and plot.alt.startswith("Cohen's kappa")


def test_undefined_classes_do_not_break_it():
    rows = [
        ClassRow(name="a", n_records=5, n_patients=5, estimates=(estimate("f1", 0.5),)),
        ClassRow(name="b", n_records=0, n_patients=0, estimates=(estimate("f1", None),)),
    ]
    assert class_plot(rows) is not None
    assert class_plot(rows[1:]) is None
    assert class_plot(()) is None


def test_very_many_classes_are_counted():
    rows = [ClassRow(name=f"c{i}", n_records=5, n_patients=5, estimates=(estimate("f1", 0.5),)) for i in range(50)]
    plot = class_plot(rows)
    assert plot is not None and "10 further classes" in plot.caption


def test_fractions_end_with_the_headline(result):
    assert main_variant(result.protocol) == "fraction=1"
    plot = variant_plot(with_variants(result, ("fraction=0.01", 0.4), ("fraction=0.1", 0.6)), "fraction=1")
    assert plot is not None
    assert plot.title == "balanced accuracy by share of the training patients"
    alone = variant_plot(with_variants(result, ("fraction=0.01", 0.4), ("fraction=0.1", 0.6)))
    assert alone is not None and alone.uri != plot.uri


def test_neighbours_and_named_variants(result):
    plot = variant_plot(with_variants(result, ("k=1", 0.4), ("k=20", 0.6)))
    assert plot is not None and plot.title.endswith("number of neighbours")
    mixed = variant_plot(with_variants(result, ("k=1", 0.4), ("fraction=0.1", 0.6), ("fraction=0.1,k=1", 0.5)))
    assert mixed is not None and mixed.title.endswith("by variant")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"fractions": (1.0,)}, ""),
        ({"fractions": (0.1, 0.5)}, "fraction=0.5"),
        ({"fractions": (1.0,), "method": KNN(k=(1, 20))}, "k=1"),
        ({"fractions": (1.0,), "method": KNN(k=(20,))}, ""),
        ({"fractions": (0.1, 1.0), "method": KNN(k=(5, 1))}, "fraction=1,k=5"),
    ],
)
def test_the_headline_has_a_name_among_the_variants(result, changes, name):
    assert main_variant(result.protocol.model_copy(update=changes)) == name


def test_no_variants_no_figure(result):
    assert variant_plot(result.summary.model_copy(update={"variants": ()})) is None
    assert variant_plot(with_variants(result, ("k=1", None))) is None
    assert variant_plot(result.summary.model_copy(update={"headline": ()})) is None


def test_regression_has_two_figures(tasks):
    titles = [plot.title for plot in regression_plots(tasks["regression"])]
    assert titles == ["Predicted against true", "Errors"]


def test_regression_without_rows_has_none(tasks):
    predictions = tasks["regression"]
    empty = type(predictions)(predictions.table.iloc[:0], "regression", (), "mcv_fl")
    assert regression_plots(empty) == []
