"""Reading real cells, from many threads, and one picture in every format."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from medfm.io.images import read_image

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared" / "data" / "blood_cell"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside this repository")


@real
@pytest.mark.parametrize("pattern", ["pbc/test/*/*.jpg", "chula_rbc12/test/*/*.png", "bccd/smears/*.jpg"])
def test_real_files_are_what_the_published_pipelines_read(pattern: str) -> None:
    files = sorted(SHARED.glob(pattern))[::7]
    assert len(files) >= 6
    for file in files:
        array, facts = read_image(file)
        assert np.array_equal(array, np.asarray(Image.open(file).convert("RGB")))
        assert facts["source_bits"] == 8
        assert "notes" not in facts


@real
def test_many_threads_read_the_same_as_one() -> None:
    files = sorted(SHARED.glob("pbc/test/*/*.jpg"))[:40]
    alone = [read_image(file)[0] for file in files]
    with ThreadPoolExecutor(8) as pool:
        for one, (together, _) in zip(alone, pool.map(read_image, files), strict=True):
            assert np.array_equal(one, together)


@real
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_no_half_of_a_real_cell_is_ever_read(tmp_path: Path, kept: float) -> None:
    from medfm.core.errors import ReadError

    for file in sorted(SHARED.glob("pbc/test/*/*.jpg"))[::60]:
        data = file.read_bytes()
        (tmp_path / "cut.jpg").write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(ReadError):
            read_image(tmp_path / "cut.jpg")


def test_one_picture_is_the_same_in_every_lossless_format(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (33, 21, 3)).astype(np.uint8)
    picture = Image.fromarray(array)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    picture.save(tmp_path / "c.tif", compression="tiff_lzw")
    tifffile.imwrite(tmp_path / "d.tif", array.astype(np.uint16) * 257, photometric="rgb", compression="zlib")
    tifffile.imwrite(tmp_path / "e.tif", array, photometric="rgb", tile=(16, 16), bigtiff=True)
    Image.fromarray(np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])).save(tmp_path / "f.png")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    for file in files:
        assert np.array_equal(read_image(file)[0], array), file.name


def test_reading_pictures_needs_neither_torch_nor_plots() -> None:
    code = "import sys, medfm.cohorts.load, medfm.io.images; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
