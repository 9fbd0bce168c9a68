"""scripts/real_brains.py: how it draws, which scans it takes, and what it compares."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from medfm.cohorts.synthetic_brains_cohort import nifti_bytes

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "real_brains.py"
DATA = ROOT.parent / "shared" / "data" / "mri"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the checkout")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_brains", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_brains"] = module
    spec.loader.exec_module(module)
    return module


def test_slices_show_the_right_side_at_the_left_and_the_top_above(script):
    volume = np.zeros((6, 8, 4), dtype=np.float32)
    volume[5, :, :] = 1.0  # the patient's right
    volume[:, :, 3] += 0.5  # the top
    drawn = script.slices(volume)
    coronal, axial = drawn[:, :6], drawn[:, 7:13]
    assert drawn.shape == (8, 14)
    assert coronal[0, 0] == 1.5 and coronal[0, 5] == 0.5 and coronal[3, 0] == 1.0 and coronal[3, 5] == 0.0
    assert (axial[:, 0] == 1.0).all() and not axial[:, 1:].any()
    # Below the coronal slice, which is lower than the axial one is long, there is nothing.
    assert not coronal[4:].any()


def test_the_front_is_above_in_axial_slices(script):
    volume = np.zeros((6, 8, 4), dtype=np.float32)
    volume[:, 7, :] = 1.0
    axial = script.slices(volume)[:, 7:13]
    assert axial[0].all() and not axial[1:].any()


def test_the_picture_has_a_row_per_scan_and_a_column_per_title(script, tmp_path):
    volume = np.full((6, 8, 4), 0.5, dtype=np.float32)
    script.picture(
        ["scan", "other"], [("train: T1w", [volume, 2 * volume]), ("test: T1w", [volume, volume])], tmp_path / "x.png"
    )
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.mode == "L" and sheet.size == (2 * (4 * 14 + 6), 18 + 2 * (4 * 8 + 18))
        pixels = np.asarray(sheet)
    # Values are 0 to 1; larger ones are white, not wrapped around.
    assert pixels[34, 4] == 127 and pixels[34, 66] == 255


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data")
def test_the_scans_taken(script):
    cohort = script.cohort_of([DATA])
    assert len(cohort) == 16 and set(cohort.column("split")) == {"train", "test"}
    by_split = cohort.table.groupby("split")["patient_id"].agg(set)
    assert not by_split["train"] & by_split["test"]


def test_scans_of_several_standardised_folders_are_one_cohort(script, tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "volumes").mkdir(parents=True)
        for row in range(2):
            data = nifti_bytes(np.full((4, 5, 6), row + (name == "two") * 10 + 1, np.float32), np.eye(4))
            (folder / "volumes" / f"{row}.nii.gz").write_bytes(data)
        lines = [f"{name}-{row},volumes/{row}.nii.gz,{name}-{row},{('train', 'test')[row]}" for row in range(2)]
        (folder / "labels.csv").write_text("\n".join(["record_id,path,patient_id,split", *lines]) + "\n")
        (folder / "labels.yaml").write_text("modality: brain_mri\n")
    cohort = script.cohort_of([tmp_path / "one", tmp_path / "two"])
    assert cohort.record_ids == ["one-0", "one-1", "two-0", "two-1"] and cohort.modality == "brain_mri"
    assert [float(cohort.read(row).array.max()) for row in range(4)] == [1, 2, 11, 12]
    assert cohort.column("split").tolist() == ["train", "test"] * 2


def test_only_the_stages_asked_for_are_trained(script, tmp_path, monkeypatch):
    called = []

    def pretrain(cohort, recipe, out, *, overrides, progress):
        called.append((recipe, overrides["first_weights"], overrides["start"], overrides["epochs"]))

    monkeypatch.setattr(script.medfm, "pretrain", pretrain)
    tiny = tmp_path / "tiny"
    assert script.fine_tune(None, tiny, tmp_path, {"autoencoder": 3}) == tmp_path / "ae"
    assert called == [("ldae-tiny-autoencoder", str(tiny / "ae"), None, 3)]
    (tmp_path / "ae").mkdir()
    (tmp_path / "ae" / "card.md").write_text("done")
    called.clear()
    last = script.fine_tune(None, tiny, tmp_path, dict.fromkeys(("autoencoder", "latent", "semantic"), 2))
    assert last == tmp_path / "semantic"
    assert [(name, start) for name, _, start, _ in called] == [
        ("ldae-tiny-latent", str(tmp_path / "ae")),
        ("ldae-tiny-semantic", str(tmp_path / "latent")),
    ]
