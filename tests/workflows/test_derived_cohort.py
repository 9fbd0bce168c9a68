"""A folder with a cohort made from another: whose work it holds, and what its table and YAML say."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.info import CohortInfo
from medfm.cohorts.load import load_cohort
from medfm.core.errors import StoreError
from medfm.workflows.derived_cohort import PROVENANCE, begin_folder, write_derived_table

OURS = ("labels.csv", PROVENANCE, "volumes")
WRITER, DIFFERS = "medfm data turn", "Turned in another way."


def begin(target: Path, key: str = "k", *, overwrite: bool = False) -> None:
    begin_folder(target, WRITER, key, OURS, overwrite=overwrite, differs=DIFFERS)


def work(target: Path, key: str = "k", writer: object = WRITER) -> Path:
    """A folder as an earlier run left it, with a file of the user."""
    (target / "volumes").mkdir(parents=True)
    (target / "volumes" / "a.nii").write_bytes(b"a")
    (target / PROVENANCE).write_text(json.dumps({"written_by": writer, "setup_sha256": key}), "utf-8")
    (target / "mine.txt").write_text("kept", "utf-8")
    return target


def test_a_new_and_an_empty_folder_are_begun(tmp_path: Path) -> None:
    begin(tmp_path / "new")
    begin(tmp_path)
    assert not (tmp_path / "new").exists() and not list(tmp_path.iterdir())


def test_the_same_work_is_gone_on_with(tmp_path: Path) -> None:
    begin(work(tmp_path / "a"))
    assert (tmp_path / "a" / "volumes" / "a.nii").read_bytes() == b"a"


def test_work_of_other_settings_is_kept_until_it_may_be_replaced(tmp_path: Path) -> None:
    place = work(tmp_path / "a", "other")
    with pytest.raises(StoreError, match=DIFFERS):
        begin(place)
    assert (place / "volumes" / "a.nii").exists()
    begin(place, overwrite=True)
    assert sorted(p.name for p in place.iterdir()) == ["mine.txt"]


@pytest.mark.parametrize("said", ["[1]", "no JSON", json.dumps({"written_by": "medfm data lungs"}), None])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_another_wrote_is_never_touched(tmp_path: Path, said: str | None, overwrite: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years", "utf-8")
    if said is not None:
        (tmp_path / PROVENANCE).write_text(said, "utf-8")
    with pytest.raises(StoreError, match="other things"):
        begin(tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text("utf-8") == "years"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StoreError):
        begin(tmp_path / "a")


def cohort_of(tmp_path: Path, text: str) -> Cohort:
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "labels.csv").write_text(text, "utf-8")
    (tmp_path / "labels.yaml").write_text(
        "task: grade\nlicence: CC0-1.0\nmodality: retina\nnotes: [first]\nname: eyes\n", "utf-8"
    )
    return load_cohort(tmp_path / "labels.csv", check=False)


INFO = CohortInfo(task="grade", licence="CC0-1.0", notes=["first"], name="other", label_map={"label": {"1": "x"}})


def test_the_new_yaml_says_what_the_old_one_said_and_the_note(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "record_id,path,patient_id,site,split\nr,a.png,p,s,train\n")
    target = tmp_path / "out"
    target.mkdir()
    file = write_derived_table(cohort.table, cohort, INFO, target, "turned", root="..")
    said = yaml.safe_load((target / "labels.yaml").read_text("utf-8"))
    assert said == {
        "name": "eyes", "modality": "retina", "root": "..", "task": "grade", "licence": "CC0-1.0",
        "notes": ["first", "turned"],
    }  # fmt: skip
    again = load_cohort(file, check=False)
    assert again.modality == "retina" and list(again.table["patient_id"]) == ["p"]


def test_nothing_is_claimed_that_is_not_known(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "record_id,path,frame\nr,a.png,3\n")
    assert not cohort.patients_known
    file = write_derived_table(cohort.table, cohort, INFO, tmp_path, "turned", gone=["frame"])
    written = pd.read_csv(file)
    assert not {"patient_id", "site", "split", "frame"} & set(written.columns) and list(written["record_id"]) == ["r"]
