"""Tissue patches as records: places, resolution, stacks, content keys, bad pictures."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

import medfm
from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ReadError
from medfm.embeddings.lookup import Hasher, Item, Unreadable
from medfm.modalities.histopathology import HISTOPATHOLOGY
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import read_record


def paint(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(100, 230, (24, 20, 3)).astype(np.uint8)


def stacked(path: Path, *seeds: int) -> Path:
    with h5py.File(path, "w") as file:
        file["x"] = np.stack([paint(seed) for seed in seeds])
    return path


def test_options_of_a_row() -> None:
    row = {"patch_x": "10", "patch_y": 20.0, "mpp": "0.5", "page": None, "index": 3, "dataset": " x "}
    assert HISTOPATHOLOGY.options(row) == {"patch_x": 10, "patch_y": 20, "mpp": 0.5, "index": 3, "dataset": "x"}
    assert HISTOPATHOLOGY.options({"dataset": "x", "index": float("nan")}) == {}
    for bad in ({"patch_x": 1}, {"mpp": 0}, {"mpp": "small"}, {"index": 1.5}):
        with pytest.raises(ReadError):
            HISTOPATHOLOGY.options(bad)


def test_place_and_resolution_are_facts_and_nothing_is_resampled(tmp_path: Path) -> None:
    Image.fromarray(paint()).save(tmp_path / "a.png")
    record = read_record(tmp_path / "a.png", "histopathology", patch_x=5, patch_y=6, mpp=0.25)
    assert np.array_equal(record.array, paint())
    assert (record.facts["place"], record.facts["mpp"], record.facts["mpp_source"]) == ([5, 6], 0.25, "table")
    with pytest.raises(ReadError, match="cannot come from a microscope"):
        read_record(tmp_path / "a.png", "histopathology", mpp=250)
    with pytest.raises(ReadError, match="no option 'box'"):
        read_record(tmp_path / "a.png", "histopathology", box=[0, 0, 1, 1])


def test_a_row_of_a_stack_is_a_record(tmp_path: Path) -> None:
    path = stacked(tmp_path / "x.h5", 1, 2)
    record = read_record(path, "histopathology", index=1, mpp=1.0)
    assert np.array_equal(record.array, paint(2))
    assert record.facts["mpp"] == 1.0
    with pytest.raises(ReadError, match="Which picture"):
        read_record(path, "histopathology")
    Image.fromarray(paint()).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match="not an HDF5 file"):
        read_record(tmp_path / "a.png", "histopathology", index=0)


def test_content_keys_are_per_picture_not_per_file(tmp_path: Path) -> None:
    one, other = stacked(tmp_path / "a.h5", 1, 2), stacked(tmp_path / "b.h5", 2, 3, 1)
    refs = [RecordRef(f"{path.name}-{i}", path, {"index": i}) for path, n in ((one, 2), (other, 3)) for i in range(n)]
    keys = [HISTOPATHOLOGY.content_key(ref) for ref in refs]
    assert keys[0] == keys[4] and keys[1] == keys[2]
    assert len(set(keys)) == 3
    # The resolution is part of what is read; the name of the stack is not.
    assert HISTOPATHOLOGY.content_key(RecordRef("r", one, {"index": 0, "dataset": "x"})) == keys[0]
    assert HISTOPATHOLOGY.content_key(RecordRef("r", one, {"index": 0, "mpp": 0.5})) != keys[0]
    Image.fromarray(paint()).save(tmp_path / "a.png")
    assert HISTOPATHOLOGY.content_key(RecordRef("r", tmp_path / "a.png")) is None
    items = list(Hasher(HISTOPATHOLOGY).items([*refs, RecordRef("bad", one, {"index": 9})]))
    assert [item.key.hex() for item in items[:5] if isinstance(item, Item)] == keys
    assert isinstance(items[5], Unreadable) and "no picture 9" in items[5].reason


def test_a_stack_is_embedded_and_a_copy_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    stacked(tmp_path / "x.h5", 1, 2, 1)
    table = pd.DataFrame(
        {"record_id": ["a", "b", "c"], "path": "x.h5", "patient_id": ["a", "b", "c"], "index": [0, 1, 2]}
    )
    cohort = Cohort(table.assign(site=None, split=None), "histopathology", tmp_path)
    encoder = medfm.load_encoder("color-histogram")
    vectors = medfm.embed(encoder, cohort)
    assert np.array_equal(vectors.values[0], vectors.values[2])
    expected = encoder(encoder.preprocess(HISTOPATHOLOGY.read(next(iter(cohort.refs()))))[None])
    np.testing.assert_allclose(vectors.values[:1], expected.numpy(), atol=1e-6)


def test_bad_pictures_are_read_or_refused_with_a_reason(tmp_path: Path) -> None:
    picture = Image.fromarray(paint())
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    cmyk = read_record(tmp_path / "cmyk.jpg", "histopathology")
    assert cmyk.facts["source_mode"] == "CMYK"
    assert np.abs(cmyk.array.astype(int) - paint()).mean() < 12

    tifffile.imwrite(tmp_path / "deep.tif", paint().astype(np.uint16) * 257, photometric="rgb")
    assert np.array_equal(read_record(tmp_path / "deep.tif", "histopathology").array, paint())

    alpha = np.dstack([paint(), np.full((24, 20), 255, np.uint8)])
    alpha[:12, :, 3] = 0
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    laid = read_record(tmp_path / "alpha.png", "histopathology").array
    assert (laid[:12] == 255).all() and np.array_equal(laid[12:], paint()[12:])

    tifffile.imwrite(tmp_path / "half.tif", paint(), photometric="rgb")
    whole = (tmp_path / "half.tif").read_bytes()
    (tmp_path / "half.tif").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ReadError, match=r"cut off|damaged"):
        read_record(tmp_path / "half.tif", "histopathology")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([paint(), paint(1)]), photometric="rgb")
    with pytest.raises(ReadError, match="2 pages"):
        read_record(tmp_path / "pages.tif", "histopathology")
    assert np.array_equal(read_record(tmp_path / "pages.tif", "histopathology", page=1).array, paint(1))


def test_a_colour_profile_does_not_change_pixels_and_is_noted(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(paint()).save(tmp_path / "icc.png", icc_profile=profile)
    record = read_record(tmp_path / "icc.png", "histopathology")
    assert np.array_equal(record.array, paint())
    assert record.facts["icc_profile"] == "embedded, not applied"
