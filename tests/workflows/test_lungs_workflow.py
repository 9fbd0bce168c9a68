"""Crops for a cohort: the table, what is kept whole, going on after a stop, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from radiograph_files import dicom

import medfm
from medfm.cohorts.info import load_info
from medfm.core.errors import ConfigError, StoreError
from medfm.encoders.lungs import LUNGS, STRUCTURES
from medfm.modalities.registry import read_record
from medfm.workflows import lungs
from medfm.workflows.lungs import find_lungs, whole_refs


class Dark(torch.nn.Module):
    """Dark pixels of the left and the right half are lungs; counts what it is asked."""

    asked = 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        Dark.asked += 1
        grey = batch[:, 0] * 0.229 + 0.485
        logits = torch.full((len(batch), len(STRUCTURES), 512, 512), -1.0)
        left = torch.arange(512) >= 256
        dark = (grey > 0.05) & (grey < 0.4)
        logits[:, LUNGS[0]][dark & left] = 1.0
        logits[:, LUNGS[1]][dark & ~left] = 1.0
        return logits


def chest(lungs: str = "LR", rows: int = 64, columns: int = 64) -> np.ndarray:
    picture = np.full((rows, columns), 200, np.uint8)
    high, wide = rows // 4, columns // 5
    for side, start in (("R", wide), ("L", 3 * wide)):
        if side in lungs:
            picture[high : 3 * high, start : start + wide] = 50
    return picture


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two with both lungs (one DICOM), one with one, one with none, one that cannot be read."""
    monkeypatch.setattr(lungs, "load_lung_network", lambda file: Dark())
    monkeypatch.setattr(Dark, "asked", 0)
    folder = tmp_path / "source"
    folder.mkdir()
    Image.fromarray(chest()).save(folder / "a.png")
    (folder / "b.dcm").write_bytes(dicom(chest(columns=80)))
    Image.fromarray(chest("L")).save(folder / "c.png")
    Image.fromarray(chest("")).save(folder / "d.png")
    (folder / "e.png").write_bytes(b"no picture")
    frame = pd.DataFrame({"path": ["a.png", "b.dcm", "c.png", "d.png", "e.png"], "label": list("xyxyx")})
    frame["record_id"], frame["crop"] = list("abcde"), ["1,1,3,3", "", "", "", ""]
    frame.to_csv(folder / "labels.csv", index=False)
    (folder / "labels.yaml").write_text("modality: chest_xray\nname: study\nlicence: CC-BY-4.0\nnotes: [from a ward]\n")
    (folder / "weights.pth").write_bytes(b"weights")
    return folder / "labels.csv"


def load(table: Path, **more):
    return medfm.load_cohort(table, check=False, default_modality="chest_xray", **more)


def find(table: Path, out: Path, **more):
    return find_lungs(load(table), table.parent / "weights.pth", out, info=load_info(table), **more)


def test_what_is_written(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "crops"
    done = find(table, out, margin=0.0)
    assert (done.cropped, done.kept) == (2, 0) and Dark.asked == 4
    assert done.whole == (("c", "one"), ("d", "none"))
    assert [record for record, _ in done.failed] == ["e"] and "not a radiograph" in done.failed[0][1]
    written = pd.read_csv(done.table, keep_default_na=False)
    assert list(written["record_id"]) == list("abcd") and list(written["lungs"]) == ["both", "both", "one", "none"]
    assert list(written["crop"]) == ["16,12,48,48", "16,16,48,64", "", ""]
    assert "patient_id" not in written and list(written["label"]) == list("xyxy")
    info = load_info(out / "labels.csv")
    assert info.licence == "CC-BY-4.0" and info.notes[0] == "from a ward" and "cropped" in info.notes[1]
    assert not Path(info.root).is_absolute()
    told = json.loads((out / "provenance.json").read_text())
    assert told["finished"] and told["margin"] == 0.0 and len(told["weights_sha256"]) == 64
    assert [row["seen"] for row in told["records"]] == ["both", "both", "one", "none"]
    assert str(tmp_path) not in (out / "provenance.json").read_text() + (out / "labels.yaml").read_text()
    assert Image.open(out / "overview.png").size[0] > 500


def test_the_table_is_read_cropped(table: Path, tmp_path: Path) -> None:
    done = find(table, tmp_path / "crops", margin=0.0)
    cohort = load(done.table)
    record = cohort.read(0)
    np.testing.assert_array_equal(record.array, chest()[16:48, 12:48] / np.float32(255))
    assert record.facts["crop"] == [16, 12, 48, 48] and (record.facts["height"], record.facts["width"]) == (32, 36)
    assert cohort.read(1).facts["kind"] == "DX" and cohort.read(3).array.shape == (64, 64)
    keys = [ref.content_key() for ref in (*cohort.refs(), *whole_refs(cohort))]
    assert keys[0] != keys[4] and keys[2] == keys[6], "a crop is another content, a whole one the same"


def test_a_stopped_run_goes_on(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "crops"
    real, seen = lungs.lung_masks, []

    def stops(array, network, where):
        seen.append(where)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(array, network, where)

    monkeypatch.setattr(lungs, "lung_masks", stops)
    with pytest.raises(KeyboardInterrupt):
        find(table, out)
    assert not (out / "labels.csv").exists() and not json.loads((out / "provenance.json").read_text())["finished"]
    with (out / "lungs.jsonl").open("a") as file:
        file.write('{"content": "half a li')
    monkeypatch.setattr(lungs, "lung_masks", real)
    again = find(table, out)
    assert again.kept == 2 and again.cropped == 2 and Dark.asked == 4
    fresh = find(table, tmp_path / "fresh")
    assert (out / "labels.csv").read_bytes() == (tmp_path / "fresh" / "labels.csv").read_bytes()
    assert fresh.kept == 0 and find(table, out).kept == 4


def test_crops_of_crops_are_those_of_the_whole(table: Path, tmp_path: Path) -> None:
    first = find(table, tmp_path / "one")
    second = find_lungs(load(first.table), table.parent / "weights.pth", tmp_path / "two")
    pd.testing.assert_series_equal(pd.read_csv(first.table)["crop"], pd.read_csv(second.table)["crop"])


def test_what_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds blood_cell"):
        find_lungs(load(table, modality="blood_cell"), table, tmp_path / "o")
    with pytest.raises(ConfigError, match="margin"):
        find(table, tmp_path / "o", margin=1.5)
    with pytest.raises(StoreError, match="holds other things"):
        find(table, table.parent)
    out = tmp_path / "crops"
    find(table, out)
    with pytest.raises(StoreError, match="margin or versions differ"):
        find(table, out, margin=0.2)
    assert find(table, out, margin=0.2, overwrite=True).kept == 0


def test_nothing_could_be_read(table: Path, tmp_path: Path) -> None:
    done = find_lungs(load(table, where={"record_id": "e"}), table.parent / "weights.pth", tmp_path / "crops")
    assert done.table is None and len(done.failed) == 1 and not (tmp_path / "crops" / "overview.png").exists()


@pytest.mark.parametrize("crop", ["16,12,48,48", "[16 12 48 48]", "16;12;48;48"])
def test_crops_are_read_in_several_notations(table: Path, crop: str) -> None:
    assert read_record(table.parent / "a.png", "chest_xray", crop=crop).array.shape == (32, 36)
