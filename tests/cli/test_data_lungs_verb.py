"""``medfm data lungs`` from the shell's side: words, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medfm.cli.main import main
from medfm.encoders.lungs import LUNGS
from medfm.workflows import lungs


class Halves(torch.nn.Module):
    """A lung in the middle of each half, wherever the picture is not black."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(batch), 14, 512, 512), -1.0)
        if float(batch.max()) > 0:
            logits[:, LUNGS[0], 100:400, 300:400] = 1.0
            logits[:, LUNGS[1], 100:400, 100:200] = 1.0
        return logits


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.fromarray(np.full((64, 64), 200, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "labels.csv").write_text("path,label\na.png,x\nb.png,y\n")
    (tmp_path / "w.pth").write_bytes(b"weights")
    monkeypatch.setattr(lungs, "load_lung_network", lambda file: Halves())
    return tmp_path


def run(capsys: pytest.CaptureFixture, *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["data", "lungs", *map(str, words)])
    told = capsys.readouterr()
    return stop.value.code, told.out, told.err


def test_from_a_table_to_crops(folder: Path, capsys: pytest.CaptureFixture) -> None:
    words = [folder / "labels.csv", "--weights", folder / "w.pth", "--out", folder / "crops", "--margin", "0"]
    code, said, _ = run(capsys, *words)
    assert code == 0 and "1 cropped, 1 kept whole, 0 failed" in said and "no lung was seen" in said
    assert '"12,12,50,50"' in (folder / "crops" / "labels.csv").read_text() and "overview.png" in said
    code, said, _ = run(capsys, *words, "--json")
    told = json.loads(said)
    assert code == 0 and told["found_before"] == 2 and told["kept_whole"] == [{"record_id": "b.png", "seen": "none"}]
    (folder / "a.png").write_bytes(b"no picture")
    code, said, _ = run(capsys, *words)
    assert code == 1 and "a.png" in said and "1 failed" in said
    (folder / "b.png").unlink()
    assert run(capsys, *words)[0] == 2


def test_errors_have_words(folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    table, out = folder / "labels.csv", folder / "o"
    for words, expected in (
        ([table, "--out", out], "fetch that file where there is a connection and pass --weights pspnet"),
        ([table, "--out", out], "github.com/mlmed/torchxrayvision"),
        ([table, "--weights", folder / "none.pth", "--out", out], "does not exist"),
        ([table, "--weights", folder / "none.pth", "--out", out], "cropping is optional"),
        ([table, "--weights", folder, "--out", out], "does not exist"),
        ([table, "--weights", table, "--out", out], "not a checkpoint"),
        ([table, "--weights", folder / "w.pth", "--out", out, "--modality", "ecg"], "chest radiographs"),
        ([table, "--weights", folder / "w.pth", "--out", out, "--margin", "7"], "margin"),
    ):
        code, _, err = run(capsys, *words)
        assert code == 2 and expected in err and "Traceback" not in err
        assert not out.exists()
