"""Synthetic brains: deterministic files, subjects and visits, and the anatomy that tests rely on."""

from __future__ import annotations

import dataclasses
import gzip

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import NOTICE, synthesize
from medfm.cohorts.synthetic_brains import MM, SHAPE, Anatomy, Brain, Scanner, anatomy, draw_brain, ventricle_ml
from medfm.cohorts.synthetic_brains_cohort import MONTHS, SITES, nifti_bytes, subject
from medfm.core.errors import CohortError

BRAIN = Brain(1.0, 1.0, 1.0, (1, 2))
CLEAN = Scanner(100.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return synthesize("brain_mri", tmp_path_factory.mktemp("s") / "brains", records=60)


def test_files_and_table_say_what_they_are(written):
    cohort = load_cohort(written.table)
    assert cohort.synthetic and cohort.modality == "brain_mri" and len(cohort) == 60
    assert written.patients == 12 and sum(written.counts.values()) == 60
    image = nibabel.load(cohort.root / cohort.table["path"][0])
    assert image.shape == SHAPE and bytes(image.header["descrip"]).rstrip(b"\0").decode() == NOTICE
    assert image.header.get_zooms() == (MM, MM, MM) and image.header.get_xyzt_units()[0] == "mm"
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.affine @ [15.5, 19.5, 15.5, 1], [0, 0, 0, 1])
    assert cohort.table["path"][1].endswith("sub-0000/ses-M060/anat/sub-0000_ses-M060_T1w.nii.gz")


def test_visits_of_a_subject(written):
    table = load_cohort(written.table).table
    for _, visits in table.groupby("patient_id"):
        assert tuple(visits["session"].astype(int)) == MONTHS
        assert visits["split"].nunique() == visits["label"].nunique() == visits["site"].nunique() == 1
        np.testing.assert_allclose(np.diff(visits["age"].astype(float)), 5, atol=0.011)
        assert (np.diff(visits["ventricles_ml"].astype(float)) > 0).all()
        assert (np.diff(visits["hippocampi_ml"].astype(float)) <= 0).all()
    assert set(table["split"]) == {"train", "val", "test"} and set(table["site"]) == set(SITES)


def test_equal_arguments_give_equal_files(written, tmp_path):
    again = synthesize("brain_mri", tmp_path / "again", records=30)
    other = synthesize("brain_mri", tmp_path / "other", records=30, seed=1)
    name = "sub-0002/ses-M120/anat/sub-0002_ses-M120_T1w.nii.gz"
    first = (written.table.parent / name).read_bytes()
    assert first == (again.table.parent / name).read_bytes() != (other.table.parent / name).read_bytes()
    # Fewer records are the beginning of more.
    assert written.table.read_text().startswith(again.table.read_text())


def test_the_record_as_read_is_the_volume_drawn(written):
    record = load_cohort(written.table).read(0)
    assert record.array.shape == SHAPE and record.array.dtype == np.float32
    assert record.facts["spacing_mm"] == [MM, MM, MM] and float(record.array.min()) == 0.0
    # Skull-stripped: nothing at the border.
    border = np.ones(SHAPE, bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert not record.array[border].any()


def test_no_size_in_pixels(tmp_path):
    with pytest.raises(CohortError, match="for images"):
        synthesize("brain_mri", tmp_path / "b", size=64)
    with pytest.raises(CohortError, match="at least 30"):
        synthesize("brain_mri", tmp_path / "b", records=29)


@pytest.mark.parametrize("diagnosis", ["CN", "MCI", "AD"])
def test_ventricles_grow_with_age_and_time(diagnosis):
    by_age = [anatomy(BRAIN, age, 0, diagnosis).ventricles_ml for age in (55, 65, 75, 85)]
    by_time = [anatomy(BRAIN, 70, months / 12, diagnosis).ventricles_ml for months in MONTHS]
    assert by_age == sorted(by_age) and by_time == sorted(by_time) and by_age[-1] > 1.8 * by_age[0]


def test_disease_shrinks_hippocampi_and_widens_ventricles():
    parts = [anatomy(BRAIN, 70, 0, diagnosis) for diagnosis in ("CN", "MCI", "AD")]
    assert parts[0].hippocampi_ml > 1.2 * parts[1].hippocampi_ml > 1.4 * parts[2].hippocampi_ml
    assert parts[0].ventricles_ml < parts[1].ventricles_ml < parts[2].ventricles_ml


@settings(max_examples=8, deadline=None)
@given(st.floats(10, 90), st.floats(0.95, 1.05), st.floats(1, 5000))
def test_what_is_measured_is_what_was_drawn(ml, size, gain):
    """On a clean scan of any brightness, to within the fluid that soft edges and neighbours add."""
    brain = dataclasses.replace(BRAIN, size=size)
    scanner = dataclasses.replace(CLEAN, gain=gain)
    volume = draw_brain(brain, Anatomy(ml, 6.0), scanner, np.random.default_rng(0))
    assert ventricle_ml(volume) == pytest.approx(ml, abs=1.5 + 0.08 * ml)


def test_measured_ventricles_rise_with_drawn_ones_under_noise():
    noisy = Scanner(1.0, 0.05, 0.04)
    found = [
        ventricle_ml(draw_brain(BRAIN, Anatomy(ml, 6.0), noisy, np.random.default_rng(3))) for ml in range(12, 80, 4)
    ]
    assert (np.diff(found) > 0).all()


def test_hippocampi_are_seen():
    volumes = [draw_brain(BRAIN, Anatomy(20.0, ml), CLEAN, np.random.default_rng(0)) for ml in (9.0, 3.0)]
    lost = volumes[0] - volumes[1]
    # Fluid where tissue was, on both sides, below and beside the ventricles, and nowhere else.
    where = np.argwhere(lost > 10)
    assert len(where) > 8 and set(where[:, 0] < SHAPE[0] / 2) == {True, False}
    assert where[:, 2].max() < SHAPE[2] / 2


def test_a_subject_is_the_same_for_every_number_of_records():
    assert subject(3, 7) == subject(3, 7) != subject(4, 7)
    people = [subject(0, number) for number in range(200)]
    shares = {name: sum(p.split == name for p in people) / 200 for name in ("train", "val", "test")}
    assert shares == {"train": 0.6, "val": 0.1, "test": 0.3}
    assert {p.diagnosis for p in people} == {"CN", "MCI", "AD"} and len({p.brain for p in people}) == 200


def test_nifti_without_a_time_stamp():
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    data = nifti_bytes(volume, np.eye(4))
    assert data == nifti_bytes(volume, np.eye(4)) and data[4:8] == b"\0\0\0\0"
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume)
