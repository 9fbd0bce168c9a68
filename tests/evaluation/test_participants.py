"""Flow and Table 1: counts by hand, and no small cell that could be worked out."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.evaluation.participants import participants
from medfm.evaluation.target import Target


def table(n: int, per_patient: int = 2, **columns: object) -> pd.DataFrame:
    base = {
        "record_id": [f"r{i}" for i in range(n)],
        "patient_id": [f"P{i // per_patient}" for i in range(n)],
        "site": None,
        "split": None,
    }
    return pd.DataFrame(base | columns)


def binary(values: object) -> Target:
    return Target("ill", "binary", ("no", "yes"), np.asarray(values, dtype=np.int64))


def made(frame: pd.DataFrame, target: Target | None = None, parts: dict | None = None, **changes: object) -> dict:
    target = target if target is not None else binary(np.arange(len(frame)) % 2)
    parts = parts if parts is not None else {"test": np.arange(len(frame))}
    return participants(frame, frame, target, parts, (), **({"minimum": 5} | changes))


def cells(entry: dict, variable: str) -> dict:
    return {row["level"]: row["cells"] for row in entry["rows"] if row["variable"] == variable}


def test_flow_by_hand():
    asked = table(100)
    kept = asked.iloc[:90].reset_index(drop=True)
    parts = {"train": np.arange(60), "test": np.arange(60, 80)}
    found = participants(asked, kept, binary(np.arange(90) % 2), parts, [("no label", 6), ("could not be read", 4),
                         ("nothing", 0)], minimum=5)  # fmt: skip
    assert found["asked"] == {"records": 100, "patients": 50} and found["kept"] == {"records": 80, "patients": 40}
    lost = {e["reason"]: e["records"] for e in found["excluded"]}
    assert lost == {"no label": 6, "could not be read": 4, "in no part that is used": 10}
    assert found["asked"]["records"] - sum(lost.values()) == sum(p["records"] for p in found["parts"])
    assert [p["patients"] for p in found["parts"]] == [30, 10]
    json.dumps(found, allow_nan=False)


def test_table_one_by_hand():
    frame = table(40, sex=np.where(np.arange(40) // 2 % 2, "f", "m"), age=np.repeat(np.arange(20.0, 40.0), 2))
    found = made(frame, binary(np.arange(40) < 10))
    assert cells(found, "sex") == {"f": [{"n": 10, "percent": 50}], "m": [{"n": 10, "percent": 50}]}
    assert cells(found, "age")["median (quartiles), years"] == [{"median": 29.5, "low": 24.75, "high": 34.25}]
    assert cells(found, "age")["missing"] == [{"n": 0, "percent": 0}]
    assert cells(found, "ill") == {"no": [{"n": 30, "percent": 75}], "yes": [{"n": 10, "percent": 25}]}
    assert found["unit"] == "patients" and "site" not in {row["variable"] for row in found["rows"]}


def test_a_label_of_few_patients_is_hidden_although_it_has_many_records():
    frame = table(60, per_patient=10)  # six patients
    found = made(frame, binary(np.arange(60) < 20))  # two of them positive
    assert cells(found, "ill") == {"no": [None], "yes": [None]}
    assert cells(made(frame, binary(np.arange(60) < 20), patients_known=False), "ill")["yes"] == [
        {"n": 20, "percent": pytest.approx(100 / 3)}
    ]


def test_missing_values_are_counted_or_hidden_with_what_shows_them():
    frame = table(60, per_patient=1, sex=["f"] * 40 + [None] * 20, age=[50.0] * 58 + [None, -1.0])
    found = made(frame)
    assert cells(found, "sex")["missing"] == [{"n": 20, "percent": pytest.approx(100 / 3)}]
    assert cells(found, "age")["missing"] == [None]  # two are fewer than five


def test_other_tasks():
    values = np.array([[1, 0], [0, np.nan]] * 20, dtype=float)
    found = made(table(40, 1), Target("a+b", "multilabel", ("a", "b"), values))
    assert cells(found, "a") == {"present": [{"n": 20, "percent": 50}], "absent": [{"n": 20, "percent": 50}]}
    assert cells(found, "b")["unknown"] == [{"n": 20, "percent": 50}]
    found = made(table(41, 1), Target("mcv", "regression", (), np.arange(41.0)))
    assert cells(found, "mcv") == {"median (quartiles)": [{"median": 20, "low": 10, "high": 30}]}
    assert cells(made(table(3, 1), Target("mcv", "regression", (), np.arange(3.0))), "mcv")["median (quartiles)"] == [
        None
    ]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), st.integers(2, 8))
@settings(max_examples=60, deadline=None)
def test_no_small_cell_is_shown_or_follows_by_subtraction(sites, minimum):
    found = made(table(len(sites), 1, site=sites), minimum=minimum)
    shown = [row["cells"][0] for row in found["rows"] if row["variable"] == "site"]
    known = [cell["n"] for cell in shown if cell is not None]
    assert all(n >= minimum for n in known)
    hidden = len(sites) - sum(known)
    if any(cell is None for cell in shown):
        assert shown.count(None) == len(shown) or (shown.count(None) >= 2 and hidden >= minimum)
