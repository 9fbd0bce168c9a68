"""Pictures inside HDF5 files: rows, stacks, digests, hostile files, constant memory."""

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from medfm.core.errors import ReadError
from medfm.io.hdf5_pictures import is_hdf5, read_stacked, stacked_digest


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3)).astype(np.uint8)


def written(path: Path, **stacks: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in stacks.items():
            file[name] = values
    return path


def test_every_row_is_read_as_it_is(tmp_path: Path, stack: np.ndarray) -> None:
    path = written(tmp_path / "a.h5", x=stack, y=np.zeros(5, np.uint8))
    assert is_hdf5(path)
    for index in range(5):
        array, facts = read_stacked(path, index)
        assert np.array_equal(array, stack[index])
        assert facts == {"format": "hdf5", "source_bits": 8, "height": 12, "width": 10}


def test_the_stack_may_be_named_and_is_found_where_it_is_the_only_one(tmp_path: Path, stack: np.ndarray) -> None:
    path = written(tmp_path / "a.h5", patches=stack)
    assert np.array_equal(read_stacked(path, 1)[0], stack[1])
    two = written(tmp_path / "b.h5", one=stack, two=stack[::-1])
    assert np.array_equal(read_stacked(two, 0, "two")[0], stack[4])
    with pytest.raises(ReadError, match="2 stacks"):
        read_stacked(two, 0)
    with pytest.raises(ReadError, match="no stack of pictures 'three'") as caught:
        read_stacked(two, 0, "three")
    assert "one, two" in str(caught.value)


def test_16_bits_are_scaled_and_grey_becomes_colour(tmp_path: Path) -> None:
    deep = np.array([[[[0, 257, 65535]]]], np.uint16)
    array, facts = read_stacked(written(tmp_path / "a.h5", x=deep), 0)
    assert array.tolist() == [[[0, 1, 255]]]
    assert (facts["source_bits"], facts["source_max"]) == (16, 65535)
    grey = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert read_stacked(written(tmp_path / "b.h5", x=grey), 1)[0][0, 1].tolist() == [5, 5, 5]


def test_the_digest_is_of_the_pixels_alone(tmp_path: Path, stack: np.ndarray) -> None:
    one = written(tmp_path / "a.h5", x=stack)
    other = written(tmp_path / "b.h5", images=stack[::-1], more=np.zeros(3))
    assert stacked_digest(one, 0) == stacked_digest(other, 4)
    assert len({stacked_digest(one, index) for index in range(5)}) == 5
    turned = written(tmp_path / "c.h5", x=stack.reshape(5, 10, 12, 3))
    assert stacked_digest(turned, 0) != stacked_digest(one, 0)


@pytest.mark.parametrize("index", [-1, 5, 10**9])
def test_rows_that_are_not_there(tmp_path: Path, stack: np.ndarray, index: int) -> None:
    with pytest.raises(ReadError, match=r"no picture .* in '/x'") as caught:
        read_stacked(written(tmp_path / "a.h5", x=stack), index, where="record 7")
    assert "0 to 4" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path, stack: np.ndarray) -> None:
    with pytest.raises(ReadError, match="does not exist"):
        read_stacked(tmp_path / "absent.h5", 0)
    (tmp_path / "packed.h5").write_bytes(b"\x1f\x8b\x08 packed")
    with pytest.raises(ReadError, match=r"not an HDF5 file[\s\S]*unpack"):
        read_stacked(tmp_path / "packed.h5", 0)
    path = written(tmp_path / "a.h5", x=stack)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ReadError, match="damaged or cut off"):
        read_stacked(path, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_pixels_without_a_range_are_refused(tmp_path: Path, stack: np.ndarray, dtype: type) -> None:
    with pytest.raises(ReadError, match="pixels of type"):
        read_stacked(written(tmp_path / "a.h5", x=stack.astype(dtype)), 0)


def test_links_to_other_files_are_not_followed(tmp_path: Path, stack: np.ndarray) -> None:
    written(tmp_path / "secret.h5", x=stack)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("secret.h5", "/x")
    for name in (None, "x"):
        with pytest.raises(ReadError):
            read_stacked(tmp_path / "a.h5", 0, name)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (4000, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3), fillvalue=7)
    read_stacked(tmp_path / "a.h5", 0)
    tracemalloc.start()
    for index in range(0, 4000, 400):
        assert read_stacked(tmp_path / "a.h5", index)[0].max() == 7
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # the whole stack has 110 MB
