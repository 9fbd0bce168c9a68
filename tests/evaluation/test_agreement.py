"""A classifier and a zero-shot reading on the same records: counted, kept in a folder, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError, WeightsError
from medfm.evaluation.agreement import Reading, agreement
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.zero_shot import ClassVectors
from medfm.training.agreement_file import ABOUT, WEIGHTS, load_reading, save_reading

CLASSES = ("a", "b", "c")


def reading(untouched: bool = False) -> Reading:
    values = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0.8, 0.6], [0, 0, 1]])
    return Reading(ClassVectors(CLASSES, values, np.array([0, 1, 1, 2]), ("max", "max", "max")), "synonyms@1", untouched)  # fmt: skip


def test_the_nearest_class_is_read():
    found = reading()(np.array([[2.0, 0.1, 0], [0, 5, 4], [0.1, 0, 9], [-1, -2, -0.5]]))
    assert found.tolist() == [0, 1, 2, 2]
    with pytest.raises(EvaluationError, match="width 3"):
        reading()(np.ones((2, 4)))


def test_counts_by_hand():
    found = agreement([0, 1, 2, 1, 0], [0, 1, 1, 2, 1], [0, 2, 2, 2, 1])  # type: ignore[arg-type]
    assert (found.records, found.agreed, found.wrong_agreed, found.wrong_differed, found.right_reading) == (
        5,
        2,
        1,
        2,
        3,
    )
    assert (found.low, found.high) == pytest.approx(tuple(map(float, wilson_interval(2, 5))))
    said = found.sentence("p@1")
    assert (
        "2 of 5 tested records, 40.0 %" in said and "wrong on 1 of 2 where both agree, 2 of 3 where they differ" in said
    )
    assert "the reading alone is right on 3 of 5" in said
    same = agreement(np.zeros(4), np.zeros(4), np.zeros(4))
    assert same.share == 1 and "where they differ" not in same.sentence("p@1") and same.about()["share"] == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10_000))
def test_agreement_is_counted_as_a_loop_would(n, seed):
    rng = np.random.default_rng(seed)
    decided, read, truth = rng.integers(0, 3, (3, n))
    patients = rng.integers(0, 5, n)
    found = agreement(decided, read, truth, patients)
    assert found.agreed == sum(a == b for a, b in zip(decided, read, strict=True))
    assert found.wrong_agreed + found.wrong_differed == sum(a != t for a, t in zip(decided, truth, strict=True))
    low, high = wilson_interval(found.share * len(set(patients)), len(set(patients)))
    assert (found.low, found.high) == pytest.approx((float(low), float(high)))
    assert 0 <= found.low <= found.share + 1e-12 and found.share <= found.high + 1e-12
    alone = agreement(decided, read, truth)
    assert alone.high - alone.low <= found.high - found.low + 1e-12  # records of one patient are no more than one trial


@pytest.mark.parametrize("sizes", [(0, 0, 0), (3, 2, 3), (3, 3, 2)])
def test_what_cannot_be_compared(sizes):
    with pytest.raises(EvaluationError, match="two decisions"):
        agreement(*(np.zeros(n) for n in sizes))


def test_a_folder_gives_the_reading_back(tmp_path: Path):
    save_reading(tmp_path, reading(True), "ff", {"share": 0.5})
    found, about = load_reading(tmp_path, CLASSES)  # type: ignore[misc]
    values = np.random.default_rng(0).normal(size=(20, 3))
    assert found.untouched and found.strategy == "synonyms@1" and about["encoder_fingerprint"] == "ff"
    np.testing.assert_array_equal(found(values), reading()(values))
    assert about["held_out"] == {"share": 0.5} and load_reading(tmp_path / "none", CLASSES) is None


def _changed(place: Path, **values: object) -> None:
    about = json.loads((place / ABOUT).read_text()) | values
    (place / ABOUT).write_text(json.dumps(about))


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: _changed(p, format="medfm-reading-0"),
        lambda p: _changed(p, weights_sha256="0"),
        lambda p: _changed(p, pools=["max"]),
        lambda p: _changed(p, classes=["a", "b"]),
        lambda p: (p / ABOUT).write_text("{"),
        lambda p: (p / WEIGHTS).write_bytes(b"x"),
        lambda p: (p / WEIGHTS).unlink(),
    ],
    ids=["format", "sum", "pools", "classes", "json", "bytes", "gone"],
)
def test_damage_is_found(tmp_path: Path, harm):
    save_reading(tmp_path, reading(), "ff", {})
    harm(tmp_path)
    with pytest.raises(WeightsError, match="reading is damaged"):
        load_reading(tmp_path, CLASSES)
