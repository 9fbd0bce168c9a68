"""Parquet without Arrow's threads gives what pandas gives."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from medfm.io.parquet import read_parquet


def test_file_and_bytes_give_what_pandas_gives(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": ["x", None, "z"], "b": [1, 2, 3], "c": [0.5, None, 2.0], "d": [b"1", b"", None]})
    file = tmp_path / "t.parquet"
    table.to_parquet(file, index=False)
    pd.testing.assert_frame_equal(read_parquet(file), pd.read_parquet(file))
    pd.testing.assert_frame_equal(read_parquet(file.read_bytes()), pd.read_parquet(file))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(Exception, match="Parquet"):
        read_parquet(tmp_path / "t.parquet")
