"""Sets of whole smears: Chula RBC-12 (points) and BCCD (Pascal VOC boxes)."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohort_pictures import save

from medfm.cohorts.adapters import prepare
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError
from medfm.modalities.registry import read_record


def box_of(row: pd.Series) -> list[int]:
    return [int(row[c]) for c in ("xmin", "ymin", "xmax", "ymax")]


class TestChula:
    def source(self, root: Path, **labels: str) -> Path:
        for i, (name, text) in enumerate(labels.items()):
            save(root / "Dataset" / f"{name}.jpg", i, height=480, width=640)
            (root / "Label").mkdir(exist_ok=True)
            (root / "Label" / f"{name}.txt").write_text(text)
        return root

    def test_points_become_boxes_of_80_pixels(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, a="177 42 0\n203 398 6\n\n360 315 12\n", b="300 200 10\n")
        cohort = load_cohort(prepare("chula_rbc12", source, tmp_path / "out", allow_partial=True).table)
        table = cohort.table.set_index("record_id")
        # The first is the cell of the real set whose published crop has the box 137 2 217 82.
        assert box_of(table.loc["a_000"]) == [137, 2, 217, 82]
        assert table["label"].to_dict() == {
            "a_000": "normal",
            "a_001": "ovalocyte",
            "a_002": "elliptocyte",
            "b_000": "uncategorised",
        }
        assert cohort.read(0).array.shape == (80, 80, 3)
        assert not cohort.patients_known
        assert table["patient_id"].nunique() == 2

    def test_boxes_at_the_border_are_cut_and_marked(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, a="10 20 0\n639 479 1\n300 200 2\n")
        cohort = load_cohort(prepare("chula_rbc12", source, tmp_path / "out", allow_partial=True).table)
        table = cohort.table.set_index("record_id")
        assert table["at_border"].tolist() == ["yes", "yes", "no"]
        assert box_of(table.loc["a_000"]) == [0, 0, 50, 60]
        assert [cohort.read(i).array.shape for i in range(3)] == [(60, 50, 3), (41, 41, 3), (80, 80, 3)]

    @pytest.mark.parametrize("line", ["1 2", "1 2 13", "1 2 -1", "a b c", "1 2 3 4"])
    def test_wrong_lines_are_named(self, tmp_path: Path, line: str) -> None:
        with pytest.raises(CohortError, match="Line 2 is not 'x y class'") as caught:
            prepare("chula_rbc12", self.source(tmp_path, a=f"100 100 0\n{line}\n"), tmp_path / "out")
        assert "Label/a.txt" in str(caught.value)

    def test_a_point_outside_its_image_and_a_missing_label_file(self, tmp_path: Path) -> None:
        with pytest.raises(CohortError, match="outside"):
            prepare("chula_rbc12", self.source(tmp_path, a="900 100 0\n"), tmp_path / "out")
        (tmp_path / "Label" / "a.txt").unlink()
        with pytest.raises(CohortError, match=r"Label/a\.txt is absent"):
            prepare("chula_rbc12", tmp_path, tmp_path / "out")

    def test_smears_are_counted(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, a="99 99 0\n", b="99 99 0\n")
        done = prepare("chula_rbc12", source, tmp_path / "out", allow_partial=True)
        assert done.differences == ("smears: expected 738, found 2",)


XML = "<annotation><filename>{name}.jpg</filename>{objects}</annotation>"
OBJECT = (
    "<object><name>{label}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
    "<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
)


def annotation(name: str, *objects: tuple[str, list[int]]) -> str:
    return XML.format(name=name, objects="".join(OBJECT.format(label=label, b=box) for label, box in objects))


class TestBccd:
    def source(self, root: Path, **annotations: str) -> Path:
        for i, (name, text) in enumerate(annotations.items()):
            save(root / "BCCD" / "JPEGImages" / f"{name}.jpg", i, height=480, width=640)
            (root / "BCCD" / "Annotations").mkdir(exist_ok=True)
            (root / "BCCD" / "Annotations" / f"{name}.xml").write_text(text)
        return root

    def test_boxes_become_records_with_context_and_the_official_split(self, tmp_path: Path) -> None:
        wbc, rbc = ("WBC", [221, 36, 415, 225]), ("RBC", [3, 5, 90, 100])
        source = self.source(tmp_path, s1=annotation("s1", wbc, rbc), s2=annotation("s2", rbc))
        lists = source / "BCCD" / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("s1\n")
        (lists / "test.txt").write_text("s2\n")
        cohort = load_cohort(prepare("bccd", source, tmp_path / "out", allow_partial=True).table)
        assert cohort.record_ids == ["s1_00", "s1_01", "s2_00"]
        assert cohort.table["split"].tolist() == ["train", "train", "test"]
        assert cohort.read(0).array.shape == (189 + 70, 194 + 70, 3)
        assert cohort.read(1).array.shape == (100 + 35, 90 + 35, 3)
        assert cohort.table["patient_id"].nunique() == 2

    def test_tiny_doubled_and_overhanging_boxes(self, tmp_path: Path) -> None:
        boxes = [[0, 0, 7, 50], [10, 10, 60, 60], [10, 10, 60, 60], [600, 400, 700, 500]]
        source = self.source(tmp_path, s=annotation("s", *(("RBC", box) for box in boxes)))
        table = load_cohort(prepare("bccd", source, tmp_path / "out", allow_partial=True).table).table
        assert table["record_id"].tolist() == ["s_01", "s_03"]
        assert box_of(table.iloc[1]) == [600, 400, 640, 480]
        assert table["at_border"].tolist() == ["no", "yes"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("<annotation><object>", "damaged"),
            (annotation("s", ("RBC", ["x", 1, 2, 3])), "damaged"),  # type: ignore[list-item]
            ("<annotation><object><name>RBC</name></object></annotation>", "damaged"),
            ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "entities"),
        ],
    )
    def test_damaged_or_hostile_annotations(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(CohortError, match=words) as caught:
            prepare("bccd", self.source(tmp_path, s=text), tmp_path / "out")
        assert "Annotations/s.xml" in str(caught.value)

    def test_an_annotation_without_its_image(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, s=annotation("s", ("RBC", [10, 10, 60, 60])))
        (source / "BCCD" / "JPEGImages" / "s.jpg").unlink()
        with pytest.raises(CohortError, match=r"s\.jpg is absent"):
            prepare("bccd", source, tmp_path / "out")

    def test_an_image_that_cannot_be_read(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, s=annotation("s", ("RBC", [10, 10, 60, 60])))
        (source / "BCCD" / "JPEGImages" / "s.jpg").write_text("no image")
        with pytest.raises(CohortError, match="cannot be read"):
            prepare("bccd", source, tmp_path / "out")

    def test_real_smears_give_the_published_crops(self, shared: Path, tmp_path: Path) -> None:
        rows = list(csv.DictReader((shared / "bccd" / "smears" / "boxes.csv").open()))
        source = tmp_path / "source"
        (source / "BCCD" / "JPEGImages").mkdir(parents=True)
        (source / "BCCD" / "Annotations").mkdir()
        for name in sorted({Path(row["path"]).stem for row in rows}):
            own = [
                (r["label"], [int(r[c]) for c in ("xmin", "ymin", "xmax", "ymax")]) for r in rows if name in r["path"]
            ]
            shutil.copy(shared / "bccd" / "smears" / f"{name}.jpg", source / "BCCD" / "JPEGImages")
            (source / "BCCD" / "Annotations" / f"{name}.xml").write_text(annotation(name, *own))
        cohort = load_cohort(prepare("bccd", source, tmp_path / "out", allow_partial=True).table)
        assert len(cohort) > 600
        position = {record: i for i, record in enumerate(cohort.record_ids)}
        crops = [f for part in ("train", "test") for f in (shared / "bccd" / part).rglob("*.png") if f.stem in position]
        assert len(crops) == 42
        for crop in crops[::5]:
            cell = cohort.read(position[crop.stem])
            assert np.array_equal(cell.array, read_record(crop, "blood_cell").array)
            assert cohort.table["label"][position[crop.stem]] == crop.parent.name
