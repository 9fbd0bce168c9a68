"""Tables are read in blocks of rows and by different cells: the same values and errors as cell by cell."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.core.errors import CohortError
from medfm.io import tables
from medfm.io.tables import MISSING, read_table

CELL = st.sampled_from(
    [
        "",
        " ",
        "NA",
        "nan",
        "N/a",
        "<NA>",
        "None",
        "1",
        " 2 ",
        "-3",
        "007",
        "1.5",
        "1e3",
        "x",
        "a,b",
        'q"',
        "12345678901234567890",
    ]
)


def cell_by_cell(values: list[str], numbers: bool) -> list[object]:
    """What a column becomes, by the rule for one cell at a time."""
    stripped = [value.strip() for value in values]
    gone = [value.lower() in MISSING for value in stripped]
    present = [value for value, away in zip(stripped, gone, strict=True) if not away]
    plain = all(tables._NUMBER.fullmatch(value) and len(value) < 18 for value in present)
    if numbers and present and plain:
        whole = not any(gone) and all(value.lstrip("-").isdigit() for value in present)
        return [int(v) if whole else np.nan if away else float(v) for v, away in zip(stripped, gone, strict=True)]
    return [np.nan if away else value for value, away in zip(stripped, gone, strict=True)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=12), block=st.sampled_from([1, 2, 3, 5000]))
def test_any_table_reads_as_cell_by_cell(tmp_path_factory: pytest.TempPathFactory, rows: list, block: int) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["id", "b", "c"], *rows])
    file = tmp_path_factory.mktemp("t") / "t.csv"
    file.write_text(text.getvalue())
    usual = tables._BLOCK
    tables._BLOCK = block
    try:
        frame = read_table(file, text=("id",))
    finally:
        tables._BLOCK = usual
    for place, name in enumerate(("id", "b", "c")):
        wanted = cell_by_cell([row[place] for row in rows], name != "id")
        pd.testing.assert_series_equal(
            frame[name], pd.Series(wanted, dtype=object if frame[name].dtype == object else None), check_names=False
        )
        if name == "id":
            assert frame[name].dtype == object


@pytest.mark.parametrize("block", [1, 2, 3, 5000])
def test_the_first_wrong_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(tables, "_BLOCK", block)
    file = tmp_path / "t.csv"
    file.write_text('a,b\n\n1,2\n"x\ny",3\n4,5,6\n7,8\n9,"open')
    with pytest.raises(CohortError, match="Line 6 has 3 cells, the header has 2"):
        read_table(file)
    file.write_text('a,b\n1,2\n3,4\n9,"open')
    with pytest.raises(CohortError, match="Line 4 cannot be read"):
        read_table(file)


@pytest.mark.parametrize("block", [1, 2])
def test_blank_lines_before_the_header_and_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(tables, "_BLOCK", block)
    file = tmp_path / "t.csv"
    file.write_text("\n \n\na, b \n\n1, x \n")
    frame = read_table(file)
    assert frame.to_dict("list") == {"a": [1], "b": ["x"]}
    file.write_text("a,b\n\n\n")
    with pytest.raises(CohortError, match="no rows"):
        read_table(file)
