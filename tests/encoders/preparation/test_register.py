"""Affine registration: of a drawn brain that was moved by a known map, its facts, and how it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from brain_volumes import save_head, t1_head

from medfm.core.errors import ConfigError, MissingExtraError, ReadError
from medfm.encoders.preparation.register import Template, correlation, dice, register
from medfm.encoders.preparation.steps import VolumeRegister
from medfm.io.volumes.volume import to_axes
from medfm.io.volumes.write import write_nifti

pytest.importorskip("SimpleITK")
STEP = VolumeRegister(iterations=60, sampling=0.25)
MM = np.diag([4.0, 4.0, 4.0, 1.0])
HEAD, BRAIN = t1_head()


def brain_only() -> np.ndarray:
    return np.where(BRAIN, HEAD, np.float32(0))


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Template:
    path = tmp_path_factory.mktemp("template") / "template.nii.gz"
    write_nifti(path, brain_only(), MM)
    return Template.load(path)


def known_map() -> np.ndarray:
    """World of the template -> world of the patient: turned by 8 degrees, 10 % smaller, moved."""
    a = np.radians(8)
    matrix = np.eye(4)
    matrix[:3, :3] = 0.9 * np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    matrix[:3, 3] = (15, -30, 22)
    return matrix


@pytest.fixture(scope="module")
def moved(template):
    """The template itself, whose file says that it lies elsewhere: registering it must find where."""
    affine = known_map() @ MM
    array, turned = to_axes(HEAD, affine, "PSR")
    mask, _ = to_axes(BRAIN, affine, "PSR")
    return register(np.ascontiguousarray(array), turned, np.ascontiguousarray(mask), template, STEP, "moved")


def test_a_template_without_skull_is_its_own_mask(template: Template) -> None:
    np.testing.assert_array_equal(template.mask, BRAIN)
    assert template.spacing == [4, 4, 4] and len(template.digest) == 64


def test_a_template_with_skull_gets_a_mask(tmp_path: Path) -> None:
    template = Template.load(save_head(tmp_path / "t.nii.gz", HEAD))
    assert dice(template.mask, BRAIN) > 0.93
    assert not template.array[~template.mask].any()


def test_the_known_map_is_found(moved) -> None:
    found, truth = np.array(moved.facts["matrix"]), known_map()
    corners = np.argwhere(BRAIN)[::50] * 4.0
    apart = np.linalg.norm((found - truth)[:3, :3] @ corners.T + (found - truth)[:3, 3:], axis=0)
    assert apart.max() < 4.0 and apart.mean() < 2.0, "mm, of voxels of 4 mm"
    assert moved.facts["volume_factor"] == pytest.approx(0.9**3, rel=0.05)


def test_the_volume_lies_on_the_template_afterwards(moved, template: Template) -> None:
    facts = moved.facts
    assert moved.array.shape == template.array.shape and moved.array.dtype == np.float32
    assert facts["overlap_before"] < 0.75 < 0.95 < facts["overlap_after"]
    assert facts["correlation_before"] < 0.5 < 0.85 < facts["correlation_after"]
    assert dice(moved.mask, template.mask) == pytest.approx(facts["overlap_after"], abs=1e-4)
    # The skull came along: the mask alone decided, and whoever wants it away says so in an earlier step.
    assert moved.array[~template.mask].max() > 500


def test_equal_seeds_give_equal_maps(template: Template) -> None:
    quick = VolumeRegister(iterations=1, sampling=0.05, least_overlap=0.0)
    one, other = (register(brain_only(), known_map() @ MM, BRAIN, template, quick, "x") for _ in range(2))
    assert one.facts == other.facts
    np.testing.assert_array_equal(one.array, other.array)


def test_brains_that_do_not_meet_are_an_error(template: Template) -> None:
    half = BRAIN.copy()
    half[:25] = False
    strict = VolumeRegister(iterations=1, sampling=0.05, least_overlap=0.97)
    with pytest.raises(ReadError, match=r"the brains overlap by 0\.\d\d \(Dice\), not by 0\.97 or more") as caught:
        register(np.where(half, HEAD, np.float32(0)), MM, half, template, strict, "record 4")
    assert caught.value.where == "record 4"


def test_a_map_that_no_head_needs_is_an_error(template: Template) -> None:
    """A brain whose voxels are stated at a third of their size."""
    small = MM.copy()
    small[:3, :3] /= 3
    quick = VolumeRegister(iterations=1, sampling=0.1)
    with pytest.raises(ReadError, match=r"failed: (it multiplies|the brains)"):
        register(brain_only(), small, BRAIN, template, quick, "small")


@pytest.mark.parametrize("kind", ["absent", "text", "empty", "nan", "slab"])
def test_what_is_no_template(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.nii.gz"
    if kind == "text":
        path.write_text("no volume")
    elif kind == "empty":
        write_nifti(path, np.zeros((5, 5, 5), np.float32), MM)
    elif kind == "nan":
        write_nifti(path, np.full((5, 5, 5), np.nan, np.float32), MM)
    elif kind == "slab":  # so large that it must have a skull, and no brain in it
        write_nifti(path, np.ones((40, 40, 40), np.float32), MM)
    with pytest.raises(ConfigError, match="template") as caught:
        Template.load(path)
    assert caught.value.where == str(path)


def test_an_installation_without_simpleitk(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingExtraError, match="Registering to a template needs") as caught:
        register(HEAD, MM, BRAIN, template, STEP, "x")
    assert "medfm[mri-prep]" in str(caught.value.fix)


def test_overlap_and_correlation_by_hand() -> None:
    one, other = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    assert dice(one, other) == pytest.approx(2 * 2 / 6)
    assert dice(one, one) == 1.0 and dice(one, ~one) == 0.0 and dice(one[:0], one[:0]) == 0.0
    a, b = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-7)
    assert correlation(a, 3 * a + 5) == pytest.approx(1.0) and correlation(a, -a) == pytest.approx(-1.0)
    assert correlation(a, np.ones(50, np.float32)) == 0.0
