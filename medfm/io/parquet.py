"""Parquet tables read without Arrow's own threads.

``pandas.read_parquet`` starts Arrow's thread pool, which now and then aborts a short process at
its end ("terminate called without an active exception"); for tables of this size it gains nothing.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def read_parquet(source: str | Path | bytes) -> pd.DataFrame:
    """The table in a Parquet file, or in the bytes of one.

    Raises:
        OSError, pyarrow.ArrowException: The file cannot be read or is no Parquet file; callers say it clearly.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = pa.BufferReader(source) if isinstance(source, bytes) else str(source)
    with pq.ParquetFile(place) as file:
        table: pd.DataFrame = file.read(use_threads=False).to_pandas(use_threads=False)
    return table
