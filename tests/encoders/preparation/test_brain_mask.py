"""The built-in brain mask: on drawn heads in every order of the axes, on real ones, and where there is none."""

from __future__ import annotations

from itertools import permutations

import nibabel as nib
import numpy as np
import pytest
from brain_volumes import SHARED, t1_head
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.encoders.preparation.brain_mask import brain_mask, eroded, grown, softened
from medfm.encoders.preparation.register import dice
from medfm.io.volumes.volume import to_axes

MM = np.diag([4.0, 4.0, 4.0, 1.0])
HEAD, BRAIN = t1_head()
FOUND = brain_mask(HEAD, MM, "head")
ORDERS = [
    "".join(letters[(turn >> n) & 1] for n, letters in enumerate(order))
    for order in permutations(("RL", "AP", "SI"))
    for turn in range(8)
]


def test_it_finds_the_brain_of_a_drawn_head() -> None:
    assert FOUND.dtype == bool and FOUND.shape == HEAD.shape
    assert dice(FOUND, BRAIN) > 0.93
    assert not FOUND[HEAD > 1000].mean() > 0.01, "fat and neck"
    assert FOUND[BRAIN & (HEAD < 200)].all(), "the ventricles are inside"


@pytest.mark.parametrize("letters", ORDERS[5::13])
def test_the_order_of_the_axes_changes_nothing(letters: str) -> None:
    array, affine = to_axes(HEAD, MM, letters)
    expected, _ = to_axes(FOUND, MM, letters)
    np.testing.assert_array_equal(brain_mask(array, affine, letters), expected)


@pytest.mark.parametrize("factor", [0.01, 37.5])
def test_the_scale_of_the_values_changes_nothing(factor: float) -> None:
    np.testing.assert_array_equal(brain_mask(HEAD * np.float32(factor), MM, "scaled"), FOUND)


def test_thick_slices() -> None:
    thick, inside = HEAD[:, :, ::2], BRAIN[:, :, ::2]
    found = brain_mask(np.ascontiguousarray(thick), np.diag([4.0, 4.0, 8.0, 1.0]), "thick")
    assert found.shape == thick.shape and dice(found, inside) > 0.9


def test_fine_voxels_are_looked_at_coarsely_and_the_mask_comes_back_whole() -> None:
    fine = HEAD.repeat(4, 0)  # 1 x 4 x 4 mm
    found = brain_mask(fine, np.diag([1.0, 4.0, 4.0, 1.0]), "fine")
    assert found.shape == fine.shape
    assert dice(found, BRAIN.repeat(4, 0)) > 0.93


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (np.zeros((20, 20, 20), np.float32), "no head"),
        (np.full((20, 20, 20), -3.0, np.float32), "no head"),
        (HEAD[:, :, :8], "no brain|No brain"),
        (HEAD[:, :, -12:], "brain"),
        (np.abs(np.random.default_rng(0).normal(size=(50, 60, 60))).astype(np.float32), "brain"),
    ],
    ids=["zeros", "negative", "neck", "vertex", "noise"],
)
def test_where_there_is_no_brain_it_says_so(volume: np.ndarray, words: str) -> None:
    with pytest.raises(ReadError, match=words) as caught:
        brain_mask(np.ascontiguousarray(volume), MM, "record 7")
    assert caught.value.where == "record 7" and "medfm data show" in str(caught.value.fix)


def test_a_head_stated_ten_times_too_small_has_no_brain() -> None:
    with pytest.raises(ReadError):
        brain_mask(HEAD, np.diag([0.4, 0.4, 0.4, 1.0]), "small")


@given(st.integers(0, 2**31), st.floats(0.5, 5.0), st.tuples(*[st.floats(0.5, 3.0)] * 3))
@settings(max_examples=15, deadline=None)
def test_growing_and_eroding_by_their_definition(seed: int, mm: float, sides: tuple[float, float, float]) -> None:
    mask = np.random.default_rng(seed).random((5, 6, 4)) < 0.3
    places = np.argwhere(np.ones(mask.shape, bool)).reshape(*mask.shape, 3) * np.array(sides)
    inside, outside = places[mask], places[~mask]
    for place in np.ndindex(mask.shape):
        near = len(inside) and np.linalg.norm(inside - places[place], axis=1).min()
        if len(inside) and abs(near - mm) > 1e-9:
            assert grown(mask, mm, np.array(sides))[place] == (near <= mm)
            break
    far = np.linalg.norm(outside - places[2, 3, 2], axis=1).min()
    if abs(far - mm) > 1e-9:
        assert eroded(mask, mm, np.array(sides))[2, 3, 2] == (far > mm)
    assert (grown(mask, mm, np.array(sides)) >= mask).all() and (eroded(mask, mm, np.array(sides)) <= mask).all()


def test_growing_nothing_is_nothing() -> None:
    assert not grown(np.zeros((3, 3, 3), bool), 5.0, np.ones(3)).any()


def test_a_soft_edge() -> None:
    mask = np.zeros((40, 4, 4), bool)
    mask[20:] = True
    sides = np.array([0.5, 1.0, 1.0])
    np.testing.assert_array_equal(softened(mask, sides, 0.0), mask.astype(np.float32))
    soft = softened(mask, sides, 1.0)[:, 2, 2]
    assert soft.dtype == np.float32 and (np.diff(soft) >= -1e-6).all() and soft.min() >= 0 and soft.max() <= 1 + 1e-6
    assert soft[19] + soft[20] == pytest.approx(1.0, abs=1e-3)
    # One deviation (2 voxels of 0.5 mm) beyond the edge a Gaussian step is at 0.159; the edge is between two voxels.
    assert soft[17] < 0.159 < soft[18]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside this repository")
def test_a_real_scan_against_its_parcellation() -> None:
    """One of the three scans that the factors were not chosen on."""
    path = SHARED / "ixi_2mm" / "test" / "IXI014-HH-1236-T1_2mm.nii.gz"
    scan, parts = nib.load(path), nib.load(str(path).replace(".nii.gz", "_dlmuse.nii.gz"))
    found = brain_mask(np.asarray(scan.dataobj, np.float32), scan.affine, "scan")
    assert dice(found, np.asarray(parts.dataobj) > 0) > 0.955
