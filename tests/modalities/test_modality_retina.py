"""Fundus photographs from ordinary image files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfm.core.errors import ReadError
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, list_modalities, read_record
from medfm.modalities.retina import RETINA

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "retina"
PHOTO = np.random.default_rng(2).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def test_it_is_registered_and_describes_itself() -> None:
    assert get_modality("retina") is RETINA and "retina" in list_modalities()
    assert "RGB uint8" in RETINA.contract and "surround kept" in RETINA.contract


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_a_photograph_is_read_as_it_is(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"eye{ending}"
    Image.fromarray(PHOTO).save(file)
    record = RETINA.read(RecordRef("eye-1", file))
    assert np.array_equal(record.array, PHOTO)
    assert (record.record_id, record.modality) == ("eye-1", "retina")
    assert (record.facts["height"], record.facts["width"]) == (40, 60)


def test_sixteen_bits_are_scaled_by_their_depth_not_by_their_maximum(tmp_path: Path) -> None:
    import tifffile

    deep = np.full((4, 5, 3), 32768, np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    record = RETINA.read(RecordRef("eye", tmp_path / "deep.tif"))
    assert record.array.dtype == np.uint8 and (record.array == round(32768 * 255 / 65535)).all()


def test_cmyk_and_grey_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    Image.fromarray(PHOTO[:, :, 0]).save(tmp_path / "redfree.png")
    assert RETINA.read(RecordRef("a", tmp_path / "print.jpg")).array.shape == (40, 60, 3)
    grey = RETINA.read(RecordRef("b", tmp_path / "redfree.png")).array
    assert (grey == PHOTO[:, :, :1]).all()


def test_wrong_options_and_files_are_refused_by_record(tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "eye.png")
    with pytest.raises(ReadError, match="no option 'box'"):
        RETINA.read(RecordRef("eye-1", tmp_path / "eye.png", {"box": [0, 0, 2, 2]}))
    (tmp_path / "half.png").write_bytes((tmp_path / "eye.png").read_bytes()[:200])
    for name in ("half.png", "none.png"):
        with pytest.raises(ReadError) as error:
            RETINA.read(RecordRef("eye-1", tmp_path / name))
        assert error.value.where == "eye-1"


def test_options_of_a_row() -> None:
    assert RETINA.options({}) == RETINA.options({"page": float("nan")}) == {}
    assert RETINA.options({"page": "2"}) == {"page": 2}
    with pytest.raises(ReadError, match="page is not a whole number"):
        RETINA.options({"page": "two"})


def test_a_real_photograph() -> None:
    if not SHARED.is_dir():
        pytest.skip("the real photographs beside the repository are absent")
    file = next(iter(sorted((SHARED / "idrid" / "test").rglob("*.jpg"))))
    record = read_record(file, "retina")
    with Image.open(file) as picture:
        assert np.array_equal(record.array, np.asarray(picture.convert("RGB")))
