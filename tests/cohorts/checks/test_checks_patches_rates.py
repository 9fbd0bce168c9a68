"""How often the patch checks are right on real patches, and the faults that the script puts in."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medfm.cohorts.load import load_cohort

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data" / "histopathology"


@pytest.fixture(scope="module")
def rates() -> ModuleType:
    specification = importlib.util.spec_from_file_location(
        "patch_checks_rates", ROOT / "scripts" / "patch_checks_rates.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_faults_are_what_they_say(rates: ModuleType) -> None:
    patch = np.random.default_rng(0).integers(80, 200, (50, 60, 3)).astype(np.uint8)
    kept = patch.copy()
    bare = rates.glass(0.9)(patch)
    assert np.array_equal(bare[:5], patch[:5]) and (bare[5:] == 240).all()
    assert rates.defocus(4.0)(patch).std() < patch.std() / 3
    marked = rates.stroke((20, 140, 70))(patch)
    changed = (marked != patch).any(axis=2)
    assert 0.05 < changed.mean() < 0.15
    np.testing.assert_allclose(marked[changed].mean(axis=0), 0.2 * 140 + 0.8 * np.array([20, 140, 70]), atol=3)
    assert np.array_equal(patch, kept)


def test_rates_on_real_patches(rates: ModuleType) -> None:
    if not DATA.is_dir():
        pytest.skip("the real patches beside the repository are absent")
    cohort = load_cohort(DATA / "labels.csv", "histopathology", where={"task": "lc25000_lung"}, check=False)
    arrays = [cohort.read(row).array for row in range(0, len(cohort), 50)]
    lines = [line.strip("| ").split(" | ") for line in rates.rates(arrays)]
    found = {words: (int(hit.split("(")[1].split("/")[0]) / 20, alarm) for _, words, hit, alarm in lines}
    assert all(alarm.startswith("0.0%") for _, alarm in found.values())
    assert found["lower 90 % empty glass"][0] == found["blur, sigma 4 pixels"][0] == found["green pen"][0] == 1.0
    assert found["blue pen"][0] >= 0.85 and found["black pen"][0] >= 0.7
    # Not promised, and the page says so.
    assert found["red pen"][0] == 0.0


def test_the_page_shows_figures_of_every_fault(rates: ModuleType) -> None:
    page = (ROOT / "docs" / "histopathology.md").read_text(encoding="utf-8")
    for code, words, _ in rates.FAULTS:
        assert f"| {code} | {words} | " in page
