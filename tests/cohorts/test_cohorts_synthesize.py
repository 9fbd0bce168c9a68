import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medfm.cohorts.checks import run_checks
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import NOTICE, Synthesized, synthesize
from medfm.cohorts.synthetic_cells import CLASSES, SITES, Canvas, blob, single_cell, smear
from medfm.core.errors import CohortError, StoreError, UnknownNameError
from medfm.core.progress import Progress
from medfm.core.randomness import generator


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    return synthesize("blood_cell", tmp_path_factory.mktemp("cells") / "out", records=300, size=96)


@pytest.fixture(scope="module")
def cohort(written: Synthesized) -> Cohort:
    return load_cohort(written.table)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_the_cohort_is_sound_and_says_it_is_synthetic(cohort: Cohort, written: Synthesized) -> None:
    assert len(cohort) == written.records == 300
    assert written.patients == cohort.table["patient_id"].nunique() == 90
    assert cohort.synthetic
    assert cohort.patients_known
    assert "synthetic" in cohort.name
    assert NOTICE in cohort.info["notes"]
    wrong = {f.code for f in run_checks(cohort) if f.severity in ("error", "warning")}
    assert wrong <= {"S003"}


def test_columns_for_every_kind_of_evaluation(cohort: Cohort) -> None:
    table = cohort.table
    assert set(table["label"]) == set(CLASSES)
    assert set(table["site"]) == set(SITES)
    assert set(table["split"]) == {"train", "val", "test"}
    assert table.groupby("patient_id")[["split", "site", "patient_class", "age", "sex"]].nunique().max().max() == 1
    assert table["nucleus_share"].between(0.05, 0.95).all()
    bags = table.groupby("patient_class")["label"].value_counts(normalize=True)
    assert bags["erythroblast_rich", "erythroblast"] > 1.8 * bags["typical", "erythroblast"]
    assert not any(name in path for path in table["path"] for name in CLASSES)


def test_every_file_carries_the_notice_in_its_own_format(cohort: Cohort) -> None:
    bits = set()
    for site, ending in (("north", ".png"), ("south", ".jpg"), ("west", ".tif")):
        rows = cohort.table[cohort.table["site"] == site]
        assert {Path(p).suffix for p in rows["path"]} == {ending}
        for path in rows["path"][:4]:
            file = cohort.root / path
            if ending == ".tif":
                with tifffile.TiffFile(file) as tiff:
                    assert tiff.pages[0].description == NOTICE
                    bits.add(tiff.pages[0].bitspersample)
                continue
            picture = Image.open(file)
            assert NOTICE in (picture.info.get("Description"), picture.getexif().get(0x010E))
    assert bits == {8, 16}


def test_images_have_the_size_asked_for(cohort: Cohort) -> None:
    assert {cohort.read(i).array.shape for i in range(0, 300, 37)} == {(96, 96, 3)}


def test_smears_have_boxes_around_cells(written: Synthesized) -> None:
    fields = load_cohort(written.smears)
    assert fields.synthetic
    assert fields.table["path"].nunique() == 6
    assert len(fields) >= 40
    for i in range(0, len(fields), 9):
        cell = fields.read(i).array.astype(float)
        assert cell.shape == (80, 80, 3)
        # A nucleus in the middle is darker than the rim of the box.
        assert cell[30:50, 30:50].mean() < cell[[0, -1]].mean() - 20


def test_equal_arguments_give_equal_files_and_other_seeds_others(tmp_path: Path) -> None:
    one = synthesize("blood_cell", tmp_path / "a", records=30, size=48, seed=3).table.parent
    two = synthesize("blood_cell", tmp_path / "b", records=30, size=48, seed=3).table.parent
    three = synthesize("blood_cell", tmp_path / "c", records=30, size=48, seed=4).table.parent
    assert digests(one) == digests(two)
    assert digests(one)["labels.csv"] != digests(three)["labels.csv"]


def test_more_records_begin_with_the_same_images(tmp_path: Path) -> None:
    small = digests(synthesize("blood_cell", tmp_path / "a", records=30, size=48).table.parent / "images")
    large = digests(synthesize("blood_cell", tmp_path / "b", records=45, size=48).table.parent / "images")
    assert small.items() <= large.items()


def histogram(image: np.ndarray) -> np.ndarray:
    return np.concatenate([np.histogram(image[..., c], 16, (0, 256))[0] for c in range(3)]) / image[..., 0].size


def test_sites_show_in_the_colours_and_classes_only_partly(cohort: Cohort) -> None:
    colours = np.stack([histogram(cohort.read(i).array) for i in range(len(cohort))])
    train = (cohort.table["split"] == "train").to_numpy()

    def accuracy(column: str) -> float:
        truth = cohort.table[column].to_numpy(dtype=str)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        return float(model.fit(colours[train], truth[train]).score(colours[~train], truth[~train]))

    assert accuracy("site") > 0.95
    assert 0.3 < accuracy("label") < 0.85


def test_the_nucleus_share_tells_shapes_apart(cohort: Cohort) -> None:
    share = cohort.table.groupby("label")["nucleus_share"].median()
    assert share["lymphocyte"] > share["monocyte"] > share["neutrophil"]
    assert share["lymphocyte"] > 1.5 * share["erythroblast"]


@pytest.mark.parametrize("kind", CLASSES)
def test_one_generator_draws_one_cell(kind: str) -> None:
    one, share = single_cell(kind, 64, SITES["north"], 1.0, generator(5))
    two, _ = single_cell(kind, 64, SITES["north"], 1.0, generator(5))
    other, _ = single_cell(kind, 64, SITES["north"], 1.0, generator(6))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert one.dtype == np.uint8
    assert 0 < share < 1
    # The cell is inside: the rim has no nucleus.
    assert one[24:40, 24:40].min() < 110 < one[:2].mean()


def test_smear_boxes_stay_inside_small_fields() -> None:
    image, boxes = smear(["monocyte"] * 9, SITES["west"], 1.0, generator(0), height=200, width=220)
    assert image.shape == (200, 220, 3)
    assert boxes
    assert all(0 <= x0 < x1 <= 220 and 0 <= y0 < y1 <= 200 for _, (x0, y0, x1, y1) in boxes)


def test_a_blob_has_about_the_area_of_its_circle() -> None:
    mask = blob(Canvas(80, 80), 40, 40, 20, generator(0), wobble=0.05)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert abs(mask.sum() / (np.pi * 400) - 1) < 0.15


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="blood_cell"):
        synthesize("blood", tmp_path / "out")
    for options in ({"records": 29}, {"size": 31}, {"size": 2000}):
        with pytest.raises(CohortError, match="cannot be drawn"):
            synthesize("blood_cell", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_synthetic_cohort_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthesize("blood_cell", out, records=30, size=32)
    (out / "note.txt").write_text("x")
    with pytest.raises(StoreError, match="exists already"):
        synthesize("blood_cell", out, records=30, size=32)
    assert (out / "note.txt").exists()
    done = synthesize("blood_cell", out, records=31, size=32, overwrite=True)
    assert done.records == 31
    assert not (out / "note.txt").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "labels.csv", "labels.yaml"])
def test_folders_of_other_people_are_never_cleared(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("name: mine\n")
    with pytest.raises(StoreError, match="not an earlier synthetic cohort"):
        synthesize("blood_cell", out, records=30, size=32, overwrite=True)
    assert [f.name for f in out.iterdir()] == [name]
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StoreError):
        synthesize("blood_cell", file, records=30, size=32, overwrite=True)
    assert file.read_text() == "x"


def test_overwrite_takes_an_empty_or_absent_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        assert synthesize("blood_cell", tmp_path / name, records=30, size=32, overwrite=True).records == 30


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    class Stop(Progress):
        def advance(self, count: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    stop: Callable[[str, int, str], Progress] = Stop
    with pytest.raises(KeyboardInterrupt):
        synthesize("blood_cell", tmp_path / "out", records=30, size=32, progress=stop)
    assert list(tmp_path.iterdir()) == []
