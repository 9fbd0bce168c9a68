"""The synthetic H&E cohort: formats, stains that differ by site, tissues that differ by shape."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medfm.cohorts.checks import run_checks
from medfm.cohorts.checks.patches import blurred, empty, inked
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import NOTICE, Synthesized, synthesize
from medfm.cohorts.synthetic_pictures import save_picture
from medfm.cohorts.synthetic_tissue import TISSUES, Section, patch, soft
from medfm.cohorts.synthetic_tissue_cohort import CAPTIONS, MPP, SITES, caption, patients
from medfm.core.errors import CohortError
from medfm.knowledge.load import load_knowledge
from medfm.modalities.histopathology_quality import measure


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    return synthesize("histopathology", tmp_path_factory.mktemp("tissue") / "out", records=100, size=128)


@pytest.fixture(scope="module")
def cohort(written: Synthesized) -> Cohort:
    return load_cohort(written.table)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def draw(kind: str, site: str = "north", seed: int = 0, size: int = 224) -> np.ndarray:
    return patch(kind, size, MPP, SITES[site].stain, (1.0, 1.0), np.random.default_rng(seed))


def test_the_cohort_is_sound_and_says_it_is_synthetic(cohort: Cohort, written: Synthesized) -> None:
    assert cohort.modality == "histopathology"
    assert len(cohort) == written.records == 100
    assert written.patients == cohort.table["patient_id"].nunique() == 80
    assert written.smears is None
    assert cohort.synthetic
    assert NOTICE in cohort.info["notes"]
    findings = {f.code: f.severity for f in run_checks(cohort)}
    assert {findings[code] for code in ("H001", "H002", "H003", "H004")} == {"passed"}
    assert "error" not in findings.values()


def test_labels_are_those_of_the_knowledge_base(cohort: Cohort, written: Synthesized) -> None:
    assert cohort.info["label_set"] == "nct-crc-quilt"
    assert set(written.counts) == set(TISSUES) == set(CAPTIONS)
    for name in ("nct-crc-quilt", "nct-crc-pathgen"):
        assert set(TISSUES) <= set(load_knowledge("histopathology").label_set(name).labels)


def test_patients_keep_site_split_and_person(cohort: Cohort) -> None:
    table = cohort.table
    each = table.groupby("patient_id")
    assert each.size().max() == 2
    assert each[["split", "site", "age", "sex", "slide_id"]].nunique().max().max() == 1
    assert table.groupby("site")["split"].nunique().eq(3).all()
    assert not table.duplicated(["slide_id", "patch_x", "patch_y"]).any()


def test_every_format_is_read_back_with_place_and_resolution(cohort: Cohort) -> None:
    formats = set()
    for index in (0, 1, 2, 3, 96, 97, 98, 99):
        record, row = cohort.read(index), cohort.table.iloc[index]
        assert record.array.shape == (128, 128, 3)
        assert record.array.dtype == np.uint8
        assert record.facts["mpp"] == MPP
        assert record.facts["place"] == [128 * (index // 80), 0]
        formats.add((record.facts["format"].lower(), row["site"]))
    assert formats == {("png", "north"), ("jpeg", "south"), ("tiff", "east"), ("hdf5", "west")}


def test_lossless_files_and_the_stack_hold_what_was_drawn(cohort: Cohort) -> None:
    person = {p.patient_id: p for p in patients(0)}
    for index in (0, 2, 3, 82, 83):
        row = cohort.table.iloc[index]
        rng = np.random.default_rng([0, 31, index])
        kind = str(rng.choice(list(TISSUES), p=person[row["patient_id"]].mix))
        assert kind == row["label"]
        drawn = patch(kind, 128, MPP, SITES[row["site"]].stain, person[row["patient_id"]].strength, rng)
        assert np.array_equal(cohort.read(index).array, drawn)


def test_the_stack_holds_every_patch_of_its_site_once(cohort: Cohort) -> None:
    rows = cohort.table[cohort.table["site"] == "west"]
    assert rows["index"].astype(int).tolist() == list(range(25))
    assert set(cohort.table.loc[cohort.table["site"] != "west", "index"].fillna("")) == {""}
    with h5py.File(cohort.root / "stacks" / "west.h5") as stack:
        assert stack["x"].shape == (25, 128, 128, 3)
        assert stack["x"].chunks == (1, 128, 128, 3)
        assert stack.attrs["description"] == NOTICE


def test_every_file_says_synthetic(cohort: Cohort) -> None:
    for index in range(4):
        assert b"SYNTHETIC" in (cohort.root / cohort.table["path"][index]).read_bytes()


@pytest.mark.parametrize("kind", sorted(TISSUES))
@pytest.mark.parametrize("site", sorted(SITES))
def test_a_patch_of_every_class_passes_the_checks(kind: str, site: str) -> None:
    for seed in range(2):
        quality = measure(draw(kind, site, seed), {})
        assert not empty(quality)
        assert not blurred(quality)
        assert inked(quality) is None


def test_tissues_look_as_they_should() -> None:
    pictures = {kind: np.stack([draw(kind, seed=s) for s in range(3)]).astype(float) for kind in TISSUES}
    glass = {kind: (p.min(axis=-1) > 206).mean() for kind, p in pictures.items()}
    assert glass["ADI"] > 0.5 > 5 * glass["LYM"]
    # Haematoxylin takes red away, eosin leaves it: nuclei are where red is low.
    nuclei = {kind: (p[..., 0] < 140).mean() for kind, p in pictures.items()}
    assert nuclei["LYM"] > 2 * nuclei["NORM"] > nuclei["STR"] > 0.01 > 0.1 * nuclei["ADI"]
    assert nuclei["TUM"] > 1.3 * nuclei["NORM"]
    pink = {kind: (p[..., 0] - p[..., 1]).mean() for kind, p in pictures.items()}
    assert max(pink, key=pink.__getitem__) == "STR"


def test_sites_stain_the_same_section_differently() -> None:
    means = [draw("TUM", site, seed=1).mean(axis=(0, 1)) for site in SITES]
    for i, one in enumerate(means):
        for other in means[i + 1 :]:
            assert np.abs(one - other).max() > 4
    weak, strong = (
        patch("LYM", 96, MPP, SITES["north"].stain, (s, s), np.random.default_rng(0)).mean() for s in (0.85, 1.15)
    )
    assert weak > strong + 5


def test_fibres_run_in_the_direction_that_the_nuclei_follow() -> None:
    rng = np.random.default_rng(3)
    section = Section(128, MPP, rng)
    section.nucleus(32.0, 32.0, 2.0, long=4.0, turn=0.0)
    rows, columns = np.nonzero(section.blue > 0.5)
    assert np.ptp(columns) > 2.5 * np.ptp(rows)
    assert abs(columns.mean() * MPP - 32) < 1
    assert abs(rows.mean() * MPP - 32) < 1


@pytest.mark.parametrize(
    "place", [(-20.0, 10.0), (10.0, -20.0), (500.0, 10.0), (10.0, 500.0), (0.0, 0.0), (63.9, 63.9)]
)
def test_nuclei_outside_or_at_the_edge_do_no_harm(place: tuple[float, float]) -> None:
    section = Section(128, MPP, np.random.default_rng(0))
    section.nucleus(*place, 3.0)
    assert np.isfinite(section.blue).all()
    assert (section.blue.max() > 0.5) == (min(place) >= 0 and max(place) < 64)


def test_spots_are_spaced_and_cover_the_patch() -> None:
    section = Section(224, MPP, np.random.default_rng(0))
    places = section.spots(20.0, 0.0)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    assert abs(gaps.min() - 20) < 1e-6
    inside = ((places > 0) & (places < section.width)).all(axis=1).sum()
    assert abs(inside - section.width**2 / (20 * 20 * np.sqrt(3) / 2)) < 10
    assert abs(section.noise(8.0).std() - 1) < 0.3
    assert soft(np.array([-5.0, 0.0, 5.0]), 0.3).round(6).tolist() == [0, 0.5, 1]


def test_captions_vary_and_are_no_prompts() -> None:
    rng = np.random.default_rng(0)
    names = {n.lower() for c in load_knowledge("histopathology").classes for n in (c.name, *c.synonyms)}
    texts = {kind: {caption(kind, rng) for _ in range(60)} for kind in TISSUES}
    for kind, found in texts.items():
        assert len(found) >= 9
        assert not {part.lower() for text in found for part in text.split(". ")} & names
        assert not any(found & other for name, other in texts.items() if name != kind)


def test_the_plan_of_patients() -> None:
    people = patients(0)
    assert len({p.patient_id for p in people}) == len(people) == 80
    table = pd.DataFrame([{"site": p.site, "split": p.split} for p in people])
    assert table.groupby("site")["split"].value_counts().unstack().to_numpy().tolist() == [[6, 12, 2]] * 4
    assert all(abs(sum(p.mix) - 1) < 1e-9 and min(p.mix) > 0.05 for p in people)


def test_equal_arguments_give_equal_files_and_other_seeds_others(tmp_path: Path) -> None:
    one, two, three = (
        digests(synthesize("histopathology", tmp_path / name, records=30, size=64, seed=seed).table.parent)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert one == two
    assert not set(one.values()) & set(three.values())
    more = digests(synthesize("histopathology", tmp_path / "d", records=34, size=64, seed=3).table.parent)
    assert {k: v for k, v in one.items() if k.startswith("images")}.items() <= more.items()


@pytest.mark.parametrize("options", [{"records": 29}, {"size": 63}, {"size": 1025}, {"size": 0}])
def test_wrong_arguments(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(CohortError, match="cannot be drawn"):
        synthesize("histopathology", tmp_path / "x", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_of_another_modality_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "x"
    synthesize("histopathology", out, records=30, size=64)
    assert synthesize("blood_cell", out, records=30, size=32, overwrite=True).records == 30
    assert not (out / "stacks").exists()


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_pictures_are_saved_as_their_ending_says(tmp_path: Path, ending: str) -> None:
    image = draw("NORM", size=64)
    save_picture(tmp_path / f"x{ending}", image)
    with Image.open(tmp_path / f"x{ending}") as back:
        difference = np.abs(np.asarray(back).astype(int) - image)
    assert difference.mean() < (4 if ending == ".jpg" else 1e-9)
