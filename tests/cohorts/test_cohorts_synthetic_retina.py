"""The synthetic fundus cohort: what is drawn is what the table says, and our own checks believe it."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from medfm.cohorts.checks import run_checks
from medfm.cohorts.checks.fundus import badly_lit, blurred, not_a_fundus, other_side
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import NOTICE, Synthesized, synthesize
from medfm.cohorts.synthetic_fundus import DISC, FOVEA, Eye, Fundus, draw_retina, smooth_noise, soft
from medfm.cohorts.synthetic_fundus_lesions import GRADES, Lesions, draw_lesions, photograph
from medfm.cohorts.synthetic_people import SPLITS
from medfm.cohorts.synthetic_pictures import save_photograph_dicom
from medfm.cohorts.synthetic_retina_cohort import SITES, eye_of, patients
from medfm.cohorts.synthetic_retina_text import VERDICTS, report, seen
from medfm.core.errors import CohortError
from medfm.knowledge.load import load_knowledge
from medfm.modalities.fundus_quality import measure
from medfm.modalities.record import RecordRef
from medfm.modalities.retina import RETINA


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    return synthesize("retina", tmp_path_factory.mktemp("eyes") / "out", records=32, size=320)


@pytest.fixture(scope="module")
def cohort(written: Synthesized) -> Cohort:
    return load_cohort(written.table)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def draw(
    grade: str, side: str = "R", site: str = "north", seed: int = 0, cup: float = 0.3, size: int = 320
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return photograph(Eye(side, (seed, 1), 1.0, cup), draw_lesions(grade, rng), SITES[site].camera, size, rng)


def test_the_cohort_is_sound_and_says_it_is_synthetic(cohort: Cohort, written: Synthesized) -> None:
    assert cohort.modality == "retina"
    assert len(cohort) == written.records == 32
    assert written.patients == cohort.table["patient_id"].nunique() == 16
    assert cohort.synthetic
    assert NOTICE in cohort.info["notes"]
    assert sum(written.counts.values()) == 32
    findings = {f.code: f.severity for f in run_checks(cohort)}
    assert {findings[code] for code in ("R001", "R002", "R003", "R004", "R005")} == {"passed"}
    assert "error" not in findings.values()


def test_labels_are_those_of_the_knowledge_base(cohort: Cohort) -> None:
    labels = load_knowledge("retina").label_set(cohort.info["label_set"]).labels
    assert set(labels) == set(GRADES) == set(VERDICTS)
    assert set(cohort.table["label"].astype(str)) == set(GRADES)
    assert set(cohort.table["glaucoma"].astype(str)) <= set(load_knowledge("retina").label_set("refuge").labels)
    cups = cohort.table["cup_disc_ratio"].astype(float)
    assert ((cups > 0.6) == (cohort.table["glaucoma"].astype(int) == 1)).all()
    assert cohort.table["text"].nunique() > 24


def test_patients_have_two_eyes_and_keep_site_split_and_person(cohort: Cohort) -> None:
    each = cohort.table.groupby("patient_id")
    assert each["laterality"].apply(lambda sides: sorted(sides) == ["L", "R"]).all()
    assert each[["split", "site", "age", "sex"]].nunique().max().max() == 1
    assert cohort.table.groupby("site")["split"].nunique().eq(3).all()


def test_every_format_is_read_back_and_says_synthetic(cohort: Cohort) -> None:
    formats = set()
    for index in range(8):
        row = cohort.table.iloc[index]
        record = cohort.read(index)
        site = SITES[row["site"]]
        assert record.array.dtype == np.uint8
        assert record.array.shape == (320, round(320 * site.camera.aspect), 3)
        assert record.facts["laterality"] == row["laterality"]
        formats.add((record.facts["format"].lower(), record.facts["source_bits"]))
        file = cohort.root / row["path"]
        content = file.read_bytes()
        if file.suffix == ".jpg":
            assert Image.open(file).getexif()[0x010E] == NOTICE
        assert b"SYNTHETIC" in content
    assert formats == {("jpeg", 8), ("png", 8), ("tiff", 16), ("dicom", 8)}


def test_the_eye_of_the_dicom_header_is_that_of_the_table(cohort: Cohort) -> None:
    rows = [i for i, path in enumerate(cohort.table["path"]) if path.endswith(".dcm")]
    assert len(rows) == 8
    for index in rows:
        facts = cohort.read(index).facts
        assert facts["laterality_file"] == cohort.table["laterality"][index]
        assert facts["field_of_view_deg"] == 45
        assert facts["sop_class"] == "ophthalmic photography 8 bit"


@pytest.mark.parametrize("shape", [(64, 64, 3), (65, 63, 3)])
def test_dicom_gives_the_pixels_back_and_other_software_reads_it(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    pydicom = pytest.importorskip("pydicom")
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    save_photograph_dicom(tmp_path / "x.dcm", image, "L", 30.0)
    record = RETINA.read(RecordRef("x", tmp_path / "x.dcm"))
    assert np.array_equal(record.array, image)
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert np.array_equal(dataset.pixel_array, image)
    assert (dataset.Modality, dataset.ImageLaterality, str(dataset.PatientName)) == ("OP", "L", "SYNTHETIC")


def test_sixteen_bits_keep_eight_exactly(cohort: Cohort) -> None:
    index = next(i for i, path in enumerate(cohort.table["path"]) if path.endswith(".tif"))
    stored = tifffile.imread(cohort.root / cohort.table["path"][index])
    assert stored.dtype == np.uint16
    assert np.array_equal(stored // 257, cohort.read(index).array)


@pytest.mark.parametrize("site", sorted(SITES))
@pytest.mark.parametrize("side", ["R", "L"])
def test_a_photograph_of_every_camera_passes_the_checks(site: str, side: str) -> None:
    quality = measure(draw("2", side, site, seed=4))
    assert quality.found
    assert not not_a_fundus(quality)
    assert not blurred(quality)
    assert badly_lit(quality) is None
    assert quality.disc_side == side
    assert not other_side(quality, side)


def test_a_left_eye_has_its_disc_on_the_left() -> None:
    for side, sign in (("R", 1), ("L", -1)):
        fundus = Fundus(Eye(side, (3,), 1.0, 0.4), 200, 200, 96, (0.0, 0.0))
        draw_retina(fundus)
        column, row = fundus.pixel(*DISC)
        disc = fundus.colour[int(row) - 3 : int(row) + 4, int(column) - 3 : int(column) + 4]
        column, row = fundus.pixel(*FOVEA)
        macula = fundus.colour[int(row) - 3 : int(row) + 4, int(column) - 3 : int(column) + 4]
        assert sign * (fundus.pixel(*DISC)[0] - 100) > 40
        assert disc[..., 1].max() > 2 * macula[..., 1].mean()


def test_a_larger_cup_is_paler_and_nothing_else_changes() -> None:
    small, large = (draw("0", seed=2, cup=cup).astype(int) for cup in (0.3, 0.8))
    changed = np.abs(small - large).max(axis=2) > 12
    assert 100 < changed.sum() < 0.01 * changed.size
    assert (large - small)[changed][:, 2].mean() > 10


def test_lesions_follow_the_scale() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        none, mild, moderate, severe, proliferative = (draw_lesions(grade, rng) for grade in GRADES)
        assert none == Lesions()
        assert mild == Lesions(mild.microaneurysms)
        assert mild.microaneurysms > 0
        assert min(moderate.haemorrhages) > 0
        assert max(moderate.haemorrhages) <= 20
        assert not moderate.new_vessels
        assert min(severe.haemorrhages) > 20
        assert severe.beading > 0
        assert not severe.new_vessels
        assert proliferative.new_vessels in ("disc", "elsewhere")


def test_worse_grades_have_more_blood_in_the_picture() -> None:
    base = draw("0", seed=5).astype(int)
    blood = [int(((base - draw(grade, seed=5))[..., 1] > 12).sum()) for grade in ("1", "2", "3")]
    assert 10 < blood[0] < blood[1] < blood[2]
    with_exudates = draw("2", seed=5).astype(int) - base
    assert (with_exudates[..., 1] > 40).sum() > 20


def test_the_eye_stays_the_same_at_every_visit() -> None:
    person = patients(0)[5]
    assert eye_of(person, 5, "R", 0) == eye_of(person, 5, "R", 0)
    assert eye_of(person, 5, "R", 0)[0].seed != eye_of(person, 5, "L", 0)[0].seed


def test_the_plan_of_patients() -> None:
    people = patients(0)
    assert len(people) == 120
    assert len({p.patient_id for p in people}) == 120
    table = pd.DataFrame([vars(p) for p in people])
    assert table.groupby("site")["split"].value_counts().unstack().to_numpy().tolist() == [[9, 18, 3]] * 4
    assert set(SPLITS[:3]) == {"train", "val", "test"}
    assert set(table["grade"]) == set(GRADES)
    assert people != patients(1)


def test_reports_name_what_was_drawn() -> None:
    rng = np.random.default_rng(1)
    prompts = {p.lower() for c in load_knowledge("retina").classes for p in (c.name, *c.synonyms)}
    for _ in range(60):
        for grade in GRADES:
            lesions = draw_lesions(grade, rng)
            text = report(grade, lesions, "L", 0.7, True, rng)
            assert text.startswith(("Left eye", "OS"))
            assert any(verdict in text for verdict in VERDICTS[grade])
            assert "0.7" in text
            assert not {sentence.lower() for sentence in text.split(". ")} & prompts
            phrases = seen(lesions, rng)
            assert ("new vessels" in " ".join(phrases)) == bool(lesions.new_vessels)
            assert ("blood in front of the retina" in phrases) == lesions.preretinal
            assert bool(phrases) == (grade != "0")


def test_equal_arguments_give_equal_files_and_other_seeds_others(tmp_path: Path) -> None:
    folders = [
        synthesize("retina", tmp_path / name, records=records, size=64, seed=seed).table.parent
        for name, records, seed in (("a", 30, 3), ("b", 34, 3), ("c", 30, 4))
    ]
    one, more, other = (digests(folder) for folder in folders)
    # The longer cohort begins with the shorter one, byte for byte: pictures, rows and what the YAML says.
    assert {k: v for k, v in one.items() if k != "labels.csv"}.items() <= more.items()
    assert len(more) == len(one) + 4
    assert (folders[1] / "labels.csv").read_bytes().startswith((folders[0] / "labels.csv").read_bytes())
    assert not set(one.values()) & set(other.values())


@pytest.mark.parametrize("options", [{"records": 29}, {"size": 63}, {"size": 1025}, {"size": 0}])
def test_wrong_arguments(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(CohortError, match="cannot be drawn"):
        synthesize("retina", tmp_path / "x", **options)
    assert list(tmp_path.iterdir()) == []


def test_primitives() -> None:
    assert soft(np.array([-1.0, 0.0, 1.0]), 0.01).round(6).tolist() == [0, 0.5, 1]
    noise = smooth_noise((80, 60), 8.0, np.random.default_rng(0))
    assert noise.shape == (80, 60)
    assert abs(noise.std() - 1) < 0.3
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.5 * noise.std()
