"""A cohort made ready: what is written, what is kept, what is refused; the recipe is the light one, on heads of 6 mm."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brain_volumes import save_head, t1_head

from medfm.cohorts.info import CohortInfo, load_info
from medfm.cohorts.load import load_cohort
from medfm.core.errors import ConfigError, ReadError, StoreError, UnknownNameError
from medfm.core.hashing import sha256_file
from medfm.encoders.preparation.steps import PreparationRecipe
from medfm.workflows import standardize_files
from medfm.workflows.standardize import load_preparation, preparation_recipes, standardize

STEPS = [
    {"step": "volume_reorient"},
    {"step": "volume_crop_brain", "about": "centre_of_mass", "size_mm": [192, 240, 192]},
]
QUICK = PreparationRecipe.model_validate({"id": "quick@1", "title": "no mask, for tests", "steps": STEPS})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three good volumes and four that are not, with a table of the columns that people have."""
    folder = tmp_path / "source"
    volume, _ = t1_head(8.0)
    for n in range(3):
        save_head(folder / f"scan{n}.nii.gz", volume + np.float32(n), 8.0)
    broken = volume.copy()
    broken[3, 3, 3] = np.nan
    save_head(folder / "nan.nii.gz", broken, 8.0)
    save_head(folder / "two.nii.gz", np.stack([volume, volume], -1), 8.0)
    (folder / "text.nii.gz").write_text("no volume")
    rows = [
        ("a/1", "scan0.nii.gz", "p1", "train", "CN", 60, ""),
        ("a/2", "scan1.nii.gz", "p1", "train", "AD", 61, "file"),
        ("A/1", "scan2.nii.gz", "p2", "test", "CN", 70, ""),
        ("bad-nan", "nan.nii.gz", "p3", "test", "AD", 71, ""),
        ("bad-4d", "two.nii.gz", "p4", "test", "AD", 72, ""),
        ("bad-text", "text.nii.gz", "p5", "test", "AD", 73, ""),
        ("gone", "gone.nii.gz", "p6", "test", "AD", 74, ""),
    ]
    columns = ["record_id", "path", "subject", "split", "label", "age", "axes"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "labels.csv", index=False)
    (folder / "labels.yaml").write_text(
        "modality: brain_mri\nname: study\nlicence: CC-BY-4.0\ncolumns: {patient_id: subject}\n"
        "label_map: {label: {CN: healthy}}\nnotes: [from a scanner]\n"
    )
    return folder / "labels.csv"


def load(table: Path, **more):
    return load_cohort(table, check=False, **more)


def run(table: Path, out: Path, **more):
    return standardize(load(table), QUICK, out, info=load_info(table), **more)


def good(table: Path, out: Path, **more):
    cohort = load(table)
    return standardize(cohort.subset(slice(0, 3)), QUICK, out, info=load_info(table), **more)


def test_what_is_written(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "standard"
    done = run(source, out)
    assert (done.written, done.kept, len(done.failed)) == (3, 0, 4)
    reasons = dict(done.failed)
    assert "1 voxels are NaN" in reasons["bad-nan"] and "To do: export" in reasons["bad-nan"]
    assert "holds 2 volumes" in reasons["bad-4d"] and "text file" in reasons["bad-text"]
    assert "does not exist" in reasons["gone"]
    # Ids are no file names: what cannot stand in one is replaced, and capitals do not collide on any disk.
    assert sorted(p.name for p in (out / "volumes").iterdir()) == ["A_1-2.nii.gz", "a_1.nii.gz", "a_2.nii.gz"]
    again = load_cohort(done.table)
    assert again.modality == "brain_mri" and again.patients_known and again.name == "study"
    assert again.table[["record_id", "patient_id", "split", "label", "age"]].to_numpy().tolist() == [
        ["a/1", "p1", "train", "healthy", 60], ["a/2", "p1", "train", "AD", 61], ["A/1", "p2", "test", "healthy", 70],
    ]  # fmt: skip
    assert "axes" not in again.table.columns, "an option of the reader of the old files"
    info = load_info(done.table)
    assert info.licence == "CC-BY-4.0" and info.notes[0] == "from a scanner" and "quick@1" in info.notes[1]
    assert not info.columns and not info.label_map
    for record in (again.read(n) for n in range(3)):
        assert record.array.shape == (24, 30, 24) and record.facts["spacing_mm"] == [8, 8, 8]
        assert record.facts["left_right"] == "known" and record.facts["stored"] == "float32"


def test_its_provenance(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "standard"
    run(source, out)
    told = json.loads((out / "provenance.json").read_text())
    assert told["finished"] and told["recipe"] == QUICK.to_dict() and told["recipe_sha256"] == QUICK.digest()
    assert {"medfm", "numpy", "scipy"} == set(told["software"]) and told["template_sha256"] is None
    assert [one["record_id"] for one in told["failed"]] == ["bad-nan", "bad-4d", "bad-text", "gone"]
    first = told["records"][0]
    assert first["record_id"] == "a/1" and first["volume"] == "volumes/a_1.nii.gz"
    assert first["volume_sha256"] == sha256_file(out / first["volume"])
    assert first["source"]["spacing_mm"] == [8, 8, 8] and first["shape"] == [24, 30, 24]
    assert [step["step"] for step in first["steps"]] == ["volume_reorient", "volume_crop_brain"]
    assert str(tmp_path) not in json.dumps(told), "no path of this machine"


def test_a_second_run_keeps_what_is_right_and_mends_what_is_not(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "standard"
    first = good(source, out)
    before = {p.name: p.read_bytes() for p in (out / "volumes").iterdir()}
    assert good(source, out) == replace(first, written=0, kept=3)
    (out / "volumes" / "a_1.nii.gz").write_bytes(b"cut off")  # damaged
    (out / "records" / "a_2.json").unlink()  # interrupted between the two
    assert (good(source, out).written, good(source, out).kept) == (2, 3)
    assert {p.name: p.read_bytes() for p in (out / "volumes").iterdir()} == before, "the same bytes again"
    save_head(source.parent / "scan0.nii.gz", t1_head(8.0)[0] * 2, 8.0)  # another scan under the same name
    assert (good(source, out).written, good(source, out).kept) == (1, 3)
    assert (out / "volumes" / "a_1.nii.gz").read_bytes() != before["a_1.nii.gz"]


def test_a_scan_that_became_unreadable_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "standard"
    good(source, out)
    (source.parent / "scan1.nii.gz").write_bytes(b"")
    done = good(source, out)
    assert (done.written, done.kept, len(done.failed)) == (0, 2, 1)
    assert not (out / "volumes" / "a_2.nii.gz").exists() and not (out / "records" / "a_2.json").exists()
    assert len(load_cohort(done.table)) == 2


def test_an_interrupted_run_goes_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real, calls = tmp_path / "standard", standardize_files.prepare, []

    def stopped(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(standardize_files, "prepare", stopped)
    with pytest.raises(KeyboardInterrupt):
        good(source, out)
    assert not json.loads((out / "provenance.json").read_text())["finished"]
    assert not (out / "labels.csv").exists() and not list(out.rglob("*.tmp"))
    done = good(source, out)
    assert (done.written, done.kept) == (2, 1) and len(calls) == 4


def test_workers_write_the_same(source: Path, tmp_path: Path) -> None:
    alone, many = run(source, tmp_path / "one"), run(source, tmp_path / "two", workers=2)
    assert replace(many, out=alone.out, table=alone.table) == alone
    for file in (tmp_path / "one").rglob("*"):
        if file.is_file():
            assert (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes() == file.read_bytes(), file.name


def test_another_recipe_is_another_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "standard"
    good(source, out)
    other = PreparationRecipe.model_validate({**QUICK.to_dict(), "steps": STEPS[:1]})
    cohort = load(source).subset(slice(0, 3))
    with pytest.raises(StoreError, match="prepared in another way") as caught:
        standardize(cohort, other, out)
    assert "--overwrite" in str(caught.value.fix)
    done = standardize(cohort, other, out, overwrite=True)
    assert done.written == 3 and load_cohort(done.table).read(0).array.shape != (24, 30, 24)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_things_is_never_touched(source: Path, tmp_path: Path, overwrite: bool) -> None:
    before = sorted(p.name for p in source.parent.iterdir())
    for out in (source.parent, tmp_path / "mine"):
        out.mkdir(exist_ok=True)
        (out / "provenance.json").write_text("{}") if out.name == "mine" else None
        with pytest.raises(StoreError, match="holds other things"):
            good(source, out, overwrite=overwrite)
    assert sorted(p.name for p in source.parent.iterdir()) == before


def test_where_nothing_could_be_prepared_there_is_no_table(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "standard"
    good(source, out)
    for n in range(3):
        (source.parent / f"scan{n}.nii.gz").unlink()
    done = good(source, out)
    assert done.table is None and len(done.failed) == 3 and not (out / "labels.csv").exists()


def test_patients_that_were_not_known_stay_so(source: Path, tmp_path: Path) -> None:
    cohort = replace(load(source).subset([0]), patients_known=False)
    done = standardize(cohort, QUICK, tmp_path / "standard", info=CohortInfo())
    assert not load_cohort(done.table).patients_known


def test_a_cohort_of_another_modality(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="for brain_mri, and the cohort holds ecg"):
        standardize(load(source, modality="ecg"), QUICK, tmp_path / "standard")
    assert not (tmp_path / "standard").exists()


def test_a_file_that_changes_while_it_is_read(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = standardize_files.prepare

    def changed(*args):
        shutil.copy(source.parent / "scan2.nii.gz", source.parent / "scan0.nii.gz")
        return real(*args)

    monkeypatch.setattr(standardize_files, "prepare", changed)
    done = standardize(load(source).subset([0]), QUICK, tmp_path / "standard")
    assert done.failed == (("a/1", "The file changed while it was being read."),) and done.table is None


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a library tripped"), ReadError("No.", fix="do it")])
def test_one_strange_volume_does_not_end_the_run(source: Path, tmp_path: Path, monkeypatch, error: Exception) -> None:
    def fails(record, *_):
        raise error

    monkeypatch.setattr(standardize_files, "prepare", fails)
    reason = good(source, tmp_path / "standard").failed[0][1]
    assert reason in (
        "There is not enough memory to prepare the volume.", "Unexpected RuntimeError while preparing.", "No. To do: do it.",
    )  # fmt: skip


class TestRecipes:
    def test_names(self) -> None:
        assert preparation_recipes() == ["brain-mri", "brain-mri-light", "ldae-published"]
        assert load_preparation("brain-mri-light").id == "brain-mri-light@1"
        with pytest.raises(UnknownNameError, match="brain-mri"):
            load_preparation("brain-mir")
        with pytest.raises(ConfigError, match="does not exist"):
            load_preparation("absent.yaml")

    def test_arguments_are_changed_by_the_name_of_the_step(self) -> None:
        made = load_preparation("brain-mri", ["volume_brain_mask.method=hd-bet", "volume_register.seed=7"])
        steps = {step.step: step.to_dict() for step in made.steps}
        assert steps["volume_brain_mask"]["method"] == "hd-bet" and steps["volume_register"]["seed"] == 7
        assert made.digest() != load_preparation("brain-mri").digest()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("steps=[]", "is not a step"),
            ("volume_size.size=[1,1,1]", "is not a step"),
            ("volume_brain_mask=3", "is not a step"),
            ("volume_brain_mask.metod=3", "metod"),
            ("volume_brain_mask.method=bet", "method"),
        ],
    )
    def test_wrong_changes(self, change: str, words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            load_preparation("brain-mri", [change])
