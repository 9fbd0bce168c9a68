"""Volumes from files through the pipeline: one order of axes or another, a series, and files that cannot be embedded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brain_volumes import SHARED, head, save_head
from tiny_ldae import tiny_card

import medfm
import medfm.cohorts.checks.scan as scan_module
import medfm.embeddings.lookup as lookup
from medfm.cohorts.cohort import Cohort
from medfm.encoders import registry
from medfm.encoders.encoder import Encoder
from medfm.encoders.load import load_encoder
from medfm.encoders.registry import add_search_path
from medfm.modalities.brain_mri import OVERFLOWED
from medfm.modalities.record import LARGE_FILE, RecordRef, check_size
from medfm.workflows.embed import EmbedRun


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    folder = tmp_path_factory.mktemp("cards")
    tiny_card(folder, id="tiny-ldae-files").path.rename(folder / "tiny-ldae-files.md")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_added", [])  # other files of the same process must not see this card
        add_search_path(folder)
        yield load_encoder("tiny-ldae-files", weights="random", device="cpu")


def cohort(folder: Path, rows: list[dict]) -> Cohort:
    return medfm.load_cohort(pd.DataFrame(rows), modality="brain_mri", root=folder)


def test_the_order_of_a_file_does_not_change_its_embedding(tmp_path: Path, encoder: Encoder) -> None:
    array = head(8.0)
    save_head(tmp_path / "ras.nii.gz", array, 8.0)
    image = nib.Nifti1Image(array, np.diag([8.0, 8, 8, 1]))
    turned = image.as_reoriented(nib.orientations.axcodes2ornt(("P", "S", "R"), (("L", "R"), ("P", "A"), ("I", "S"))))
    nib.save(turned, tmp_path / "psr.nii")
    rows = [{"path": "ras.nii.gz"}, {"path": "psr.nii"}, {"path": "psr.nii", "record_id": "kept", "axes": "file"}]
    for number, row in enumerate(rows):
        row.setdefault("record_id", str(number))
    values = medfm.embed(encoder, cohort(tmp_path, rows), cache=tmp_path / "cache", workers=0).values
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5, atol=1e-6)
    assert np.abs(values[2] - values[0]).max() > 1e-4
    by_hand = encoder(encoder.preprocess(cohort(tmp_path, rows).read(0))[None])
    np.testing.assert_allclose(np.asarray(by_hand)[0], values[0], rtol=1e-5, atol=1e-6)


def test_bad_volumes_are_recorded_and_do_not_stop_the_run(tmp_path: Path, encoder: Encoder) -> None:
    save_head(tmp_path / "good.nii", head(8.0), 8.0)
    save_head(tmp_path / "nan.nii", np.where(head(8.0) > 600, np.nan, 1).astype(np.float32), 8.0)
    save_head(tmp_path / "constant.nii", np.ones((9, 9, 9), np.float32), 8.0)
    save_head(tmp_path / "four.nii", np.zeros((9, 9, 9, 4), np.float32), 8.0)
    (tmp_path / "cut.nii").write_bytes((tmp_path / "good.nii").read_bytes()[:4000])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note.txt").write_text("no slices here")
    names = ["good.nii", "nan.nii", "constant.nii", "four.nii", "cut.nii", "folder"]
    embeddings = medfm.embed(
        encoder,
        cohort(tmp_path, [{"path": name} for name in names]),
        cache=tmp_path / "cache",
        workers=0,
        on_error="skip",
    )
    assert tuple(embeddings.record_ids) == ("good.nii",)
    reasons = {failure.record_id: failure.reason for failure in embeddings.failures}
    assert "NaN" in reasons["nan.nii"] and "one value" in reasons["constant.nii"]
    assert "4 volumes" in reasons["four.nii"] and "cut off" in reasons["cut.nii"]
    assert "no DICOM files" in reasons["folder"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside this repository")
def test_real_scans(tmp_path: Path, encoder: Encoder) -> None:
    rows = [
        {"path": "dicom_series/slab"},
        {"path": "ixi_2mm/train/IXI012-HH-1211-T1_2mm.nii.gz"},
        {"path": "ms_ljubljana/train/patient01_study1_FLAIR.nii.gz"},
    ]
    embeddings = medfm.embed(encoder, cohort(SHARED, rows), cache=tmp_path / "cache", workers=0)
    assert embeddings.values.shape == (3, 32) and np.isfinite(embeddings.values).all()
    assert len({row.tobytes() for row in embeddings.values}) == 3


def test_a_volume_too_large_is_refused_before_its_bytes_are_hashed(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_head(tmp_path / "good.nii", head(8.0), 8.0)
    # 2 TB that take no room on the disk: hashing them would take an hour.
    large = nib.Nifti1Header()
    large.set_data_shape((8000, 8000, 8000))
    large.set_data_dtype(np.float32)
    large.set_sform(np.eye(4), 1)
    large["magic"], large["vox_offset"] = b"n+1", 352
    (tmp_path / "large.nii").write_bytes(large.binaryblock + bytes(4))
    os.truncate(tmp_path / "large.nii", 352 + 4 * 8000**3)
    hashed: list[str] = []
    for module in (lookup, scan_module):
        real = module.sha256_file
        monkeypatch.setattr(module, "sha256_file", lambda path, real=real: hashed.append(Path(path).name) or real(path))
    records = cohort(tmp_path, [{"path": "large.nii"}, {"path": "good.nii"}])
    embeddings = medfm.embed(encoder, records, cache=tmp_path / "cache", workers=0, on_error="skip")
    assert tuple(embeddings.record_ids) == ("good.nii",)
    (failure,) = embeddings.failures
    assert failure.record_id == "large.nii"
    assert "8000 x 8000 x 8000 voxels takes 2048.0 GB" in failure.reason and "at least 3413 GB free" in failure.reason
    assert hashed == ["good.nii"]
    seen = scan_module.scan(records)
    assert "2048.0 GB" in str(seen[0].error) and seen[1].error is None and hashed == ["good.nii", "good.nii"]


def test_small_files_are_not_asked() -> None:
    asked: list[str] = []

    class Asked:
        def check_size(self, ref: RecordRef) -> None:
            asked.append(ref.record_id)

    check_size(Asked(), RecordRef("small", Path("s")), LARGE_FILE - 1)
    check_size(Asked(), RecordRef("large", Path("l")), LARGE_FILE)
    check_size(object(), RecordRef("of no such modality", Path("n")), LARGE_FILE)
    assert asked == ["large"]


def test_what_a_reader_notes_is_said_once_per_kind(tmp_path: Path, encoder: Encoder) -> None:
    bright = np.clip(head(8.0) * 50, 0, None)
    for name, factor in (("one.nii", 1.0), ("two.nii", 1.02)):
        stored = (bright * factor).astype(np.int64).astype(np.uint16).view(np.int16)
        save_head(tmp_path / name, stored, 8.0)
    save_head(tmp_path / "good.nii", (bright * 0.5).astype(np.int16), 8.0)
    records = cohort(tmp_path, [{"path": name} for name in ("good.nii", "one.nii", "two.nii")])
    assert [records.read(i).facts.get("notes") for i in range(3)] == [None, [OVERFLOWED], [OVERFLOWED]]
    first = medfm.embed(encoder, records, cache=tmp_path / "cache", workers=0)
    assert len(first.record_ids) == 3 and not first.failures
    entry = {"note": OVERFLOWED, "records": 2, "first": "one.nii"}
    assert first.provenance["run"]["notes"] == [entry]
    shown = EmbedRun(first, None, tmp_path, 1.0, "report").lines()
    assert f"note: one.nii and 1 more: {OVERFLOWED}" in shown
    # What comes from the store was not read again, so nothing is noted.
    again = medfm.embed(encoder, records, cache=tmp_path / "cache", workers=0)
    assert "notes" not in again.provenance["run"]
    assert not any(line.startswith("note:") for line in EmbedRun(again, None, tmp_path, 1.0, "report").lines())
