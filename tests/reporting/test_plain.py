from __future__ import annotations

import datetime
import json
from pathlib import PurePosixPath

import numpy as np
import pytest

from medfm.core.errors import StoreError
from medfm.evaluation.summary import Estimate
from medfm.reporting.plain import not_finite, plain


def test_plain_values_are_json_and_stay_as_they_are():
    value = {"a": [1, 2.5, "x", None, True], "b": {"c": []}}
    assert plain(value) == value
    assert plain(plain(value)) == plain(value)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([[1, 2]]), [[1, 2]]),
        (float("inf"), None),
        ((1, 2), [1, 2]),
        ({3, 1}, [1, 3]),
        (datetime.date(2025, 1, 2), "2025-01-02"),
        (PurePosixPath("a/b"), "a/b"),
    ],
)
def test_other_values_get_a_plain_form(given, wanted):
    assert plain(given) == wanted
    json.dumps(plain(given), allow_nan=False)


def test_models_become_groups():
    assert plain({"e": Estimate(metric="auroc", value=0.5)})["e"]["metric"] == "auroc"


def test_an_open_file_has_no_plain_form(tmp_path):
    with (tmp_path / "x").open("w") as handle, pytest.raises(StoreError, match="TextIOWrapper"):
        plain({"file": handle})


def test_not_finite_names_the_keys():
    assert not_finite({"a": [1.0, float("nan")], "b": {"c": float("inf")}, "d": "nan"}) == ["a.1", "b.c"]
    assert not_finite({"a": 1.0}) == []
