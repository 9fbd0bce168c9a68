"""H001 to H004: each fault put into some patches of a cohort, from file to finding."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medfm.cohorts.checks import run_checks
from medfm.cohorts.checks.codes import CODES
from medfm.cohorts.checks.patches import blurred, empty, inked
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.modalities.histopathology_quality import PatchQuality

FINE = PatchQuality(0.1, 0.4, {"green": 0.0, "blue": 0.0, "black": 0.0}, None)


def tissue(seed: int) -> np.ndarray:
    """Grainy pink, sharp."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(64, 64)), 0.7)
    return (np.array([190, 110, 170.0]) + (noise / noise.std())[..., None] * 20).clip(0, 250).astype(np.uint8)


@pytest.fixture
def patches(make_cohort: Callable[..., Cohort]) -> Callable[..., Cohort]:
    def make(change: Callable[[np.ndarray], np.ndarray] | None = None, faulty: int = 2, **columns: list) -> Cohort:
        cohort = replace(make_cohort(label=["a", "b"] * 4, **columns), modality="histopathology")
        for i in range(8):
            picture = tissue(i)
            if change is not None and i < faulty:
                picture = change(picture)
            Image.fromarray(picture.astype(np.uint8)).save(cohort.root / f"img/{i:04d}.png")
        return cohort

    return make


def found(cohort: Cohort) -> dict[str, Finding]:
    return {finding.code: finding for finding in run_checks(cohort) if finding.code.startswith("H")}


def test_clean_patches_pass(patches: Callable[..., Cohort]) -> None:
    outcome = found(patches())
    assert {code: f.severity for code, f in outcome.items()} == dict.fromkeys(
        ("H001", "H002", "H003", "H004"), "passed"
    )
    assert outcome["H001"].detail == "8 patches"
    assert outcome["H004"].detail == "no mpp is given"


def green(picture: np.ndarray) -> np.ndarray:
    picture = picture.copy()
    picture[:8] = (20, 140, 70)
    return picture


def bare(picture: np.ndarray) -> np.ndarray:
    picture = picture.copy()
    picture[6:] = 244
    return picture


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (bare, "H001", "2 of 8 patches are more than 80% empty glass"),
        (lambda p: gaussian_filter(p.astype(float), (4, 4, 0)) * 3 - 300, "H002", "2 of 8 patches look out of focus"),
        (green, "H003", "2 of 8 patches may hold pen marks (2 green)"),
    ],
)
def test_faulty_patches_are_named(
    patches: Callable[..., Cohort], change: Callable[[np.ndarray], np.ndarray], code: str, words: str
) -> None:
    if code == "H002":
        blur = change
        change = lambda p: blur(p).clip(0, 250)  # noqa: E731
    outcome = found(patches(change))
    assert outcome[code].severity == "warning"
    assert outcome[code].detail == words
    assert outcome[code].records == ("r0000", "r0001")
    assert outcome[code].fix == CODES[code].fix
    assert all(f.severity == "passed" for other, f in outcome.items() if other != code)


def test_mixed_resolutions(patches: Callable[..., Cohort]) -> None:
    mixed = found(patches(mpp=[0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.51, 0.5]))["H004"]
    assert mixed.severity == "warning"
    assert mixed.records == ("r0000",)
    assert mixed.detail.startswith("0.25 to 0.51 micrometres per pixel, most often 0.5 (6)")
    assert found(patches(mpp=[0.5] * 8))["H004"].detail == "0.5 micrometres per pixel"
    some = found(patches(mpp=[0.5] * 6 + [None] * 2))["H004"]
    assert some.severity == "info"
    assert "2 patches of 8 have no mpp" in some.detail


def test_other_modalities_are_not_judged(make_cohort: Callable[..., Cohort]) -> None:
    assert found(make_cohort(label=["a", "b"] * 4)) == {}


def test_thresholds() -> None:
    assert not empty(FINE) and not blurred(FINE) and inked(FINE) is None
    assert empty(replace(FINE, background=0.81)) and not empty(replace(FINE, background=0.8))
    assert blurred(replace(FINE, blur=0.61)) and not blurred(replace(FINE, blur=None))
    # On bare glass there is nothing to be sharp.
    assert not blurred(replace(FINE, blur=0.9, background=0.95))
    assert inked(replace(FINE, ink={"green": 0.07, "blue": 0.2, "black": 0.0})) == "blue"
    assert inked(replace(FINE, ink={"green": 0.05, "blue": 0.01, "black": 0.0})) is None
    assert inked(replace(FINE, ink={})) is None


def test_a_stack_is_scanned_by_row(make_cohort: Callable[..., Cohort]) -> None:
    import h5py

    cohort = replace(
        make_cohort(files=False, path=["x.h5"] * 4, index=[0, 1, 2, 9], label=list("abab")), modality="histopathology"
    )
    with h5py.File(cohort.root / "x.h5", "w") as file:
        file["x"] = np.stack([tissue(0), tissue(1), tissue(0)])
    outcome = {finding.code: finding for finding in run_checks(cohort)}
    assert "1 of 4 records: 1 x There is no picture 9" in outcome["F002"].detail
    assert outcome["L004"].records == ("r0000", "r0002")  # equal patches in one file
    assert outcome["H001"].detail == "3 patches"
