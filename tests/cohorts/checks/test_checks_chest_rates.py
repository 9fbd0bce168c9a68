"""How often the checks of radiographs are right on real ones, and the faults that the script puts in."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medfm.modalities.registry import read_record

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data" / "chest_xray"
# Fault -> the check that has to find it, and the least share of radiographs; measured on far more in docs/chest_xray.md.
FOUND = {
    "negative": ("X001", 0.9),
    "upside down": ("X002", 0.75),
    "turned by 90 degrees": ("X002", 0.95),
    "turned by 270 degrees": ("X002", 0.95),
    "brightest tenth clipped": ("X005", 1.0),
    "12 bits in 16": ("X005", 1.0),
    "noise": ("X004", 0.95),
    "letterbox": ("X006", 1.0),
    "letters of 1/14": ("X007", 0.6),
}
KEPT = ("gamma 0.5", "gamma 2", "left and right exchanged")


@pytest.fixture(scope="module")
def rates() -> ModuleType:
    place = ROOT / "scripts" / "chest_checks_rates.py"
    specification = importlib.util.spec_from_file_location("chest_checks_rates", place)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real() -> list[np.ndarray]:
    if not DATA.is_dir():
        pytest.skip("the shared data are absent")
    files = sorted((DATA / "kermany").rglob("*.jpeg"))[10::50] + sorted((DATA / "ieee8023_ccby").rglob("*.png"))[::11]
    return [read_record(file, "chest_xray").array for file in files]


def test_the_faults_are_what_they_say(rates: ModuleType) -> None:
    picture = np.random.default_rng(0).random((60, 50)).astype(np.float32) * np.float32(0.8)
    kept = picture.copy()
    faults = rates.FAULTS
    np.testing.assert_allclose(faults["negative"](picture) + picture, 1, atol=1e-6)
    assert faults["turned by 90 degrees"](picture).shape == (50, 60)
    np.testing.assert_array_equal(faults["turned by 180 degrees"](picture)[::-1, ::-1], picture)
    top = faults["brightest tenth clipped"](picture)
    assert np.isclose(top, top.max()).mean() == pytest.approx(0.1, abs=0.01)
    assert (faults["brightest tenth white"](picture) == 1).mean() == pytest.approx(0.1, abs=0.01)
    wide = faults["letterbox"](picture)
    assert wide.shape == (60, 100) and not wide[:, :25].any() and not wide[:, -25:].any()
    written = faults["letters of 1/20"](picture)
    changed = np.abs(written - picture) > 0.02
    assert 0.005 < changed.mean() < 0.2 and written.max() > 0.9
    assert not changed[15:-15].any()  # at the top or at the bottom
    np.testing.assert_array_equal(picture, kept)


def test_every_named_check_exists(rates: ModuleType) -> None:
    from medfm.cohorts.checks import CODES

    blank = np.full((300, 300), 0.5, np.float32)
    found = rates.count([blank])
    assert set(found) == {"X004", "X005", "X006", "radiographs"} and set(found) - {"radiographs"} <= set(CODES)
    assert set(FOUND) | set(KEPT) <= set(rates.FAULTS)


def test_real_radiographs_raise_no_alarm(rates: ModuleType, real: list[np.ndarray]) -> None:
    assert dict(rates.count(real)) == {"radiographs": len(real)} and len(real) >= 18


@pytest.mark.parametrize("fault", FOUND)
def test_faults_are_found(rates: ModuleType, real: list[np.ndarray], fault: str) -> None:
    code, share = FOUND[fault]
    sample = real[::2]
    assert rates.count(sample, rates.FAULTS[fault])[code] >= share * len(sample)


@pytest.mark.parametrize("fault", KEPT)
def test_changes_that_are_no_faults_raise_no_alarm(rates: ModuleType, real: list[np.ndarray], fault: str) -> None:
    sample = real[::2]
    assert dict(rates.count(sample, rates.FAULTS[fault])) == {"radiographs": len(sample)}
