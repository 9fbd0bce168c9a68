"""Whole smears with boxes, through the command line, against the crops that lie beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medfm.cli.main import main
from medfm.embeddings.export import load_embeddings

CONTEXT = 35  # pixels added on each side of a box in the shipped crops


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """The shipped crops whose smear is here too, as a table of boxes on the smears."""
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / "blood_cell"
    if not data.is_dir():
        pytest.skip("the real blood cells beside the repository are absent")
    labels = pd.read_csv(data / "labels.csv")
    labels = labels[labels["task"] == "bccd_cell"]
    smears = labels["source_file"].map(lambda f: f"bccd/smears/{Path(f).name}")
    here = labels[[(data / s).exists() for s in smears]]
    corners = here["box"].str.split(expand=True).astype(int)
    table = pd.DataFrame(
        {
            "record_id": here["path"],
            "path": smears[here.index],
            "patient_id": here["source_id"],
            "label": here["label"],
            "split": here["split"],
            **{name: corners[i] for i, name in enumerate(("xmin", "ymin", "xmax", "ymax"))},
            "context_px": CONTEXT,
        }
    )
    return data, table.reset_index(drop=True)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("order", ["as listed", "shuffled"])
def test_cells_cut_by_boxes_are_the_shipped_crops_to_the_last_bit(
    pairs: tuple[Path, pd.DataFrame], tmp_path: Path, order: str
) -> None:
    data, table = pairs
    rows = table if order == "as listed" else table.sample(frac=1, random_state=0)
    assert len(rows) > 30
    rows.to_csv(tmp_path / "boxes.csv", index=False)
    rows.assign(path=rows["record_id"]).drop(columns=["xmin", "ymin", "xmax", "ymax", "context_px"]).to_csv(
        tmp_path / "crops.csv", index=False
    )
    for name in ("boxes", "crops"):
        arguments = ("--root", data, "--encoder", "color-histogram", "--out", tmp_path / f"{name}.npz")
        assert call("embed", tmp_path / f"{name}.csv", *arguments) == 0
    boxes, crops = (load_embeddings(tmp_path / f"{name}.npz") for name in ("boxes", "crops"))
    assert boxes.record_ids == crops.record_ids == tuple(rows["record_id"])
    assert np.array_equal(boxes.values, crops.values)
    assert boxes.digest() == crops.digest()


def test_check_embed_probe_of_the_boxes_as_released(
    blood_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = blood_cells / "bccd" / "smears" / "boxes.csv"
    assert call("data", "check", boxes, "--root", blood_cells, "--json") == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["records"], checked["patients"]) == (644, 48)
    assert {f["code"] for f in checked["findings"] if f["severity"] == "warning"} == {"T002"}
    assert call("probe", boxes, "--root", blood_cells, "--encoder", "color-histogram", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == 0
    scores = {m["metric"]: m["value"] for m in found["summary"]["headline"]}
    # Three kinds of cells of quite different colour and size: far above guessing, and never worse than 0.9.
    assert scores["balanced_accuracy"] > 0.9


def test_without_the_root_the_message_says_which_root_is_meant(
    blood_cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = blood_cells / "bccd" / "smears" / "boxes.csv"
    assert call("embed", boxes, "--encoder", "color-histogram") == 2
    assert f"under --root {blood_cells}" in capsys.readouterr().err.replace("\n", " ")
