"""Checks of fundus photographs: on drawn ones with known faults, and how often they are wrong on real ones."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from medfm.cohorts.checks.fundus import badly_lit, blurred, check_fundus, not_a_fundus, other_side
from medfm.cohorts.checks.run import run_checks
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.load import load_cohort
from medfm.modalities.fundus_quality import FundusQuality, measure

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "modalities"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "io"))
from eye_files import eye_file
from fundus_pictures import fundus

RETINA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "retina"
GOOD = FundusQuality(True, 0.7, 1.0, 80.0, 0.0, 0.0, 0.2, 0.5, "R", 4.0)


@pytest.mark.parametrize("side", ["R", "L"])
def test_the_disc_of_a_drawn_eye_is_found(side: str) -> None:
    quality = measure(fundus(360, 500, radius=170, side=side))
    assert quality.found and quality.disc_side == side and quality.disc_lead > 2
    assert not other_side(quality, side)
    assert other_side(quality, "L" if side == "R" else "R")


def test_a_mirrored_picture_is_the_other_eye() -> None:
    picture = fundus(360, 500, radius=170)
    assert measure(picture[:, ::-1]).disc_side != measure(picture).disc_side


def test_a_weak_sign_says_nothing() -> None:
    assert not other_side(replace(GOOD, disc_lead=1.9), "L")
    assert other_side(replace(GOOD, disc_lead=2.1), "L")
    assert not other_side(replace(GOOD, found=False), "L")


def test_sharpness_falls_with_blur_and_small_pictures_are_not_judged() -> None:
    picture = Image.fromarray(fundus(400, 560, radius=190, noise=1.0))
    values = [measure(np.asarray(picture.filter(ImageFilter.GaussianBlur(s)))).sharpness for s in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert blurred(measure(np.asarray(picture.filter(ImageFilter.GaussianBlur(4)))))
    assert measure(fundus()).sharpness is None
    assert not blurred(measure(fundus()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"brightness": 20.0}, "too dark"),
        ({"dark": 0.5}, "too dark"),
        ({"bright": 0.2}, "overexposed"),
        ({"unevenness": 0.6}, "uneven"),
    ],
)
def test_light(change: dict, words: str | None) -> None:
    assert badly_lit(replace(GOOD, **change)) == words


def test_light_of_drawn_pictures() -> None:
    picture = fundus(300, 400, radius=140).astype(float)
    assert badly_lit(measure(picture.astype(np.uint8))) is None
    assert badly_lit(measure((picture * 0.2).astype(np.uint8))) == "too dark"
    assert badly_lit(measure(np.clip(picture * 8, 0, 255).astype(np.uint8))) == "overexposed"
    ramp = np.clip(np.linspace(-0.7, 1.6, 400), 0.03, 1.3)[None, :, None]
    assert badly_lit(measure(np.clip(picture * ramp, 0, 255).astype(np.uint8))) == "uneven"


def test_other_pictures_are_no_fundus() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    stain = np.full((200, 200, 3), (200, 120, 190), np.uint8) - (noise // 16)
    grey = fundus().mean(axis=2).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    assert all(not_a_fundus(measure(p)) for p in (noise, stain, grey, 255 - fundus()))
    assert not any(
        not_a_fundus(measure(p)) for p in (fundus(), fundus(surround=(0, 0, 160)), fundus(radius=200)[60:140, 100:200])
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (20, 20), (300, 17)])
def test_odd_sizes_are_measured(shape: tuple[int, int]) -> None:
    quality = measure(np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8))
    assert np.isfinite([quality.brightness, quality.unevenness, quality.disc_lead, quality.retina_colour]).all()


def cohort_of(folder: Path, eyes: list[tuple[str, str]], head: str = "path,label,laterality"):
    lines = [head, *(f"{name},{i % 2},{side}" for i, (name, side) in enumerate(eyes))]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return load_cohort(folder / "t.csv", modality="retina", check=False)


def codes(findings) -> dict[str, str]:
    return {f.code: f.severity for f in findings if f.code.startswith("R")}


def test_a_clean_cohort_passes(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(fundus(300, 400, radius=140, side="RL"[i % 2], seed=i)).save(tmp_path / f"{i}.png")
    cohort = cohort_of(tmp_path, [(f"{i}.png", "OD" if i % 2 == 0 else "OS") for i in range(4)])
    assert codes(run_checks(cohort)) == {"R001": "passed", "R002": "passed", "R003": "passed", "R005": "passed"}


def test_swapped_labels_of_a_whole_cohort_are_an_error(tmp_path: Path) -> None:
    for i in range(10):
        Image.fromarray(fundus(150, 200, radius=70, side="RL"[i % 2], seed=i)).save(tmp_path / f"{i}.png")
    swapped = cohort_of(tmp_path, [(f"{i}.png", "L" if i % 2 == 0 else "R") for i in range(10)])
    assert codes(run_checks(swapped))["R005"] == "error"
    one = cohort_of(tmp_path, [(f"{i}.png", "R" if i % 2 == 0 or i == 3 else "L") for i in range(10)])
    found = {f.code: f for f in run_checks(one)}["R005"]
    assert found.severity == "warning" and len(found.records) == 1 and found.records[0].startswith("3")


def test_the_file_that_says_another_eye(tmp_path: Path) -> None:
    for name, side in (("a", "R"), ("b", "L")):
        eye_file(tmp_path / f"{name}.dcm", fundus(150, 200, radius=70, side=side), elements={"ImageLaterality": side})
    good = cohort_of(tmp_path, [("a.dcm", "OD"), ("b.dcm", "OS")])
    assert codes(run_checks(good))["R004"] == "passed"
    bad = cohort_of(tmp_path, [("a.dcm", "OD"), ("b.dcm", "OD")])
    found = {f.code: f for f in run_checks(bad)}["R004"]
    assert found.severity == "error" and len(found.records) == 1


def test_faults_are_counted_over_what_could_be_judged(tmp_path: Path) -> None:
    for name in "abc":
        Image.fromarray(fundus(60, 80, radius=28)).save(tmp_path / f"{name}.png")
    cohort = cohort_of(tmp_path, [(f"{n}.png", "R") for n in "abc"])
    seen = [
        Seen(fundus=replace(GOOD, retina_colour=0.1)),
        Seen(fundus=replace(GOOD, sharpness=0.1, brightness=5.0)),
        Seen(fundus=replace(GOOD, sharpness=None)),
    ]
    found = {f.code: f for f in check_fundus(cohort, seen)}
    assert found["R001"].detail.startswith("1 of 3")
    assert found["R002"].detail == "1 of 1 photograph look blurred; 1 picture too small to tell"
    assert found["R003"].detail == "1 of 2 photographs: too dark (1)"
    assert "R004" not in found and "R005" not in found
    assert list(check_fundus(cohort, [Seen(error="x")] * 3)) == []


@pytest.mark.skipif(not RETINA.is_dir(), reason="the real photographs beside the repository are absent")
def test_false_alarms_on_real_photographs() -> None:
    files = sorted(RETINA.glob("idrid/test/*/*.jpg"))[::12]
    measured = [measure(np.asarray(Image.open(f))) for f in files]
    assert not any(not_a_fundus(q) for q in measured)
    assert sum(map(blurred, measured)) <= 1
    assert sum(badly_lit(q) is not None for q in measured) <= 1
    blurry = [measure(np.asarray(Image.open(f).filter(ImageFilter.GaussianBlur(3)))) for f in files[:4]]
    assert all(map(blurred, blurry))


@pytest.mark.skipif(not RETINA.is_dir(), reason="the real photographs beside the repository are absent")
def test_the_side_of_the_disc_as_read_by_eye() -> None:
    # Read off the pictures by eye, not published: where the optic disc lies.
    ordered = sorted(RETINA.glob("idrid/test/*/*.jpg"))
    for index, side in ((0, "L"), (2, "R"), (5, "L"), (6, "R"), (14, "R"), (64, "L")):
        assert measure(np.asarray(Image.open(ordered[index]))).disc_side == side, ordered[index].name
