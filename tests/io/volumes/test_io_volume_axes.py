"""The form of a volume: every order of the axes is the same volume in right, front, top."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_cases import affine_of, numbered, orders, reordered, rotation, save_nifti

from medfm.core.errors import ReadError
from medfm.io.volumes import volume as form
from medfm.io.volumes.volume import axis_letters, check_grid, fits_memory, obliqueness, shear, sound_affine, to_ras
from medfm.modalities.registry import read_record


@pytest.mark.parametrize("turned", [(0, 0, 0), (8, -5, 12)])
def test_all_48_orders_of_a_file_give_one_volume(tmp_path: Path, turned: tuple[float, ...]) -> None:
    array, affine = numbered(), affine_of(turned=turned)
    seen = set()
    for axes, signs in orders():
        stored, at = reordered(array, affine, axes, signs)
        record = read_record(save_nifti(tmp_path / "v.nii", stored, at), "brain_mri")
        assert np.array_equal(record.array, array.astype(np.float32))
        assert record.array.dtype == np.float32
        np.testing.assert_allclose(record.facts["affine"], affine, atol=1e-4)
        np.testing.assert_allclose(record.facts["spacing_mm"], (1, 2, 3), atol=1e-5)
        seen.add(record.facts["axes_in_file"])
    assert len(seen) == 48


def test_the_order_of_the_file_can_be_kept(tmp_path: Path) -> None:
    stored, at = reordered(numbered(), affine_of(), (1, 2, 0), (-1, 1, 1))
    record = read_record(save_nifti(tmp_path / "v.nii.gz", stored, at), "brain_mri", axes="file")
    assert np.array_equal(record.array, stored)
    np.testing.assert_allclose(record.facts["affine"], at, atol=1e-4)
    assert record.facts["axes_in_file"] == "PSR"
    with pytest.raises(ReadError, match="neither 'ras' nor 'file'"):
        read_record(tmp_path / "v.nii.gz", "brain_mri", axes="lps")


angles = st.tuples(*[st.floats(-180, 180)] * 3)
sides = st.tuples(*[st.floats(0.3, 6.0)] * 3)


@settings(max_examples=60, deadline=None)
@given(angles, sides)
def test_every_voxel_keeps_its_place_in_the_world(turned: tuple, spacing: tuple) -> None:
    array, affine = numbered((3, 4, 5)), affine_of(spacing, turned=turned)
    turned_array, at = to_ras(array, affine)
    for index in [(0, 0, 0), (2, 0, 1), tuple(n - 1 for n in turned_array.shape)]:
        old = np.argwhere(array == turned_array[index])[0]
        np.testing.assert_allclose((at @ [*index, 1])[:3], (affine @ [*old, 1])[:3], atol=1e-6)
    again, same = to_ras(turned_array, at)
    assert np.array_equal(again, turned_array)
    np.testing.assert_allclose(same, at)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-40, 40)] * 3), sides, st.sampled_from(list(orders())))
def test_orders_agree_with_nibabel(turned: tuple, spacing: tuple, order: tuple) -> None:
    array, affine = reordered(numbered((3, 4, 5)), affine_of(spacing, turned=turned), *order)
    if obliqueness(affine) > 40:  # near the diagonal two orders are equally near, and either is right
        return
    expected = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    result, at = to_ras(array, affine)
    assert np.array_equal(result, np.asarray(expected.dataobj))
    np.testing.assert_allclose(at, expected.affine, atol=1e-4)
    assert axis_letters(affine) == "".join(nib.aff2axcodes(affine))


def test_angles_are_measured() -> None:
    assert obliqueness(affine_of()) == 0
    assert obliqueness(affine_of(turned=(0, 0, 7))) == pytest.approx(7)
    assert shear(affine_of(turned=(10, 20, 30))) == pytest.approx(0, abs=1e-6)
    sheared = affine_of((1, 1, 1))
    sheared[0, 1] = np.tan(np.radians(5))
    assert shear(sheared) == pytest.approx(5, abs=0.01)
    assert np.allclose(rotation((90, 0, 0)) @ [0, 1, 0], [0, 0, 1])


@pytest.mark.parametrize("change", [(0, 0, np.nan), (1, 1, 0.0), (2, 3, np.inf)])
def test_affines_that_span_nothing_are_seen(change: tuple) -> None:
    affine = affine_of()
    assert sound_affine(affine)
    affine[change[0], change[1]] = change[2]
    assert not sound_affine(affine)
    assert not sound_affine(np.eye(3))


class TestGrid:
    def test_trailing_axes_of_one_are_dropped(self) -> None:
        assert check_grid((4, 5, 6), "x") == check_grid((4, 5, 6, 1, 1), "x") == (4, 5, 6)

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((4, 5, 6, 20), "holds 20 volumes"),
            ((4, 5, 6, 1, 3), "holds 3 volumes"),
            ((4, 5), "single slice"),
            ((4, 5, 1), "single slice"),
            ((4, 5, 1, 1), "single slice"),
            ((0, 5, 6), "no voxels"),
            ((-4, 5, 6), "no voxels"),
        ],
    )
    def test_other_grids_are_refused(self, shape: tuple, words: str) -> None:
        with pytest.raises(ReadError, match=words):
            check_grid(shape, "x")

    def test_what_does_not_fit_is_refused_with_its_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(form, "available_bytes", lambda: 16_000_000_000)
        fits_memory((1000, 1000, 2400), "x")
        with pytest.raises(ReadError) as caught:
            fits_memory((1400, 1400, 1400), "v.nii")
        assert "takes 11.0 GB of memory, and 16.0 GB are free" in caught.value.what
        assert "18 GB" in str(caught.value.fix)
        monkeypatch.setattr(form, "available_bytes", lambda: None)
        fits_memory((1400, 1400, 1400), "v.nii")
