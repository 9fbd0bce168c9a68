from __future__ import annotations

import statistics

import pytest

from medfm.cohorts.findings import Finding
from medfm.evaluation.summary import Calibration, Estimate, FoldRow, GroupRow
from medfm.reporting import tables
from medfm.reporting.words import figure


def estimate(metric: str = "auroc", value: float | None = 0.8, low: float | None = 0.7, high: float | None = 0.9):
    return Estimate(metric=metric, value=value, low=low, high=high)


def test_cells_with_interval():
    assert tables.with_interval(estimate()) == "0.800 (0.700–0.900)"
    assert tables.with_interval(estimate(low=None)) == "0.800"
    assert tables.with_interval(estimate(value=None)) == "–"
    assert tables.with_interval(None) == "–"


def test_classes_have_a_row_each(result):
    table = tables.class_table(result.summary.per_class)
    assert table is not None
    assert [row[0] for row in table.rows] == list(result.summary.classes)
    assert all(len(row) == len(table.header) for row in table.rows)
    first = result.summary.per_class[0]
    assert table.rows[0][1:3] == (str(first.n_records), str(first.n_patients))
    assert tables.class_table(()) is None
    assert table.header[:3] == ("class", "records", "patients") and "Each class" in table.note


def test_sizes_of_labels_are_their_positives(result):
    table = tables.class_table(result.summary.per_class, labels=True)
    assert table is not None
    assert table.header[:3] == ("label", "positives", "patients") and "with each label" in table.note
    assert table.rows == tables.class_table(result.summary.per_class).rows
    bare = tables.class_table(result.summary.per_class, False, labels=True)
    assert bare is not None and "patients" not in bare.header and bare.header[1] == "positives"


def test_a_figure_without_an_interval_is_explained(result):
    words = "A figure without brackets has no interval"
    row = result.summary.per_class[0]
    perfect = row.model_copy(update={"estimates": (estimate("f1", 1.0, None, None), estimate("auroc"))})
    absent = row.model_copy(update={"estimates": (estimate("f1", None, None, None), estimate("auroc"))})
    whole = row.model_copy(update={"estimates": (estimate("f1"), estimate("auroc"))})
    assert words in tables.class_table((whole, perfect)).note
    assert words not in tables.class_table((whole, absent)).note  # a dash is no figure
    for estimates, said in (((estimate("f1", 1.0, None, None),), True), ((estimate(),), False)):
        rows = (GroupRow(column="site", value="A", n_records=50, n_patients=20, estimates=estimates),)
        note = tables.group_table(rows, 10).note
        assert (words in note) == said and note == note.strip()


def test_a_hidden_group_shows_no_size_and_no_figure():
    rows = (
        GroupRow(column="site", value="A", n_records=50, n_patients=20, estimates=(estimate(),)),
        GroupRow(column="site", value="B", n_records=None, n_patients=None, suppressed=True),
    )
    table = tables.group_table(rows, 10)
    assert table is not None
    assert table.header[0] == "site"
    assert table.rows == (("A", "50", "20", "0.800 (0.700–0.900)"), ("B", "hidden", "hidden", "–"))
    assert "< 10" in table.note


def test_patients_are_not_counted_where_they_are_unknown(result):
    rows = (GroupRow(column="site", value="A", n_records=50, n_patients=50, estimates=(estimate(),)),)
    for table in (tables.class_table(result.summary.per_class, False), tables.group_table(rows, 10, False)):
        assert table is not None
        assert "patients" not in table.header
        assert all(len(row) == len(table.header) for row in table.rows)


def test_the_note_is_there_only_when_something_is_hidden():
    rows = (GroupRow(column="site", value="A", n_records=50, n_patients=20, estimates=(estimate(),)),)
    table = tables.group_table(rows, 10)
    assert table is not None and table.note == ""
    assert tables.group_table((), 10) is None


def test_groups_of_several_columns_are_told_apart():
    rows = tuple(GroupRow(column=c, value="x", n_records=20, n_patients=20) for c in ("sex", "age"))
    table = tables.group_table(rows, 10)
    assert table is not None
    assert [row[0] for row in table.rows] == ["sex: x", "age: x"]
    assert table.header[0] == "group"


def test_variants_stand_beside_the_headline(result):
    table = tables.variant_table(result.summary)
    assert table is not None
    assert [row[0] for row in table.rows] == ["main", "fraction=0.01", "fraction=0.1"]
    assert table.rows[0][1] == tables.with_interval(result.summary.headline[0])
    named = tables.variant_table(result.summary, "fraction=1")
    assert named is not None and named.rows[0][0] == "main (fraction=1)"
    assert tables.variant_table(result.summary.model_copy(update={"variants": ()})) is None


FOLDS = tuple(
    FoldRow(variant=v, repeat=0, fold=i, n_records=10, metrics={"accuracy": x, "auroc": None if i == 2 else x})
    for v in ("main", "k=20")
    for i, x in enumerate((0.7, 0.8, 0.9))
)


@pytest.mark.parametrize("kind", ["sample", "population"])
def test_folds_end_with_mean_and_deviation(kind):
    table = tables.fold_table(FOLDS, kind)
    assert table is not None
    assert [row[0] for row in table.rows] == ["0", "1", "2", "mean ± SD"]
    deviation = statistics.stdev if kind == "sample" else statistics.pstdev
    assert table.rows[-1][2] == f"0.800 ± {figure(deviation([0.7, 0.8, 0.9]))}"
    assert table.rows[-1][3] == f"0.750 ± {figure(deviation([0.7, 0.8]))}"
    assert table.rows[2][3] == "–"


def test_a_single_fold_needs_no_table():
    assert tables.fold_table(FOLDS[:1]) is None
    assert tables.fold_table(()) is None


def test_repeats_are_named():
    rows = tuple(FoldRow(variant="main", repeat=r, fold=0, n_records=5, metrics={"auroc": 0.5}) for r in (0, 1))
    table = tables.fold_table(rows)
    assert table is not None
    assert [row[0] for row in table.rows[:2]] == ["0.0", "1.0"]


def test_mean_of_nothing_and_of_one():
    assert tables.mean_and_sd([None, None]) == "–"
    assert tables.mean_and_sd([0.5, None]) == "0.500"


def test_checks_are_sorted_by_weight():
    findings = [
        Finding(code="A1", severity="passed", title="a", records=("r1",)),
        Finding(code="B1", severity="info", title="b"),
        Finding(code="C1", severity="error", title="c", detail="bad.", records=("r1", "r2"), allowed=True),
        Finding(code="D1", severity="warning", title="d"),
    ]
    table = tables.check_table(findings)
    assert table is not None and not table.figures
    assert [row[0] for row in table.rows] == ["C1", "D1", "B1", "A1"]
    assert table.rows[0][2:] == ("failed, allowed by the user", "bad. Records: r1, r2.")
    assert table.rows[-1][2:] == ("passed", "")
    assert tables.check_table(()) is None
    bare = tables.check_table([Finding(code="C1", severity="error", title="c", detail="two copies", records=("r1",))])
    assert bare is not None and bare.rows[0][3] == "two copies. Records: r1."


def test_settings_are_flattened():
    rows = tables.flat({"a": {"b": 1, "c": {"d": "x"}}, "e": [1, 2], "f": None, "g": {}, "h": "", "i": 0, "j": False})
    assert rows == [("a.b", "1"), ("a.c.d", "x"), ("e", "1, 2"), ("i", "0"), ("j", "no")]


def test_long_lists_are_cut():
    ((_, text),) = tables.flat({"ids": list(range(100))})
    assert text.endswith("11 … (100 in all)")


def test_calibration_rows(result):
    table = tables.calibration_rows(result.summary)
    assert table is not None
    assert table.rows[0] == (
        "expected calibration error",
        tables.with_interval(result.summary.calibration.ece),
    )
    full = Calibration(ece=estimate("ece"), brier=estimate("brier"), slope=0.9, intercept=0.1, in_the_large=0.02)
    table = tables.calibration_rows(result.summary.model_copy(update={"calibration": full}))
    assert table is not None
    assert [row[1] for row in table.rows[2:]] == ["0.900", "0.100", "0.020"]
    assert tables.calibration_rows(result.summary.model_copy(update={"calibration": None})) is None


def test_records_of_trainings_become_a_table():
    table = tables.record_table([{"fold": 0, "C": 0.1}, {"fold": 1, "C": None, "epochs": 3}])
    assert table is not None
    assert table.header == ("fold", "C", "epochs")
    assert table.rows == (("0", "0.100", "–"), ("1", "–", "3"))


def test_long_records_are_cut_and_say_so():
    table = tables.record_table([{"fold": i} for i in range(100)])
    assert table is not None
    assert len(table.rows) == 60
    assert table.note.startswith("40 further rows")


@pytest.mark.parametrize("value", [None, [], "text", [1, 2], {"a": 1}, [{"a": 1}, 2]])
def test_other_extras_are_no_table(value):
    assert tables.record_table(value) is None
