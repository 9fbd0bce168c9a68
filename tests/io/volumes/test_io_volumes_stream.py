"""Voxels in slabs: any slab gives the same array; damage is told; no change of a DICOM file ends in a traceback."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_cases import SECRET, affine_of, dicom_slices, numbered

from medfm.core.errors import ReadError
from medfm.io.volumes import stream
from medfm.io.volumes.stream import opened, read_voxels, skip
from medfm.modalities.registry import read_record


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.sampled_from(["u1", "<i2", ">i2", "<f4", ">f8"]),
    st.integers(1, 600),
    st.sampled_from([(1.0, 0.0), (0.5, -3.0)]),
)
def test_slabs_of_any_size_give_one_array(shape: tuple, dtype: str, slab: int, scale: tuple) -> None:
    values = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    data = io.BytesIO(values.tobytes(order="F"))
    before, stream._SLAB = stream._SLAB, slab
    try:
        result = read_voxels(data, shape, np.dtype(dtype), "v", *scale)
    finally:
        stream._SLAB = before
    assert result.dtype == np.float32 and np.array_equal(result, values.astype(np.float64) * scale[0] + scale[1])


def test_values_beyond_float32_become_infinite_without_a_warning() -> None:
    data = io.BytesIO(np.full((2, 2, 2), 1e300).tobytes())
    assert np.isinf(read_voxels(data, (2, 2, 2), np.dtype("<f8"), "v")).all()


def test_skipping() -> None:
    data = io.BytesIO(bytes(range(100)))
    skip(data, 40, "v")
    assert data.read(1) == b"\x28"
    with pytest.raises(ReadError, match="inside the header"):
        skip(data, 10, "v")
    with pytest.raises(ReadError, match="cut off"):
        skip(data, 400, "v")


def test_gzip_is_known_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(gzip.compress(b"hello"))
    (tmp_path / "b.gz").write_bytes(b"plain")
    for name, text in (("a.nii", b"hello"), ("b.gz", b"plain")):
        with opened(tmp_path / name, "v") as file:
            assert file.read() == text


@pytest.mark.parametrize("place", ["absent", "."])
def test_what_cannot_be_opened(tmp_path: Path, place: str) -> None:
    with pytest.raises(ReadError, match=r"does not exist|folder"), opened(tmp_path / place, "v"):
        pass


def test_any_change_of_a_dicom_file_is_read_or_refused(tmp_path: Path) -> None:
    files = dicom_slices(tmp_path / "s", numbered((4, 5, 3), np.uint16), affine_of())
    sound = files[1].read_bytes()
    generator = np.random.default_rng(5)
    for _ in range(60):
        broken = bytearray(sound)
        for place in generator.integers(132, len(sound), 3):
            broken[place] = generator.integers(0, 256)
        files[1].write_bytes(bytes(broken))
        try:
            record = read_record(tmp_path / "s", "brain_mri")
        except ReadError as error:
            assert SECRET[:8] not in str(error)
        else:
            assert record.array.ndim == 3
