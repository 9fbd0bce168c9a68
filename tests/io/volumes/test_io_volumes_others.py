"""MGH and NRRD against their own libraries, and with what their headers can get wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from volume_cases import SECRET, affine_of, numbered, orders, reordered

from medfm.core.errors import ReadError
from medfm.io.volumes.detect import volume_files
from medfm.modalities.registry import read_record


def read(path: Path, **options: object):
    return read_record(path, "brain_mri", **options)


class TestMgh:
    @pytest.mark.parametrize("ending", [".mgh", ".mgz"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
    def test_equals_nibabel(self, tmp_path: Path, ending: str, dtype: type) -> None:
        file = tmp_path / f"v{ending}"
        nib.save(nib.MGHImage(numbered(dtype=dtype), affine_of(turned=(5, 6, 7))), file)
        record = read(file)
        assert np.array_equal(record.array, numbered())
        np.testing.assert_allclose(record.facts["affine"], affine_of(turned=(5, 6, 7)), atol=1e-4)
        assert record.facts["format"] == "mgh" and record.facts["left_right"] == "known"

    def test_orders(self, tmp_path: Path) -> None:
        for axes, signs in list(orders())[::5]:
            stored, at = reordered(numbered(), affine_of(), axes, signs)
            nib.save(nib.MGHImage(stored, at), tmp_path / "v.mgz")
            assert np.array_equal(read(tmp_path / "v.mgz").array, numbered())

    def test_without_its_directions(self, tmp_path: Path) -> None:
        nib.save(nib.MGHImage(numbered(), affine_of()), tmp_path / "v.mgh")
        data = bytearray((tmp_path / "v.mgh").read_bytes())
        data[28:30] = b"\0\0"
        (tmp_path / "v.mgh").write_bytes(bytes(data))
        record = read(tmp_path / "v.mgh")
        assert record.facts["left_right"] == "not known" and record.facts["axes_in_file"] == "LIA" and record.facts["spacing_mm"] == [1, 1, 1]

    def test_4d_and_cut_off(self, tmp_path: Path) -> None:
        nib.save(nib.MGHImage(np.zeros((3, 4, 5, 6), np.float32), affine_of()), tmp_path / "v.mgz")
        with pytest.raises(ReadError, match="holds 6 volumes"):
            read(tmp_path / "v.mgz")
        nib.save(nib.MGHImage(numbered(dtype=np.int32), affine_of()), tmp_path / "w.mgh")
        for size in (100, 283, 300):
            (tmp_path / "x.mgh").write_bytes((tmp_path / "w.mgh").read_bytes()[:size])
            with pytest.raises(ReadError, match="cut off"):
                read(tmp_path / "x.mgh")

    def test_no_spacing(self, tmp_path: Path) -> None:
        nib.save(nib.MGHImage(numbered(), affine_of()), tmp_path / "v.mgh")
        data = bytearray((tmp_path / "v.mgh").read_bytes())
        data[30:34] = b"\0" * 4
        (tmp_path / "v.mgh").write_bytes(bytes(data))
        with pytest.raises(ReadError, match="size of the voxels is not known"):
            read(tmp_path / "v.mgh")


def save_nrrd(
    path: Path, array: np.ndarray, affine: np.ndarray, space: str = "left-posterior-superior", **more: object
) -> Path:
    world = {"left-posterior-superior": (-1, -1, 1), "right-anterior-superior": (1, 1, 1), "LAS": (-1, 1, 1)}.get(
        space, (1, 1, 1)
    )
    turned = np.diag([*world, 1]) @ affine
    header = {"space": space, "space directions": turned[:3, :3].T, "space origin": turned[:3, 3], "content": SECRET}
    nrrd.write(str(path), array, header | more, detached_header=path.suffix == ".nhdr")
    return path


class TestNrrd:
    @pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LAS"])
    @pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<f4", "<f8", "<u4"])
    def test_what_pynrrd_writes(self, tmp_path: Path, space: str, dtype: str) -> None:
        file = save_nrrd(tmp_path / "v.nrrd", numbered().astype(dtype), affine_of(turned=(5, 6, 7)), space)
        record = read(file)
        assert np.array_equal(record.array, numbered())
        np.testing.assert_allclose(record.facts["affine"], affine_of(turned=(5, 6, 7)), atol=1e-6)
        assert record.facts["left_right"] == "known" and SECRET not in repr(record.facts)

    @pytest.mark.parametrize("encoding", ["raw", "gzip"])
    def test_voxels_beside_the_header(self, tmp_path: Path, encoding: str) -> None:
        file = save_nrrd(tmp_path / "v.nhdr", numbered(), affine_of(), encoding=encoding)
        assert np.array_equal(read(file).array, numbered())
        both = volume_files(file, "v")
        assert both[0] == file and both[1].is_file() and len(both) == 2

    def test_orders(self, tmp_path: Path) -> None:
        for axes, signs in list(orders())[::5]:
            stored, at = reordered(numbered(), affine_of(), axes, signs)
            assert np.array_equal(read(save_nrrd(tmp_path / "v.nrrd", stored, at)).array, numbered())

    @pytest.mark.parametrize("name", ["../other.raw", "/etc/passwd", "a\\b.raw", "..", "LIST", "v%03d.raw 1 9 1"])
    def test_voxels_elsewhere_are_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "v.nhdr").write_text(HEADER + f"data file: {name}\n")
        for call in (read, lambda path: volume_files(path, "v")):
            with pytest.raises(ReadError, match=r"another folder|several files"):
                call(tmp_path / "v.nhdr")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("sizes: 4 5 6", "sizes: 4 5 6 7", "holds 7 volumes"),
            ("sizes: 4 5 6", "sizes: 4 nan 6", "no whole numbers"),
            ("sizes: 4 5 6", "sizes: four", "no valid 'sizes'"),
            ("type: short", "type: block", "no kind of number"),
            ("endian: little\n", "", "order of bytes"),
            ("encoding: raw", "encoding: bzip2", "'bzip2', which is not read"),
            ("encoding: raw", f"encoding: {SECRET}", r"'\?', which is not read"),
            ("encoding: raw", "encoding: gzip", "damaged or cut off"),
            ("spacings: 1 2 3\n", "", "no spacing"),
            ("spacings: 1 2 3", "spacings: 1 nan 3", "no spacing"),
            ("spacings: 1 2 3", "space directions: (1,0,0) none (0,0,1)", "no three vectors"),
            ("spacings: 1 2 3", "kinds: RGB-color domain domain", "not grey values"),
            ("spacings: 1 2 3", "spacings: 1 2 3\nbyte skip: 12", "skipped lines or bytes"),
            ("spacings: 1 2 3", SECRET, "a line that is no field"),
        ],
    )
    def test_headers_that_are_refused(self, tmp_path: Path, old: str, new: str, words: str) -> None:
        (tmp_path / "v.nrrd").write_bytes(HEADER.replace(old, new).encode() + b"\n" + numbered().tobytes(order="F"))
        with pytest.raises(ReadError, match=words) as caught:
            read(tmp_path / "v.nrrd")
        assert SECRET not in str(caught.value)

    def test_spacing_alone_leaves_left_and_right_open(self, tmp_path: Path) -> None:
        (tmp_path / "v.nrrd").write_bytes(HEADER.encode() + b"\n" + numbered().tobytes(order="F"))
        record = read(tmp_path / "v.nrrd")
        assert np.array_equal(record.array, numbered())
        assert record.facts["spacing_mm"] == [1, 2, 3] and record.facts["left_right"] == "not known"

    def test_cut_off(self, tmp_path: Path) -> None:
        data = HEADER.encode() + b"\n" + numbered().tobytes(order="F")
        for end in (len(data) - 1, 60, 200):
            (tmp_path / "v.nrrd").write_bytes(data[:end])
            with pytest.raises(ReadError):
                read(tmp_path / "v.nrrd")
        packed = HEADER.replace("raw", "gzip").encode() + b"\n" + gzip.compress(numbered().tobytes(order="F"))
        (tmp_path / "v.nrrd").write_bytes(packed)
        assert np.array_equal(read(tmp_path / "v.nrrd").array, numbered())
        (tmp_path / "v.nrrd").write_bytes(packed[:-40])
        with pytest.raises(ReadError, match="damaged or cut off"):
            read(tmp_path / "v.nrrd")

    def test_a_header_without_end(self, tmp_path: Path) -> None:
        (tmp_path / "v.nrrd").write_text("NRRD0004\n" + "# more\n" * 20_000)
        with pytest.raises(ReadError, match="does not end"):
            read(tmp_path / "v.nrrd")


HEADER = f"""NRRD0004
# Complete NRRD file format specification at:
type: short
dimension: 3
sizes: 4 5 6
spacings: 1 2 3
endian: little
encoding: raw
name:={SECRET}
"""
