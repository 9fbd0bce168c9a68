"""Properties over many inputs: plain data, round trips of odd columns, figures as text."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from medfm.evaluation.summary import Estimate
from medfm.reporting.card import markdown
from medfm.reporting.folder import read_result
from medfm.reporting.plain import not_finite, plain
from medfm.reporting.tables import flat
from medfm.reporting.words import figure, sentence

pytestmark = pytest.mark.usefixtures("quick_report")

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_plain_data_survives_json(value):
    made = plain(value)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert plain(made) == made
    assert not_finite(made) == []


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e12, 1e12))
def test_a_figure_is_near_what_it_shows(value):
    shown = float(figure(value))
    assert math.isclose(shown, value, rel_tol=6e-3, abs_tol=6e-4)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_escaped_text_has_no_bare_markup(text):
    escaped = markdown(text)
    assert "\n" not in escaped
    bare = re.sub(r"\\.", "", escaped)
    assert not set(bare) & set("`*_[]<>|#!~")


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5), values, max_size=4))
def test_any_settings_can_be_listed(value):
    rows = flat(plain(value))
    assert all(isinstance(key, str) and isinstance(text, str) for key, text in rows)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**6))
def test_every_estimate_has_a_sentence(value, low, high, size):
    text = sentence(Estimate(metric="auroc", value=value, low=low, high=high, n_records=size, n_patients=size))
    assert text.startswith(f"AUROC {figure(value)} (95 % CI")
    assert ("patient" in text) == (size > 0)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(np.arange(360)),
        pd.Series(np.arange(360) / 3),
        pd.Series(np.arange(360) % 2 == 0),
        pd.Series([None if i % 7 == 0 else f"grün {i}" for i in range(360)], dtype=object),
        pd.Series(pd.Categorical(["old", "young"] * 180)),
        pd.Series(pd.date_range("2020-01-01", periods=360)),
    ],
    ids=["int", "float", "bool", "text with gaps", "category", "date"],
)
def test_carried_columns_come_back_with_their_type(make, result, tmp_path, column):
    table = result.predictions.table.assign(carried=column)
    predictions = type(result.predictions)(table, "multiclass", result.predictions.classes, "cell_type")
    made = make(predictions)
    saved = read_result(made.save(tmp_path / "r"))
    assert_frame_equal(saved.predictions.table, made.predictions.table)
    assert saved.id == made.id


@pytest.mark.parametrize("name", ["ü-größe", "名前", "a b/c", "x" * 200, "quote\" and 'quote'", "🩸"])
def test_any_id_comes_back(make, result, tmp_path, name):
    table = result.predictions.table.copy()
    table["record_id"] = table["record_id"].replace("cell_0000", name)
    predictions = type(result.predictions)(table, "multiclass", result.predictions.classes, "cell_type")
    saved = read_result(make(predictions, name=name).save(tmp_path / "r"))
    assert saved.name == name
    assert name in set(saved.predictions.table["record_id"])
    assert name in set(saved.embedding_map["record_id"])
