"""Synthetic radiographs: deterministic files in four formats, patients with several pictures, labels that need a look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import NOTICE, Synthesized, synthesize
from medfm.cohorts.synthetic_chest import SEVERITIES, Detector, Opacity, Thorax, draw_opacities, draw_thorax, exposed
from medfm.cohorts.synthetic_chest_cohort import SITES, patient
from medfm.cohorts.synthetic_chest_files import save_radiograph_dicom
from medfm.core.errors import CohortError
from medfm.modalities.registry import read_record

BODY = Thorax(1.0, 1.0, 0.2, 1.0, 1.0)
PLAIN = Detector(1.0, 1.0, 0.5, 0.0, "R", (0.05, 0.05))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    return synthesize("chest_xray", tmp_path_factory.mktemp("s") / "chests", records=60, size=96)


def test_the_cohort_loads_and_reads(made: Synthesized) -> None:
    cohort = load_cohort(made.table)
    assert cohort.synthetic and cohort.modality == "chest_xray" and len(cohort) == 60
    assert set(cohort.table["label"]) == {"normal", "pneumonia"}
    kinds = set()
    for row in range(0, 60, 4):
        record = cohort.read(row)
        kinds.add((record.facts["format"], record.facts["bits_stored"]))
        assert record.array.shape[0] == 96 and 0.2 < record.array.mean() < 0.8 and record.array.std() > 0.1
    assert kinds >= {("png", 8), ("dicom", 12), ("dicom", 14)}


def test_splits_sites_and_patients(made: Synthesized) -> None:
    table = pd.read_csv(made.table)
    assert (table.groupby("patient_id")[["split", "site", "label", "severity", "sex"]].nunique() == 1).all().all()
    assert set(table["site"]) == set(SITES) and set(table["split"]) == {"train", "val", "test"}
    assert table.groupby("patient_id").size().between(1, 4).all() and made.patients == table["patient_id"].nunique()
    assert table.loc[table["site"] == "west", "effusion"].isna().all()
    assert table.loc[table["site"] != "west", "effusion"].isin([0, 1]).all()
    assert ((table["severity"] > 0) == (table["label"] == "pneumonia")).all()


def test_equal_arguments_give_equal_files_and_more_records_the_same_first_ones(tmp_path: Path) -> None:
    one, again, more, other = (
        synthesize("chest_xray", tmp_path / name, records=records, size=64, seed=seed).table.parent
        for name, records, seed in (("a", 30, 0), ("b", 30, 0), ("c", 31, 0), ("d", 30, 1))
    )
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert len(files) == 32
    for file in files:
        assert (one / file).read_bytes() == (again / file).read_bytes()
        if file.parts[0] == "images":
            assert (one / file).read_bytes() == (more / file).read_bytes()
    assert (one / "labels.csv").read_text() != (other / "labels.csv").read_text()


def test_every_file_says_that_it_is_synthetic(made: Synthesized) -> None:
    images = made.table.parent / "images"
    for file in sorted(images.rglob("*.png")):
        assert NOTICE in str(Image.open(file).info)
    for file in sorted(images.rglob("*.dcm"))[:4]:
        header = pydicom.dcmread(file)
        assert NOTICE in str(header.SeriesDescription) and str(header.PatientName).startswith("SYNTHETIC")


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_dicom_gives_the_picture_back_through_its_window(tmp_path: Path, inverted: bool, bits: int) -> None:
    picture = np.linspace(0, 1, 48 * 40).reshape(48, 40)
    file = tmp_path / "a.dcm"
    save_radiograph_dicom(
        file, picture, digital=True, bits=bits, inverted=inverted, view="AP", spacing_mm=0.2, patient="p"
    )
    record = read_record(file, "chest_xray")
    np.testing.assert_allclose(record.array, picture, atol=1.5 / (0.8 * 2**bits))
    assert record.facts["view"] == "AP" and record.facts["spacing_mm"] == [0.2, 0.2]
    pale = read_record(file, "chest_xray", window="none").array
    assert pale.min() == pytest.approx(0.1, abs=0.01) and pale.max() == pytest.approx(0.9, abs=0.01)


def test_disease_is_seen_and_brightness_does_not_tell_it() -> None:
    rows = [patient(0, number) for number in range(400)]
    sick = np.array([p.sick for p in rows])
    sites = np.array([p.site for p in rows])
    for name, site in SITES.items():
        assert abs(sick[sites == name].mean() - site.sick) < 0.12
    clean = draw_thorax(BODY, (), 0.0, 96, 96, np.random.default_rng(0))
    spot = Opacity(-0.4, 0.0, (0.1, 0.1), 0.2)
    marked = draw_thorax(BODY, (spot,), 0.0, 96, 96, np.random.default_rng(0))
    gain = marked - clean
    # Only there, and a few thousandths of the mean.
    assert gain[40:56, 22:36].mean() > 0.05 and np.abs(gain[:, 60:]).max() < 1e-6 and gain.mean() < 0.01
    exposures = [exposed(clean, PLAIN, np.random.default_rng(n)).mean() for n in range(20)]
    assert np.std(exposures) > 2 * gain.mean()


def test_anatomy() -> None:
    normal = draw_thorax(BODY, (), 0.0, 128, 128, np.random.default_rng(1))
    lung, heart, air = normal[55:65, 35:42].mean(), normal[78:84, 70:76].mean(), normal[2:8, 2:8].mean()
    assert air < 0.05 < lung < heart
    large = draw_thorax(Thorax(1.0, 1.0, 0.2, 1.5, 1.0), (), 0.0, 128, 128, np.random.default_rng(1))
    assert large.sum() > normal.sum()
    right, left = (draw_thorax(BODY, (), side, 128, 128, np.random.default_rng(1)) - normal for side in (-0.8, 0.8))
    assert right[:, :64].sum() > 10 * abs(right[:, 64:].sum()) and left[:, 64:].sum() > 10 * abs(left[:, :64].sum())
    assert next(len(draw_opacities(s, np.random.default_rng(0))) for s in SEVERITIES) == 0
    many = [sum(len(draw_opacities(s, np.random.default_rng(n))) for n in range(30)) for s in SEVERITIES]
    assert many == sorted(many) and many[1] > 0


@pytest.mark.parametrize("marker", ["R", "L"])
def test_markers_lie_at_their_side_and_borders_are_black(marker: str) -> None:
    detector = Detector(1.0, 1.0, 0.5, 0.0, marker, (0.08, 0.08), border=0.05)
    picture = exposed(np.zeros((200, 200)), detector, np.random.default_rng(0))
    across = np.nonzero(picture > 0.9)[1]
    assert (across.max() < 60) if marker == "R" else (across.min() > 140)
    assert not picture[:10].any() and not picture[:, -10:].any()


@pytest.mark.parametrize("options", [{"records": 29}, {"size": 63}, {"size": 1025}, {"size": 0}])
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(CohortError):
        synthesize("chest_xray", tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()
