from pathlib import Path

import pandas as pd
import pytest
from cohort_pictures import save

from medfm.cohorts.load import load_cohort
from medfm.core.errors import ChecksFailedError, CohortError, ConfigError, UnknownNameError

CSV = (
    "path,case,label,split,task\na.png,007,x,train,one\nb.png,007,y,train,one\nc.png,8,x,test,one\nd.png,9,z,test,two\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate("abcd"):
        save(tmp_path / f"{name}.png", seed)
    (tmp_path / "labels.csv").write_text(CSV)
    return tmp_path


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def refused(table: object, words: str, kind: type = CohortError, **options: object) -> Exception:
    with pytest.raises(kind, match=words) as caught:
        load_cohort(table, **options)
    return caught.value


class TestLoading:
    def test_the_smallest_table(self, folder: Path) -> None:
        cohort = load_cohort(write(folder, "path\na.png\nb.png\n"))
        assert cohort.record_ids == ["a.png", "b.png"]
        assert cohort.table["patient_id"].tolist() == ["a.png", "b.png"]
        assert cohort.table["site"].isna().all()
        assert cohort.root == folder
        assert cohort.name == "labels"
        assert not cohort.patients_known
        assert not cohort.synthetic

    def test_unknown_patients_are_a_warning(self, folder: Path) -> None:
        finding = next(f for f in load_cohort(folder / "labels.csv").findings if f.code == "T002")
        assert finding.severity == "warning"
        known = load_cohort(folder / "labels.csv", map={"patient_id": "case"})
        assert next(f for f in known.findings if f.code == "T002").severity == "passed"

    def test_mapping_keeps_leading_zeros_and_the_old_column(self, folder: Path) -> None:
        cohort = load_cohort(folder / "labels.csv", map={"patient_id": "case"})
        assert cohort.table["patient_id"].tolist() == ["007", "007", "8", "9"]
        assert cohort.table["case"].tolist() == ["007", "007", "8", "9"]
        assert cohort.patients_known
        assert cohort.info["map"] == {"patient_id": "case"}

    @pytest.mark.parametrize(("value", "number"), [("one", 3), (["one", "two"], 4), ("two", 1)])
    def test_filtering(self, folder: Path, value: object, number: int) -> None:
        cohort = load_cohort(folder / "labels.csv", where={"task": value})
        assert len(cohort) == number
        assert list(cohort.table.index) == list(range(number))

    def test_numbers_with_gaps_are_still_filtered_and_renamed_as_written(self, folder: Path) -> None:
        table = write(folder, "path,grade\na.png,1\nb.png,\nc.png,2\n")
        write(folder, "label_map: {grade: {'1': low, '2': high}}\n", "labels.yaml")
        assert load_cohort(table, where={"grade": 1}).table["grade"].tolist() == ["low"]
        assert load_cohort(table, where={"grade": ["1", "2"]}).table["grade"].tolist() == ["low", "high"]

    def test_a_value_among_several_that_no_row_has_is_no_silence(self, folder: Path) -> None:
        table = write(folder, "path,label\na.png,cat\nb.png,dog\n")
        assert len(load_cohort(table, where={"label": ["cat", "dog"]})) == 2
        refused(table, "A value is not there: no 'label' equals dgo", where={"label": ["cat", "dgo"]})
        refused(table, "No row is left: no 'label' equals ca or dgo", where={"label": ["ca", "dgo"]})

    def test_a_data_frame(self, folder: Path) -> None:
        frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": [1, 0], "patient_id": [3.0, 4.0]})
        cohort = load_cohort(frame, root=folder, name="mine")
        assert cohort.table["patient_id"].tolist() == ["3", "4"]
        assert cohort.name == "mine"
        refused(frame, "needs a root folder")

    def test_the_callers_frame_is_left_alone(self, folder: Path) -> None:
        frame = pd.DataFrame({"path": ["./a.png"], "who": ["p"]})
        load_cohort(frame, root=folder, map={"patient_id": "who"})
        assert frame.to_dict("list") == {"path": ["./a.png"], "who": ["p"]}

    @pytest.mark.parametrize("name", ["labels.tsv", "labels.parquet"])
    def test_other_table_formats_give_the_same_cohort(self, folder: Path, name: str) -> None:
        frame = pd.read_csv(folder / "labels.csv", dtype=str)
        if name.endswith("tsv"):
            frame.to_csv(folder / name, sep="\t", index=False)
        else:
            frame.to_parquet(folder / name)
        expected = load_cohort(folder / "labels.csv").table
        pd.testing.assert_frame_equal(load_cohort(folder / name).table, expected)

    def test_paths_are_tidied_and_read(self, folder: Path) -> None:
        save(folder / "sub" / "e.png", 9)
        cohort = load_cohort(write(folder, "path\nsub\\e.png\n./a.png\nsub/../b.png\n"))
        assert cohort.table["path"].tolist() == ["sub/e.png", "a.png", "b.png"]
        assert cohort.read(0).array.shape == (40, 44, 3)

    def test_boxes_name_records_and_group_by_image(self, folder: Path) -> None:
        text = "path,xmin,ymin,xmax,ymax\na.png,0,0,10,12\na.png,5,5,20,20\nb.png,,,,\n"
        cohort = load_cohort(write(folder, text))
        assert cohort.record_ids == ["a.png#0-0-10-12", "a.png#5-5-20-20", "b.png"]
        assert cohort.table["patient_id"].tolist() == ["a.png", "a.png", "b.png"]
        assert not cohort.patients_known
        assert [r.array.shape[:2] for r in map(cohort.read, range(3))] == [(12, 10), (15, 15), (40, 44)]

    def test_the_yaml_beside_the_table(self, folder: Path) -> None:
        yaml = "name: Ward 7\ntask: cells\ntarget: label\ncolumns: {patient_id: case}\nsynthetic: true\n"
        write(folder, yaml + "label_map: {label: {x: neutrophil}}\nlicence: CC0\n", "labels.yaml")
        cohort = load_cohort(folder / "labels.csv")
        assert cohort.name == "Ward 7"
        assert cohort.synthetic
        assert cohort.patients_known
        assert cohort.table["label"].tolist() == ["neutrophil", "y", "neutrophil", "z"]
        assert cohort.info["licence"] == "CC0"
        assert cohort.info["task"] == "cells"

    def test_the_yaml_names_a_root(self, folder: Path) -> None:
        (folder / "tables").mkdir()
        write(folder, "root: ..\n", "tables/t.yaml")
        cohort = load_cohort(write(folder, "path\na.png\n", "tables/t.csv"))
        assert cohort.read(0).array.shape == (40, 44, 3)

    def test_equal_tables_have_equal_digests(self, folder: Path) -> None:
        one = load_cohort(folder / "labels.csv")
        assert one.digest() == load_cohort(folder / "labels.csv").digest()
        assert one.digest() != load_cohort(folder / "labels.csv", where={"task": "one"}).digest()


class TestRefusals:
    def test_missing_columns_name_near_ones(self, folder: Path) -> None:
        error = refused(write(folder, "paht,label\na.png,x\n"), "no column 'path'")
        assert "did you mean 'paht'" in str(error)
        assert "--map path=COLUMN" in str(error)
        write(folder, CSV)
        assert "'case'" in str(refused(folder / "labels.csv", "no column 'cases'", map={"patient_id": "cases"}))
        assert "'task'" in str(refused(folder / "labels.csv", "no column 'tsk'", where={"tsk": "one"}))

    def test_nothing_left_after_filtering_names_near_values(self, folder: Path) -> None:
        assert "did you mean 'one'" in str(refused(folder / "labels.csv", "No row is left", where={"task": "on"}))

    def test_duplicate_ids(self, folder: Path) -> None:
        refused(write(folder, "path,record_id\na.png,1\nb.png,1\n"), "1 record id appears more than once")
        refused(write(folder, "path,label\na.png,x\na.png,y\n"), "a.png")
        box = "path,xmin,ymin,xmax,ymax\na.png,0,0,9,9\na.png,0,0,9,9\n"
        refused(write(folder, box), "a.png#0-0-9-9")

    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "C:\\data\\a.png", "~/a.png", "https://x.org/a.png", "\\\\srv\\a.png"]
    )
    def test_absolute_paths(self, folder: Path, path: str) -> None:
        error = refused(write(folder, f"path\na.png\n{path}\n"), "Row 2: the path is absolute")
        assert "--root" in str(error)

    @pytest.mark.parametrize("path", ["../a.png", "x/../../a.png", "..", "..\\a.png"])
    def test_escaping_paths(self, folder: Path, path: str) -> None:
        refused(write(folder, f"path\n{path}\n"), "Row 1: the path leaves the root folder")

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_symbolic_links_out_of_the_root(self, folder: Path, kind: str) -> None:
        root = folder / "root"
        root.mkdir()
        if kind == "file":
            (root / "e.png").symlink_to(folder / "a.png")
        else:
            (root / "sub").symlink_to(folder)
        table = write(folder, f"path\n{'e.png' if kind == 'file' else 'sub/a.png'}\n", "root/t.csv")
        refused(table, "symbolic link")
        cohort = load_cohort(table, allow=["F006"])
        assert next(f for f in cohort.findings if f.code == "F006").allowed

    def test_links_inside_the_root_are_fine(self, folder: Path) -> None:
        (folder / "e.png").symlink_to(folder / "a.png")
        assert len(load_cohort(write(folder, "path\ne.png\n"))) == 1

    @pytest.mark.parametrize("column", ["path", "patient_id", "record_id"])
    def test_missing_identifiers(self, folder: Path, column: str) -> None:
        frame = pd.DataFrame({"path": ["a.png", "b.png"], "patient_id": ["1", "2"], "record_id": ["1", "2"]})
        frame.loc[1, column] = None
        refused(frame, f"1 of 2 rows have no {column}", root=folder)

    def test_unknown_splits(self, folder: Path) -> None:
        assert "train, val or test" in str(refused(write(folder, "path,split\na.png,training\n"), "'training'"))

    def test_modalities_and_roots_that_do_not_exist(self, folder: Path) -> None:
        refused(folder / "labels.csv", "blood_cells", UnknownNameError, modality="blood_cells")
        refused(folder / "labels.csv", "root folder does not exist", root=folder / "none")

    def test_unknown_keys_in_the_yaml(self, folder: Path) -> None:
        write(folder, "licences: x\n", "labels.yaml")
        assert "licence" in str(refused(folder / "labels.csv", "no such key", ConfigError))

    def test_a_patient_in_two_splits_stops_unless_allowed(self, folder: Path) -> None:
        table = write(folder, "path,patient_id,split\na.png,1,train\nb.png,1,test\n")
        refused(table, "L001", ChecksFailedError)
        cohort = load_cohort(table, allow=["L001"])
        assert next(f for f in cohort.findings if f.code == "L001").allowed
        assert cohort.info["allowed_codes"] == ["L001"]
        assert load_cohort(table, check=False).findings == ()

    def test_some_missing_files_warn_and_all_missing_stop(self, folder: Path) -> None:
        some = load_cohort(write(folder, "path\na.png\nnone.png\n"))
        assert next(f for f in some.findings if f.code == "F001").severity == "warning"
        refused(write(folder, "path\nnone.png\n"), "F001", ChecksFailedError)

    def test_files_found_above_the_root_are_hinted_at(self, folder: Path) -> None:
        (folder / "deep" / "er").mkdir(parents=True)
        error = refused(write(folder, "path\na.png\n", "deep/er/t.csv"), "F001", ChecksFailedError)
        assert f"--root {folder}" in str(error)

    def test_an_unreadable_table(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(_: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", deny)
        refused(folder / "labels.csv", "Permission denied")


class TestRealData:
    @pytest.mark.parametrize(("task", "number"), [("pbc_cell", 960), ("bccd_cell", 300), ("chula_rbc12", 1020)])
    def test_the_three_labelled_sets(self, shared: Path, task: str, number: int) -> None:
        cohort = load_cohort(shared / "labels.csv", where={"task": task}, map={"patient_id": "source_id"})
        assert len(cohort) == number
        assert set(cohort.table["split"]) == {"train", "test"}
        assert {f.severity for f in cohort.findings} == {"passed"}
        assert cohort.read(number - 1).array.dtype == "uint8"

    def test_smears_with_boxes(self, shared: Path) -> None:
        cohort = load_cohort(shared / "bccd" / "smears" / "boxes.csv", root=shared)
        assert len(cohort) == 644
        assert cohort.table["patient_id"].nunique() == 48
        row = cohort.table.iloc[100]
        assert cohort.read(100).array.shape == (row.ymax - row.ymin, row.xmax - row.xmin, 3)
