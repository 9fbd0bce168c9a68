"""The one pass over files, for radiographs: what is kept of a grey picture of real numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from radiograph_files import dicom, ramp

from medfm.cohorts.checks import run_checks
from medfm.cohorts.checks.near import fingerprint
from medfm.cohorts.checks.scan import scan
from medfm.cohorts.load import load_cohort
from medfm.modalities.chest_quality import ChestQuality


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    self_like = rng.integers(0, 255, (50, 40)).astype(np.uint8)
    Image.fromarray(self_like).save(tmp_path / "a.png")
    Image.fromarray(self_like).save(tmp_path / "b.jpg", "PNG")  # a wrong name
    (tmp_path / "c.dcm").write_bytes(dicom(ramp(60, 50), BitsStored=12))
    (tmp_path / "d.dcm").write_bytes(dicom(ramp(60, 50), BitsStored=12)[:500])
    Image.fromarray(np.repeat(self_like[..., None], 3, axis=2) // np.array([1, 2, 3], np.uint8)).save(
        tmp_path / "e.png"
    )
    (tmp_path / "t.csv").write_text("path,label\na.png,0\nb.jpg,1\nc.dcm,0\nd.dcm,1\ne.png,1\n")
    return tmp_path


def test_what_is_kept(folder: Path) -> None:
    cohort = load_cohort(folder / "t.csv", modality="chest_xray", check=False)
    plain, named, dicom_file, broken, colour = scan(cohort, workers=1)
    assert plain.shape == (50, 40) and plain.grey and not plain.picture and plain.spread > 50
    assert isinstance(plain.quality, ChestQuality) and plain.quality.size == (50, 40)
    levels = np.asarray(Image.open(folder / "a.png"))[..., None].repeat(3, axis=2)
    assert plain.mark is not None and np.array_equal(plain.mark.hashes, fingerprint(levels).hashes)
    assert plain.facts == {} and named.facts["notes"][0].startswith("named .jpg")
    assert plain.key == named.key != dicom_file.key and dicom_file.shape == (60, 50)
    assert broken.error is not None and broken.quality is None and broken.key is not None
    # What else the reader notes is no matter of file names.
    assert colour.facts == {} and "luminance" in colour.quality.notes[0]


def test_checks_of_colours_are_not_for_radiographs(folder: Path) -> None:
    found = {
        f.code: f for f in run_checks(load_cohort(folder / "t.csv", modality="chest_xray", check=False), workers=1)
    }
    assert not {code for code in found if code.startswith("U")}
    assert found["F004"].severity == "info" and found["F004"].records == ("b.jpg",)
    assert found["F002"].severity == "error" and found["L004"].severity == "warning"
    assert found["L003"].severity == "error"  # equal bytes with two labels


def test_workers_do_not_matter(folder: Path) -> None:
    cohort = load_cohort(folder / "t.csv", modality="chest_xray", check=False)
    one, many = scan(cohort, workers=1), scan(cohort, workers=4)
    assert [s.key for s in one] == [s.key for s in many] and [s.quality for s in one] == [s.quality for s in many]
