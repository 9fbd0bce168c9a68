"""LC25000: its copies are said to be copies, and grouped where the published groups are named."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from cohort_pictures import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters import prepare
from medfm.cohorts.adapters.lc25000 import CLUSTERS, read_groups
from medfm.cohorts.checks.run import run_checks
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.cohorts.splits import train_val_test
from medfm.core.errors import CohortError

CODES = ("lung_aca", "lung_n", "lung_scc")


def lung(root: Path, originals: int = 4, copies: int = 3) -> Path:
    for c, code in enumerate(CODES):
        for i in range(originals * copies):
            save(root / "lung_image_sets" / code / f"{code.replace('_', '')}{i}.jpeg", 100 * c + i)
    return root


def groups(root: Path, originals: int = 4, copies: int = 3, codes: tuple[str, ...] = CODES) -> Path:
    for code in codes:
        folder = root / code / "UNI" / "resize_only"
        folder.mkdir(parents=True)
        with (folder / CLUSTERS).open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["cluster_label", "img_path"])
            for i in range(originals * copies):
                writer.writerow([i % originals, f"./LC25000/{code}/{code.replace('_', '')}{i}.jpeg"])
    return root


def made(tmp_path: Path, splits: Path | None, name: str = "lc25000") -> Cohort:
    prepared = prepare(name, lung(tmp_path / "in"), tmp_path / "out", allow_partial=True, splits=splits)
    return load_cohort(prepared.table, check=False)


def test_without_groups_patients_are_unknown_and_the_check_says_that_copies_are_mixed(tmp_path: Path) -> None:
    cohort = made(tmp_path, None)
    assert not cohort.patients_known
    finding = {f.code: f for f in run_checks(cohort, deep=False)}["L009"]
    assert finding.severity == "warning" and "250 pictures blown up to 5,000" in finding.detail
    assert "--splits" in " ".join(cohort.info["notes"])


def test_with_groups_the_copies_of_an_original_are_one_patient(tmp_path: Path) -> None:
    cohort = made(tmp_path, groups(tmp_path / "annotations"))
    assert cohort.patients_known
    assert {f.code: f for f in run_checks(cohort, deep=False)}["L009"].severity == "passed"
    table = cohort.table
    assert table["patient_id"].nunique() == 12
    assert set(table.groupby("patient_id").size()) == {3}
    # One group is of one class: equal numbers of different classes are different groups.
    assert set(table.groupby("patient_id")["label"].nunique()) == {1}
    assert "corrected by hand" in " ".join(cohort.info["notes"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_by_patient_then_keeps_copies_together(tmp_path: Path, seed: int) -> None:
    cohort = made(tmp_path, groups(tmp_path / "annotations"))
    frame = train_val_test(cohort, np.random.default_rng(seed), target="label").table
    assert set(frame["split"]) >= {"train", "test"}
    assert frame.groupby("patient_id")["split"].nunique().max() == 1


def test_groups_serve_every_variant_and_pathgens_records_stay_test(tmp_path: Path) -> None:
    cohort = made(tmp_path, groups(tmp_path / "annotations"), "lc25000-lung@pathgen")
    assert set(cohort.table["split"]) == {"test"} and cohort.table["patient_id"].nunique() == 12


def test_a_class_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no table of the copies of lung_scc") as caught:
        made(tmp_path, groups(tmp_path / "annotations", codes=CODES[:2]))
    assert "LC25000-clean" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_patches_in_no_group_are_counted(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="9 of 36 patches are in no group"):
        made(tmp_path, groups(tmp_path / "annotations", copies=2, originals=4) and _short(tmp_path))


def _short(tmp_path: Path) -> Path:
    folder = tmp_path / "short"
    for code in CODES:
        (folder / code).mkdir(parents=True)
        lines = [f"{i % 4},./{code}/{code.replace('_', '')}{i}.jpeg" for i in range(9)]
        (folder / code / CLUSTERS).write_text("cluster_label,img_path\n" + "\n".join(lines))
    return folder


def test_a_patch_in_two_groups_is_refused(tmp_path: Path) -> None:
    folder = groups(tmp_path / "annotations")
    other = folder / "lung_n" / "OTHER"
    other.mkdir()
    (other / CLUSTERS).write_text("cluster_label,img_path\n3,./LC25000/lung_n/lungn0.jpeg\n")
    with pytest.raises(CohortError, match="in two groups") as caught:
        read_groups(folder, CODES)
    assert "lungn0.jpeg" in str(caught.value)


@pytest.mark.parametrize("head", ["cluster,img_path", "cluster_label,path", ""])
def test_a_table_with_other_columns_is_refused(tmp_path: Path, head: str) -> None:
    folder = groups(tmp_path / "annotations")
    (folder / "lung_n" / "UNI" / "resize_only" / CLUSTERS).write_text(f"{head}\n0,a.jpeg\n")
    with pytest.raises(CohortError, match="has no column"):
        read_groups(folder, CODES)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(st.integers(0, 249), min_size=1, max_size=30), windows=st.booleans())
def test_groups_come_back_as_the_table_says(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int], windows: bool
) -> None:
    folder = tmp_path_factory.mktemp("groups")
    (folder / "lung_n").mkdir()
    slash = "\\" if windows else "/"
    lines = [f"{n},.{slash}LC25000{slash}lung_n{slash}lungn{i}.jpeg" for i, n in enumerate(labels)]
    (folder / "lung_n" / CLUSTERS).write_text("cluster_label,img_path\n" + "\n".join(lines))
    found = read_groups(folder, ("lung_n",))
    assert found == {("lung_n", f"lungn{i}"): f"lung_n/{n}" for i, n in enumerate(labels)}
