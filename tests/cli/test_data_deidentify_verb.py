"""``medfm data deidentify``: the command it tells to run next does run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from medfm.cli.data_deidentify import _reader
from medfm.cli.main import cli


def test_the_command_told_next_opens_the_files(tmp_path: Path) -> None:
    run = CliRunner()
    made = run.invoke(cli, ["data", "synthesize", "chest_xray", "--out", str(tmp_path / "in"), "--records", "30"])
    assert made.exit_code == 0, made.output
    for picture in (tmp_path / "in").rglob("*"):
        if picture.is_file() and picture.suffix != ".dcm":
            picture.unlink()
    key = str(tmp_path / "study.key")
    done = run.invoke(cli, ["data", "deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--key", key])
    assert done.exit_code == 0, done.output
    told = done.stdout.splitlines()[-1].partition("medfm data check ")[2].split()
    assert told[1:] == ["--modality", "chest_xray", "--deidentified"]
    checked = run.invoke(cli, ["data", "check", *told])
    assert checked.exit_code == 0 and "P001" in checked.output, checked.output


@pytest.mark.parametrize(
    ("kinds", "reader"),
    [
        (["DX", "DX"], "chest_xray"),
        (["CR", "MR", "MR"], "brain_mri"),
        (["ECG"], "ecg"),
        (["US", "SC"], "NAME"),
        (["", "MR", ""], "NAME"),
        ([], "NAME"),
    ],
    ids=["radiographs", "most are scans", "ecg", "no reader", "unknown", "nothing written"],
)
def test_the_reader_of_most_files_is_told(tmp_path: Path, kinds: list[str], reader: str) -> None:
    rows = "".join(f"P/{number}.dcm,P,{kind}\n" for number, kind in enumerate(kinds))
    (tmp_path / "files.csv").write_text("path,patient_id,dicom_modality\n" + rows)
    assert _reader(tmp_path / "files.csv") == reader


def test_without_a_table_no_reader_is_told(tmp_path: Path) -> None:
    assert _reader(tmp_path / "files.csv") == "NAME"
