"""The adapter ``image-text`` on tables: open_clip's, Quilt-1M's, PathGen's, and malformed ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from shard_files import picture

import medfm
from medfm.cohorts.adapters import prepare
from medfm.cohorts.adapters.base import Prepared
from medfm.core.errors import CohortError, ConfigError


def pictures(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    return folder


def made(source: Path, modality: str | None = "histopathology", **keywords: Any) -> Prepared:
    return prepare("image-text", source, source.parent.parent / "out", modality=modality, **keywords)


def rows_of(done: Prepared) -> list[dict[str, str]]:
    with done.table.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def reasons(done: Prepared) -> list[tuple[str, str]]:
    with (done.table.parent / "left_out.csv").open(encoding="utf-8", newline="") as handle:
        return [(row["where"], row["reason"]) for row in csv.DictReader(handle)]


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


class TestOpenClip:
    @pytest.mark.parametrize(("name", "separator"), [("t.csv", "\t"), ("t.tsv", "\t"), ("t.csv", ","), ("t.csv", ";")])
    def test_filepath_and_title_under_any_separator(self, tmp_path: Path, name: str, separator: str) -> None:
        folder = pictures(tmp_path / "d", "a.png", "sub/b.png")
        file = write(
            folder / name, f"filepath{separator}title\na.png{separator}first one\nsub/b.png{separator}second\n"
        )
        done = made(file)
        assert [(r["record_id"], r["path"], r["text"]) for r in rows_of(done)] == [
            ("a.png", "a.png", "first one"),
            ("sub/b.png", "sub/b.png", "second"),
        ]
        assert medfm.load_cohort(done.table).read(1).array.shape == (24, 24, 3)
        assert done.complete

    def test_absolute_paths_inside_the_folder_are_made_relative(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png")
        done = made(write(folder / "t.csv", f"filepath,title\n{folder / 'a.png'},x\n/etc/passwd,y\n"))
        assert [row["path"] for row in rows_of(done)] == ["a.png"]
        assert reasons(done) == [("line 3", "the path of the picture is absolute and outside the table's folder")]

    def test_other_columns_by_map_and_a_folder_with_one_table(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png", "b.png")
        write(folder / "t.csv", "bild;befund;fall;teil\na.png;eins;p1;training\nb.png;zwei;p2;dev\n")
        columns = {"path": "bild", "text": "befund", "patient_id": "fall", "split": "teil"}
        done = prepare("image-text", folder, tmp_path / "out", modality="retina", columns=columns)
        cohort = medfm.load_cohort(done.table)
        assert cohort.patients_known
        assert list(cohort.table["patient_id"]) == ["p1", "p2"]
        assert list(cohort.table["split"]) == ["train", "val"]

    def test_quotes_line_breaks_and_foreign_letters(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "ä b.png")
        done = made(write(folder / "t.csv", '\ufefffilepath,title\n"ä b.png","two\nlines, with ""quotes"" é"\n'))
        assert rows_of(done)[0]["text"] == 'two lines, with "quotes" é'
        assert medfm.load_cohort(done.table).table["text"][0] == 'two lines, with "quotes" é'

    def test_the_modality_is_asked_for(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png")
        with pytest.raises(ConfigError, match="not said"):
            made(write(folder / "t.csv", "filepath,title\na.png,x\n"), None)


class TestSeveralCaptions:
    def test_one_picture_in_several_rows(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png", "b.png")
        done = made(write(folder / "t.csv", "image,caption\na.png,x\nb.png,x\na.png,y\na.png,x\n./a.png,z\n"))
        rows = rows_of(done)
        assert [(r["record_id"], r["picture_id"], r["text"]) for r in rows] == [
            ("a.png", "a.png", "x"),
            ("a.png#2", "a.png", "y"),
            ("a.png#3", "a.png", "z"),
            ("b.png", "b.png", "x"),
        ]
        assert reasons(done) == [("line 5", "this picture with this caption came before")]
        assert done.counts["pictures"] == 2
        cohort = medfm.load_cohort(done.table)
        assert not cohort.patients_known
        assert cohort.table["patient_id"].nunique() == 2

    def test_a_cell_with_a_json_list(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png")
        with (folder / "t.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows([["image", "caption"], ["a.png", json.dumps(["one", "two"])]])
        assert [row["text"] for row in rows_of(made(folder / "t.csv"))] == ["one", "two"]

    def test_no_patient_of_a_picture_is_torn_between_validation_and_training(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", *[f"{i}.png" for i in range(6)])
        lines = [f"{i}.png,caption {i} {k}" for i in range(6) for k in range(3)]
        cohort = medfm.load_cohort(made(write(folder / "t.csv", "image,caption\n" + "\n".join(lines))).table)
        from medfm.training.pairs_config import MerlRecipe
        from medfm.workflows.pretrain_pairs import choose_rows

        recipe = MerlRecipe(
            name="t", epochs=1, batch_size=2, split="all", validation={"source": "patients", "share": 0.4}
        )
        parts = choose_rows(cohort, recipe)
        people = cohort.table["picture_id"]
        assert set(people[parts.train]) | set(people[parts.validation]) == set(people)
        assert not set(people[parts.train]) & set(people[parts.validation])


HEADER = ",caption,image_path,subset,split,pathology,roi_text,magnification,height,width,not_histology,single_wsi\n"


class TestQuilt:
    def test_the_lookup_table_as_described(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "quilt_1m/a_image_1.jpg", "images_2/b_image_1.jpg", "images_2/extra.jpg")
        lines = [
            '0,tumour nests,a_image_1.jpg,quilt,train,"[""Skin""]","[""x""]",1.0,512,512,0.0,1.0',
            '1,the same tissue,a_image_1.jpg,quilt,train,"[""Skin""]","[""x""]",1.0,512,512,0.0,1.0',
            "2,a slide title,b_image_1.jpg,openpath,val,[],[],,512,512,1.0,0.0",
            "3,gone,c_image_1.jpg,quilt,val,[],[],2.0,512,512,0.0,0.0",
            "4,glands,b_image_1.jpg,openpath,val,[],[],,512,512,0,0",
        ]
        done = prepare("image-text", write(folder / "quilt_1M_lookup.csv", HEADER + "\n".join(lines)), tmp_path / "out")
        rows = rows_of(done)
        assert [(r["path"], r["text"], r["split"], r["subset"], r["single_wsi"]) for r in rows] == [
            ("images_2/b_image_1.jpg", "glands", "val", "openpath", "0"),
            ("quilt_1m/a_image_1.jpg", "tumour nests", "train", "quilt", "1.0"),
            ("quilt_1m/a_image_1.jpg", "the same tissue", "train", "quilt", "1.0"),
        ]
        assert reasons(done) == [("line 5", "the picture is not there")]
        cohort = medfm.load_cohort(done.table)
        assert cohort.modality == "histopathology"
        notes = cohort.info["notes"]
        assert "1 rows that the table marks as not_histology are left out" in notes
        assert "1 pictures in the folder are named by no row of the table" in notes
        assert "patients are unknown: every picture counts as its own patient" in notes

    def test_a_name_in_two_folders_is_not_guessed(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "p1/a.jpg", "p2/a.jpg", "p2/b.jpg")
        done = made(write(folder / "t.csv", "image_path,caption\na.jpg,x\nb.jpg,y\n"))
        assert [row["path"] for row in rows_of(done)] == ["p2/b.jpg"]
        assert reasons(done)[0][1] == "pictures in several folders have this name"


class TestPathGen:
    def entry(self, key: str = "wsi_id", **changes: Any) -> dict[str, Any]:
        slide = "TCGA-AA-3844-01Z-00-DX1.bf88ce1f"
        return {key: slide, "position": ["35136", " 33344 "], "caption": "Glands.", "file_id": "f"} | changes

    @pytest.mark.parametrize("key", ["wsi_id", "WSI_id"])
    def test_slides_places_and_patients(self, tmp_path: Path, key: str) -> None:
        folder = pictures(tmp_path / "d", "patches/TCGA-AA-3844-01Z-00-DX1.bf88ce1f_35136_33344.png")
        bad = [self.entry(key, position=["1"]), self.entry(key, position="12"), self.entry(key, position=["a", "b"])]
        file = write(folder / "p.json", json.dumps([self.entry(key), *bad, self.entry(key, position=["1", "2"])]))
        done = prepare("image-text", file, tmp_path / "out")
        row = rows_of(done)[0]
        assert row["path"] == "patches/TCGA-AA-3844-01Z-00-DX1.bf88ce1f_35136_33344.png"
        assert (row["patient_id"], row["patch_x"], row["patch_y"], row["text"]) == (
            "TCGA-AA-3844",
            "35136",
            "33344",
            "Glands.",
        )
        assert [r for _, r in reasons(done)] == ["the line names no picture"] * 3 + ["the picture is not there"]
        assert medfm.load_cohort(done.table).read(0).facts["place"] == [35136, 33344]

    def test_json_lists_and_json_lines_of_plain_pairs(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png", "b.png")
        entries = [{"image": "a.png", "captions": ["x", "y"], "label": 3}, {"image": "b.png", "captions": None}]
        expected = [("a.png", "x"), ("a.png#2", "y"), ("b.png", "")]
        for name, text in (("t.json", json.dumps(entries)), ("t.jsonl", "\n".join(map(json.dumps, entries)) + "\n\n")):
            rows = rows_of(made(write(folder / name, text)))
            assert [(row["record_id"], row["text"]) for row in rows] == expected
            assert [row["label"] for row in rows] == ["3", "3", ""]


class TestMalformedTables:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("a.png,x,surplus", "the line has another number of cells than the header"),
            ("a.png", "the line has another number of cells than the header"),
            (",x", "the line names no picture"),
            ("../d2/a.png,x", "the path of the picture leaves the table's folder (..)"),
            ("none/a.png,x", "the picture is not there"),
            ("C:\\data\\a.png,x", "the path of the picture is absolute and outside the table's folder"),
        ],
    )
    def test_a_line_is_left_out_with_its_reason(self, tmp_path: Path, line: str, reason: str) -> None:
        folder = pictures(tmp_path / "d", "ok.png")
        pictures(tmp_path / "d2", "a.png")
        done = made(write(folder / "t.csv", f"filepath,title\n{line}\n\nok.png,y\n"))
        assert [row["path"] for row in rows_of(done)] == ["ok.png"]
        assert reasons(done) == [("line 2", reason)]

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("t.csv", "", "no header"),
            ("t.csv", "filepath,title\n", "no rows"),
            ("t.csv", "filepath,filepath,title\na,b,c\n", "twice"),
            ("t.csv", "one,two\na.png,b\n", "no column for the pictures"),
            ("t.csv", "filepath,two\na.png,b\n", "no column for the captions"),
            ("t.csv", 'filepath,title\na.png,"never closed\n', "cannot be read"),
            ("t.json", "{broken", "not valid JSON"),
            ("t.json", "{}", "no list"),
            ("t.json", "[1]", "no object"),
            ("t.jsonl", '{"image": "a.png", "caption": "x"}\n[1]\n', "no object"),
            ("t.json", "[]", "no rows"),
        ],
    )
    def test_a_table_that_is_none(self, tmp_path: Path, name: str, content: str, words: str) -> None:
        pictures(tmp_path / "d", "a.png")
        with pytest.raises(CohortError, match=words):
            made(write(tmp_path / "d" / name, content))
        assert not (tmp_path / "out").exists()

    def test_not_utf8(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png")
        for name in ("t.csv", "t.json"):
            (folder / name).write_bytes("filepath,title\na.png,größer\n".encode("latin-1"))
            with pytest.raises(CohortError, match="UTF-8"):
                made(folder / name)

    def test_a_mapped_column_that_is_not_there(self, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "d", "a.png")
        file = write(folder / "t.csv", "filepath,title,patients\na.png,x,p\n")
        with pytest.raises(CohortError, match="no column 'patient'") as caught:
            made(file, columns={"patient_id": "patient"})
        assert "patients" in str(caught.value)
        with pytest.raises(CohortError, match="no column 'titel'"):
            made(file, columns={"text": "titel"})
