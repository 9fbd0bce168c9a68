from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medfm.core.errors import CohortError
from medfm.io.tables import read_table


def table(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def refused(file: Path, words: str) -> CohortError:
    with pytest.raises(CohortError, match=words) as caught:
        read_table(file)
    return caught.value


class TestValues:
    def test_identifiers_stay_as_written(self, tmp_path: Path) -> None:
        frame = read_table(table(tmp_path, "patient_id,path,n\n1e5,a,1\n20,b,2\n"), text=("patient_id",))
        assert frame["patient_id"].tolist() == ["1e5", "20"]
        assert frame["n"].tolist() == [1, 2]

    def test_a_leading_zero_anywhere_keeps_the_column_as_text(self, tmp_path: Path) -> None:
        assert read_table(table(tmp_path, "id,x\n007,1\n12,1\n"))["id"].tolist() == ["007", "12"]

    def test_numbers_become_numbers_and_gaps_nan(self, tmp_path: Path) -> None:
        frame = read_table(table(tmp_path, "a,b,c\n1,0.5,x\n2,,\n-3,1e-2,NA\n"))
        assert frame["a"].dtype == np.int64
        assert frame["b"].tolist()[::2] == [0.5, 0.01]
        assert frame["b"].isna().tolist() == [False, True, False]
        assert frame["c"].isna().tolist() == [False, True, True]

    def test_the_word_none_is_a_label(self, tmp_path: Path) -> None:
        assert read_table(table(tmp_path, "label,x\nNone,1\nsome,2\n"))["label"].tolist() == ["None", "some"]

    def test_long_digit_strings_are_not_rounded(self, tmp_path: Path) -> None:
        assert read_table(table(tmp_path, "id,x\n12345678901234567890,1\n"))["id"].tolist() == ["12345678901234567890"]

    @pytest.mark.parametrize(("name", "sign"), [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t"), ("t.txt", "\t")])
    def test_separators(self, tmp_path: Path, name: str, sign: str) -> None:
        frame = read_table(table(tmp_path, f"path{sign}label\na{sign}b c\n", name))
        assert frame.to_dict("list") == {"path": ["a"], "label": ["b c"]}

    def test_quotes_newlines_byte_order_mark_and_windows_line_ends(self, tmp_path: Path) -> None:
        text = '\ufeffpath,note\r\n"a,b.png","two\r\nlines"\r\n\r\n'
        assert read_table(table(tmp_path, text))["path"].tolist() == ["a,b.png"]

    def test_parquet_is_the_same_as_csv(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"path": ["a", "b"], "n": [1, 2]})
        frame.to_parquet(tmp_path / "t.parquet", index=False)
        frame.to_csv(tmp_path / "t.csv", index=False)
        pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), read_table(tmp_path / "t.csv"))


class TestErrors:
    def test_missing_file(self, tmp_path: Path) -> None:
        refused(tmp_path / "none.csv", "does not exist")
        refused(tmp_path / "none.parquet", "does not exist")

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "d.csv").mkdir()
        refused(tmp_path / "d.csv", "folder")

    def test_unknown_ending(self, tmp_path: Path) -> None:
        assert "CSV" in str(refused(table(tmp_path, "x", "t.xlsx"), "not read"))

    @pytest.mark.parametrize("text", ["", "  \n\n"])
    def test_empty(self, tmp_path: Path, text: str) -> None:
        refused(table(tmp_path, text), "empty")

    def test_header_only(self, tmp_path: Path) -> None:
        refused(table(tmp_path, "path,label\n"), "no rows")

    def test_ragged_line_is_named(self, tmp_path: Path) -> None:
        refused(table(tmp_path, "path,label\na,b\nc,d,e\n"), "Line 3 has 3 cells, the header has 2")

    def test_doubled_and_unnamed_columns(self, tmp_path: Path) -> None:
        refused(table(tmp_path, "path,label,path\na,b,c\n"), "'path' appears twice")
        refused(table(tmp_path, "path,,label\na,b,c\n"), "Column 2 has no name")

    def test_another_encoding_is_named_with_its_line(self, tmp_path: Path) -> None:
        refused(table(tmp_path, "path,label\na,b\nc,größe\n".encode("latin-1")), "line 3")
        refused(table(tmp_path, "path,label\na,b\n".encode("utf-16")), "zero bytes")

    def test_open_quote(self, tmp_path: Path) -> None:
        refused(table(tmp_path, 'path,label\n"a,b\n'), "cannot be read")

    def test_damaged_parquet(self, tmp_path: Path) -> None:
        refused(table(tmp_path, b"PAR1 but not really", "t.parquet"), "not a readable Parquet")
