"""Order by path, patients in it and the first record of each, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.evaluation.path_order import first_by_order, path_order, patients_by_order

TABLE = pd.DataFrame(
    {
        "record_id": ["a", "b", "c", "d"],
        "path": ["x/2.png", "x/10.png", "x/1.png", "x/1.png"],
        "patient_id": list("pqqp"),
    }
)


def test_rows_by_path_and_those_of_one_file_by_id() -> None:
    assert path_order(TABLE).tolist() == [3, 2, 0, 1]
    assert path_order(TABLE.iloc[::-1]).tolist() == [1, 0, 2, 3]


def test_without_paths_rows_are_sorted_by_id() -> None:
    assert path_order(TABLE[["record_id"]].iloc[[2, 0, 1]]).tolist() == [2, 0, 1]
    assert path_order(TABLE.assign(path=None)).tolist() == [0, 1, 2, 3]


def test_patients_and_their_first_records() -> None:
    patients, order = TABLE["patient_id"].to_numpy(dtype=object), path_order(TABLE)
    assert patients_by_order(patients, order).tolist() == ["q", "p"]
    assert first_by_order(np.arange(4), patients, order).tolist() == [2, 3]
    assert first_by_order(np.array([0, 1]), patients, order).tolist() == [0, 1]


def test_nothing_gives_nothing() -> None:
    none = np.empty(0, dtype=np.int64)
    assert path_order(TABLE.iloc[:0]).tolist() == []
    assert first_by_order(none, TABLE["patient_id"].to_numpy(), path_order(TABLE)).tolist() == []
    assert patients_by_order(none.astype(object), none).tolist() == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.text("0129_AZé", min_size=1, max_size=3)), min_size=1, max_size=20)
)
def test_as_pandas_sorts_and_drops(rows: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["patient_id", "path"]).assign(record_id=[f"{i:02d}" for i in range(len(rows))])
    listed = table.sort_values(["path", "record_id"])
    patients, order = table["patient_id"].to_numpy(dtype=object), path_order(table)
    assert np.argsort(order).tolist() == listed.index.tolist()
    assert patients_by_order(patients, order).tolist() == listed["patient_id"].unique().tolist()
    first = first_by_order(np.arange(len(table)), patients, order)
    assert first.tolist() == sorted(listed.drop_duplicates("patient_id").index)
