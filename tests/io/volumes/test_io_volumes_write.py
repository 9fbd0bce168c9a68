"""Volumes written as NIfTI: what comes back, what the header holds, and that nothing is half-written."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError, StoreError
from medfm.io.volumes.detect import read_volume
from medfm.io.volumes.volume import axis_letters, shear, to_axes, to_ras
from medfm.io.volumes.write import ALIGNED, SCANNER, nifti_bytes, write_nifti

ARRAY = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


def turned(angle: float, sides: tuple[float, ...], flip: int) -> np.ndarray:
    affine = np.eye(4)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine[:3, :3] = turn * np.array(sides) * np.array([-1 if flip >> n & 1 else 1 for n in range(3)])
    affine[:3, 3] = (-31.5, 12.25, 80)
    return affine


@given(st.floats(-0.7, 0.7), st.tuples(*[st.floats(0.3, 5.0)] * 3), st.integers(0, 7))
@settings(max_examples=20, deadline=None)
def test_a_volume_comes_back_as_it_was(tmp_path_factory, angle, sides, flip) -> None:
    affine = turned(angle, sides, flip)
    path = tmp_path_factory.mktemp("v") / "v.nii.gz"
    write_nifti(path, ARRAY, affine)
    back = read_volume(path, {}, "v")
    np.testing.assert_array_equal(back.array, ARRAY)
    np.testing.assert_allclose(back.affine, affine, atol=2e-5)
    assert back.facts["left_right"] == "known" and back.facts["stored"] == "float32"
    # Both geometries of the header say the same.
    assert back.facts["sform_against_qform_mm"] < 1e-3 and "sform_mirrors_qform" not in back.facts


def test_the_header_holds_geometry_alone() -> None:
    header = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(ARRAY, np.eye(4), ALIGNED))).header
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        assert bytes(header[field]).strip(b"\0") == b"", field
    assert not header.extensions and header.get_xyzt_units()[0] == "mm"
    assert (int(header["sform_code"]), int(header["qform_code"])) == (ALIGNED, ALIGNED)
    assert float(header["scl_slope"]) in (0.0, 1.0) or np.isnan(header["scl_slope"])


def test_equal_volumes_are_equal_files() -> None:
    one = nifti_bytes(ARRAY, np.eye(4))
    assert one == nifti_bytes(ARRAY.copy(order="F"), np.eye(4)) and one[4:8] == b"\0\0\0\0", "no time stamp"
    assert one != nifti_bytes(ARRAY, np.eye(4), ALIGNED)


def test_a_sheared_volume_has_no_quaternion(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    assert shear(affine) > 5
    write_nifti(tmp_path / "v.nii.gz", ARRAY, affine, SCANNER)
    back = read_volume(tmp_path / "v.nii.gz", {}, "v")
    np.testing.assert_allclose(back.affine, affine, atol=1e-6)
    assert "sform_against_qform_mm" not in back.facts


@pytest.mark.parametrize(
    ("array", "affine"),
    [
        (ARRAY[0], np.eye(4)),
        (ARRAY[None], np.eye(4)),
        (ARRAY, np.zeros((4, 4))),
        (ARRAY, np.eye(3)),
        (np.zeros((1, 1, 32768), np.float32), np.eye(4)),
        (np.zeros((0, 2, 2), np.float32), np.eye(4)),
    ],
    ids=["2D", "4D", "flat", "3 x 3", "too long", "empty"],
)
def test_what_cannot_be_written(array: np.ndarray, affine: np.ndarray) -> None:
    with pytest.raises(ReadError, match="cannot be written"):
        nifti_bytes(array, affine)


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "v.nii.gz").mkdir()
    with pytest.raises(StoreError):
        write_nifti(tmp_path / "v.nii.gz", ARRAY, np.eye(4))
    assert [p.name for p in tmp_path.iterdir()] == ["v.nii.gz"]


@given(st.permutations([0, 1, 2]), st.integers(0, 7), st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_axes_can_be_taken_there_and_back(order, one, other) -> None:
    def letters(turn: int) -> str:
        return "".join(("RL", "AP", "SI")[axis][turn >> n & 1] for n, axis in enumerate(order))

    start, affine = to_ras(ARRAY, turned(0.2, (1.0, 2.0, 3.0), other))
    array, changed = to_axes(start, affine, letters(one))
    assert axis_letters(changed) == letters(one)
    back, again = to_axes(array, changed, "RAS")
    np.testing.assert_array_equal(back, start)
    np.testing.assert_allclose(again, affine, atol=1e-12)
    # A voxel keeps its place in the world.
    place = np.array([n - 1 for n in array.shape])
    value = array[tuple(place)]
    world = changed[:3, :3] @ place + changed[:3, 3]
    there = np.rint(np.linalg.solve(affine[:3, :3], world - affine[:3, 3])).astype(int)
    assert start[tuple(there)] == value


@pytest.mark.parametrize("letters", ["", "RA", "RRS", "RLS", "RAX", "RASS"])
def test_letters_that_name_no_axes(letters: str) -> None:
    with pytest.raises(ValueError, match="three axes"):
        to_axes(ARRAY, np.eye(4), letters)
