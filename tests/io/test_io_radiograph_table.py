"""Looking up stored values block by block against one plain index, whatever the shape, type and lowest value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.io.dicom_radiograph import _looked_up


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 100),
    st.integers(1, 9),
    st.sampled_from(["uint8", "uint16", "int16", "int32"]),
    st.integers(-300, 50),
    st.integers(0, 10_000),
)
def test_every_value_gets_its_own_entry(rows, columns, kind, low, seed):
    random = np.random.default_rng(seed)
    if kind.startswith("u"):
        low = max(low, 0)
    every = random.normal(size=200).astype(np.float32)
    values = random.integers(low, min(low + 200, np.iinfo(kind).max + 1), (rows, columns)).astype(kind)
    found = _looked_up(every, values, low)
    assert found.dtype == np.float32 and found.shape == values.shape and found.flags.c_contiguous
    np.testing.assert_array_equal(found, every[values.astype(np.int64) - low])


@pytest.mark.parametrize("rows", [31, 32, 33, 64, 65])
def test_no_row_is_lost_where_blocks_end(rows):
    values = np.arange(rows * 3, dtype=np.uint16).reshape(rows, 3)
    every = np.arange(rows * 3, dtype=np.float32) * 2
    np.testing.assert_array_equal(_looked_up(every, values, 0), 2.0 * values)


def test_the_ends_of_the_table_and_a_transposed_picture():
    every = np.array([5.0, 6.0, 7.0], np.float32)
    values = np.array([[-1, 0, 1], [1, -1, 0]], np.int16).T
    np.testing.assert_array_equal(_looked_up(every, values, -1), [[5, 7], [6, 5], [7, 6]])
