from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfm.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data" / "ecg"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run the command as a shell would: (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["data", "show", *map(str, arguments)])
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return call


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i in range(3):
        Image.fromarray(np.full((30, 20, 3), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "t.csv").write_text("path,record_id\n0.png,a\n1.png,b\n2.png,c\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "t.csv"


def test_help_has_three_examples_and_fits_a_screen(run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert out.count("    medfm data show") >= 3 and "Common errors" in out
    assert len(out.splitlines()) <= 64 and max(map(len, out.splitlines())) <= 80


def test_one_record_prints_its_facts_and_where_it_is(run, cells) -> None:
    code, out, err = run(cells, "--record", "b")
    assert (code, err) == (0, "")
    assert "written   b.png" in out and "30 x 20 x 3, uint8" in out
    assert Path("b.png").is_file()
    code, _, err = run(cells, "--record", "b")
    assert code == 2 and "exists already" in err and "--overwrite" in err
    assert run(cells, "--record", "b", "--overwrite")[0] == 0


def test_several_records(run, cells) -> None:
    code, out, _ = run(cells, "--records", 3, "--out", "all.svg")
    assert code == 0 and "written   all.svg" in out and out.count("written") == 1
    code, out, _ = run(cells, "--record", "a", "--record", "c", "--out", "folder")
    assert code == 0 and out.count("written   folder/") == 2


def test_machines_get_json_and_nothing_else(run, cells) -> None:
    code, out, err = run(cells, "--records", 2, "--out", "x.pdf", "--json")
    done = json.loads(out)
    assert (code, err) == (0, "")
    assert [one["record_id"] for one in done] == ["a", "b"]
    assert done[0]["path"] == "x.pdf" and done[0]["facts"]["width"] == "20" and done[0]["error"] is None


def test_exit_codes_when_records_are_bad(run, cells) -> None:
    (cells.parent / "1.png").write_bytes(b"nothing")
    code, out, err = run(cells, "--records", 3, "--out", "x.svg")
    assert code == 1 and "not drawn: b" in err and "written   x.svg" in out
    for name in ("0.png", "2.png"):
        (cells.parent / name).write_bytes(b"nothing")
    code, out, err = run(cells, "--records", 3, "--out", "y.svg")
    assert code == 2 and "written" not in out and not Path("y.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.png",), "does not exist"),
        (("nothing.csv",), "does not exist"),
        (("nothing.xyz",), "--modality"),
        (("t.csv", "--layout", "2x2"), "not one of"),
        (("t.csv", "--layout", "3x4"), "no setting 'layout'"),
        (("t.csv", "--record", "d"), "is no record 'd'"),
        (("t.csv", "--encoder", "merl-resnet19"), "did you mean"),
        (("t.csv", "--map", "x"), "NAME=VALUE"),
    ],
)
def test_errors_are_one_message(run, cells, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(cells.parent)
    code, out, err = run(*arguments)
    assert code == 2 and words in err and "Traceback" not in err and out == ""


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings beside the repository are absent")
def test_the_commands_of_the_ecg_page_run_as_written(run, tmp_path, monkeypatch) -> None:
    page = (ROOT / "docs" / "ecg.md").read_text(encoding="utf-8")
    block = page.split("## Look at a recording", 1)[1].split("```bash", 1)[1].split("```", 1)[0]
    commands = [shlex.split(line) for line in block.strip().splitlines()]
    assert len(commands) == 3
    # The page is read from the root of the repository; what the commands write goes elsewhere.
    (tmp_path / "shared").symlink_to(SHARED.parents[1])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for words in commands:
        assert words[:3] == ["medfm", "data", "show"]
        code, out, err = run(*words[3:])
        assert code == 0, out + err
        assert Path(words[-1]).stat().st_size > 10_000


def test_the_commands_of_the_data_page_run_as_written(run, cells, monkeypatch) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    block = page.split("## Show", 1)[1].split("```bash", 1)[1].split("```", 1)[0]
    Path("demo-cells").mkdir()
    rows = ["path,record_id"]
    for i in range(6):
        Image.fromarray(np.full((30, 20, 3), 40 * i, np.uint8)).save(Path("demo-cells") / f"{i}.png")
        rows.append(f"{i}.png,cell-{i:05d}")
    Path("demo-cells/labels.csv").write_text("\n".join(rows) + "\n")
    for line in block.strip().splitlines():
        words = shlex.split(line)
        assert words[:3] == ["medfm", "data", "show"]
        code, out, err = run(*words[3:])
        assert code == 0, out + err
    assert len(list(Path("pictures").iterdir())) == 3


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings beside the repository are absent")
def test_reader_options_and_settings_of_the_sheet(run, cells) -> None:
    file = SHARED / "formats" / "wfdb_ptbxl_100hz" / "00001_lr.hea"
    code, _, err = run(
        file, "--out", "x.svg", "--order", "cabrera", "--gain", "20", "--colours", "neutral", "--start", 2
    )
    assert code == 0, err
    text = Path("x.svg").read_text()
    assert "20 mm/mV" in text and "aVL" in text and "shown: 2 to 10.0 s" in text
    code, _, err = run(file, "--set", "sampling_hz=500", "--out", "y.svg")
    assert code == 2 and "500 Hz" in err
