"""Chest radiographs through the command line: drawn, checked, shown, prepared; bad files end as the page says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from radiograph_files import NAME, SC, dicom, ramp

from medfm.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.delenv("MEDFM_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["data", *(str(a) for a in arguments)])
        out = capsys.readouterr()
        assert "Traceback" not in out.out + out.err and NAME not in out.out + out.err
        assert "SECRET" not in out.out + out.err
        return int(ended.value.code or 0), out.out, out.err

    return call


def test_draw_and_check(run: Run) -> None:
    assert run("synthesize", "chest_xray", "--out", "chests", "--records", 30, "--size", 96)[0] == 0
    code, out, _ = run("check", "chests/labels.csv", "--json")
    found = {finding["code"]: finding for finding in json.loads(out)["findings"]}
    assert code == 0 and {f"X{n:03d}" for n in range(1, 12)} <= set(found) | {"X011"}
    assert found["X001"]["severity"] == found["X004"]["severity"] == "passed"
    assert found["X010"]["severity"] == "warning" and found["L005"]["severity"] == "passed"
    code, out, _ = run("synthesize", "chest_xray", "--out", "chests")
    assert code == 2


def test_one_file_is_known_by_its_content(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dx.dcm").write_bytes(
        dicom(ramp(60, 50), BitsStored=12, PatientOrientation=["L", "F"], ViewPosition="PA")
    )
    code, out, _ = run("show", "dx.dcm", "--out", "dx.svg")
    assert code == 0 and "chest_xray" in out and ">R</text>" in (tmp_path / "dx.svg").read_text()
    (tmp_path / "sc.dcm").write_bytes(dicom(ramp(60, 50, 8), SOPClassUID=SC, Modality="CR"))
    code, out, _ = run("show", "sc.dcm", "--out", "sc.svg")
    assert code == 0 and "chest_xray" in out and ">?</text>" in (tmp_path / "sc.svg").read_text()
    code, out, _ = run("show", "dx.dcm", "--set", "window=none", "--set", "invert=yes", "--out", "turned.svg")
    assert code == 0 and "inverted by hand" in out
    code, _, err = run("show", "dx.dcm", "--set", "window=wide", "--out", "x.svg")
    assert code == 2 and "neither 'header' nor 'none'" in err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "Mammography"),
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"PhotometricInterpretation": None}, "photometric"),
    ],
)
def test_bad_files_end_with_2_and_a_reason(run: Run, tmp_path: Path, changes: dict[str, object], words: str) -> None:
    (tmp_path / "bad.dcm").write_bytes(dicom(ramp(), **{"BitsStored": 12, **changes}))
    code, _, err = run("show", "bad.dcm", "--modality", "chest_xray", "--out", "x.png")
    assert code == 2 and words in err and not (tmp_path / "x.png").exists()


def test_one_bad_file_of_a_cohort_is_named_and_the_others_are_checked(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64)).astype(np.uint8)).save(tmp_path / f"{n}.png")
    (tmp_path / "3.dcm").write_bytes(dicom(ramp(), BitsStored=12)[:400])
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(3)) + "3.dcm,1\n")
    code, out, _ = run("check", "t.csv", "--modality", "chest_xray", "--json")
    found = {finding["code"]: finding for finding in json.loads(out)["findings"]}
    assert code == 1 and found["F002"]["severity"] == "error" and found["F002"]["records"] == ["3.dcm"]
    assert found["X004"]["severity"] == "warning" and len(found["X004"]["records"]) == 3


def test_a_set_is_prepared_and_its_unknown_labels_stay_unknown(run: Run, tmp_path: Path) -> None:
    from medfm.cohorts.adapters.chest import CHEXPERT
    from medfm.cohorts.load import load_cohort

    root = tmp_path / "CheXpert-v1.0-small"
    lines = []
    for n in range(4):
        path = f"train/patient{n:05d}/study1/view1_frontal.jpg"
        (root / path).parent.mkdir(parents=True)
        Image.fromarray(np.full((32, 32), 40 * n, np.uint8)).save(root / path)
        values = ",".join({"Edema": "1.0", "Atelectasis": "-1.0"}.get(name, "") if n else "" for name in CHEXPERT)
        lines.append(f"CheXpert-v1.0-small/{path},Female,50,Frontal,AP,{values}")
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT)
    (root / "train.csv").write_text("\n".join([header, *lines, ""]))
    (root / "valid.csv").write_text(header + "\n")
    code, _, err = run("prepare", "chexpert", "--source", root, "--out", "out")
    assert code == 2 and "total: expected 223,648, found 4" in err
    code, _, _ = run("prepare", "chexpert-competition", "--source", root, "--out", "out", "--allow-partial")
    assert code == 0
    table = load_cohort(tmp_path / "out" / "labels.csv", check=False).table
    assert table["Edema"].astype(float).tolist()[1:] == [1.0, 1.0, 1.0] and table["Edema"].isna().tolist()[0]
    assert "Atelectasis" not in table or table["Atelectasis"].isna().all()
