import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfm.cli.main import main
from medfm.cohorts.adapters import list_adapters

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "blood_cell"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run the command as a shell would: (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["data", *map(str, arguments)])
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (30, 30, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "t.csv").write_text(
        "path,who,label,split\n0.png,a,x,train\n1.png,b,y,train\n2.png,c,x,test\n3.png,d,y,test\n"
    )
    return tmp_path / "t.csv"


@pytest.mark.parametrize("command", [[], ["list"], ["prepare"], ["check"], ["synthesize"]])
def test_help_has_three_examples_and_fits_a_screen(run, command: list[str]) -> None:
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert out.count("\n    medfm data ") >= 3
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) <= 100
    if command:
        assert "Common errors" in out


class TestCheck:
    def test_a_sound_cohort(self, run, table: Path) -> None:
        code, out, err = run("check", table, "--map", "patient_id=who", "--folds", "2")
        assert code == 0
        assert "4 records, 4 patients" in out
        assert "result: no errors" in out
        assert "checking files" in err

    def test_an_error_ends_with_1_and_says_what_to_do(self, run, table: Path) -> None:
        (table.parent / "2.png").write_bytes((table.parent / "0.png").read_bytes())
        code, out, _ = run("check", table)
        assert code == 1
        assert "L002 ERROR" in out
        assert "records: 0.png, 2.png" in out
        assert "to do:" in out
        assert "result: 1 error;" in out

    def test_allowed_errors_end_with_0_and_stay_visible(self, run, table: Path) -> None:
        (table.parent / "2.png").write_bytes((table.parent / "0.png").read_bytes())
        code, out, _ = run("check", table, "--allow", "L002")
        assert code == 0
        assert "L002 ERROR (allowed)" in out

    def test_quick_does_not_open_files(self, run, table: Path) -> None:
        (table.parent / "2.png").write_bytes(b"no image")
        assert run("check", table, "--quick")[0] == 0
        assert run("check", table)[0] == 1

    def test_json(self, run, table: Path) -> None:
        (table.parent / "1.png").unlink()
        code, out, _ = run("check", table, "--json")
        report = json.loads(out)
        assert code == 1
        assert report["ok"] is False
        assert report["classes"] == {"x": 2, "y": 2}
        assert {f["code"] for f in report["findings"] if f["severity"] == "error"} == {"F001", "F002"}

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--map", "patient_id=whom"], "did you mean 'who'"),
            (["--map", "patient_id"], "NAME=VALUE"),
            (["--where", "label=z"], "No row is left"),
            (["--target", "lable"], "did you mean 'label'"),
            (["--root", "nowhere"], "root folder does not exist"),
            (["--modality", "blood"], "did you mean 'blood_cell'"),
        ],
    )
    def test_what_cannot_run_ends_with_2_and_no_traceback(self, run, table: Path, arguments: list, words: str) -> None:
        code, out, err = run("check", table, *arguments)
        assert code == 2
        assert words in err
        assert "Traceback" not in out + err

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "empty"),
            ("image,label\n0.png,x\n", "no column 'path'"),
            ("path\n0.png\n0.png\n", "more than once"),
            ("path\n/etc/passwd\n", "absolute"),
            ("path\n../0.png\n", "leaves the root"),
            ("path,split\n0.png,holdout\n", "'holdout' is not known"),
        ],
    )
    def test_malformed_tables(self, run, table: Path, text: str, words: str) -> None:
        table.write_text(text)
        code, _, err = run("check", table)
        assert code == 2
        assert words in err

    @pytest.mark.parametrize(
        ("text", "failing"),
        [
            ("path,label\n0.png,x\n1.png,x\n", "S001"),
            ("path,label\n0.png,\n1.png,\n", "T003"),
            ("path,patient_id,split\n0.png,a,train\n1.png,a,test\n", "L001"),
        ],
    )
    def test_unsound_tables(self, run, table: Path, text: str, failing: str) -> None:
        table.write_text(text)
        code, out, _ = run("check", table)
        assert code == 1
        assert f"{failing} ERROR" in out

    @pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside this repository")
    def test_the_real_cells(self, run) -> None:
        arguments = ["--where", "task=pbc_cell", "--map", "patient_id=source_id", "--json"]
        code, out, _ = run("check", SHARED / "labels.csv", *arguments)
        report = json.loads(out)
        assert code == 0
        assert report["records"] == 960
        assert len(report["classes"]) == 8


class TestOthers:
    def test_list_and_show(self, run) -> None:
        code, out, _ = run("list")
        assert code == 0
        assert all(name in out for name in ("acevedo", "aml_hehr", "bccd", "bmc", "chula_rbc12", "elsafty", "raabin"))
        assert "171,373" in run("list", "bmc")[1]
        assert len(json.loads(run("list", "--json")[1])) == len(list_adapters())
        assert json.loads(run("list", "bccd", "--json")[1])["expected"] == {"smears": 364}
        assert "did you mean 'bccd'" in run("list", "bcd")[2]

    def test_prepare(self, run, tmp_path: Path) -> None:
        place = tmp_path / "source" / "Train" / "Basophil"
        place.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(place / "1.jpg")
        arguments = ["prepare", "raabin", "--source", tmp_path / "source", "--out", tmp_path / "out"]
        code, _, err = run(*arguments)
        assert code == 2
        assert "train: expected 10,175, found 1" in err
        assert not (tmp_path / "out").exists()
        code, out, _ = run(*arguments, "--allow-partial")
        assert code == 0
        assert "warning: train: expected 10,175" in out
        assert f"next: medfm data check {tmp_path / 'out' / 'labels.csv'}" in out
        assert json.loads(run(*arguments, "--allow-partial", "--overwrite", "--json")[1])["complete"] is False

    def test_synthesize_then_check(self, run, tmp_path: Path) -> None:
        out_folder = tmp_path / "cells"
        code, out, _ = run("synthesize", "blood_cell", "--out", out_folder, "--records", 60, "--size", 48)
        assert code == 0
        assert "60 synthetic records of 60 patients" in out
        code, out, _ = run("check", out_folder / "labels.csv")
        assert code == 0
        assert "SYNTHETIC" in out
        assert run("synthesize", "blood_cell", "--out", out_folder)[0] == 2
        assert run("synthesize", "brain_ct", "--out", tmp_path / "x")[0] == 2

    @pytest.mark.parametrize("modality", ["retina", "histopathology"])
    def test_synthesize_pictures_then_check(self, run, tmp_path: Path, modality: str) -> None:
        folder = tmp_path / "out"
        assert run("synthesize", modality, "--out", folder, "--records", 30, "--size", 64)[0] == 0
        code, out, _ = run("check", folder / "labels.csv")
        assert code == 0, out
        assert "SYNTHETIC" in out
        assert run("synthesize", modality, "--out", folder, "--records", 30, "--size", 32, "--overwrite")[0] == 2
        assert (folder / "labels.csv").is_file()

    def test_synthesize_json(self, run, tmp_path: Path) -> None:
        arguments = ["--out", tmp_path / "x", "--records", 30, "--size", 32, "--json"]
        facts = json.loads(run("synthesize", "blood_cell", *arguments)[1])
        assert facts["synthetic"] is True
        assert sum(facts["counts"].values()) == 30


FEWER = {
    "blood_cell": ["--records", "40"],
    "ecg": ["--records", "40"],
    "retina": ["--records", "40", "--size", "128"],
    "histopathology": ["--records", "40", "--size", "96"],
}


def test_the_commands_of_the_page_run_as_written(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
    block = page.split("## Try it", 1)[1].split("```bash", 1)[1].split("```", 1)[0]
    commands = [line.split() for line in block.strip().splitlines()]
    assert len(commands) == 14
    monkeypatch.chdir(tmp_path)
    for words in commands:
        assert words[:2] == ["medfm", "data"]
        # As written but for numbers and sizes that take most of a minute: of an option given twice, the last counts.
        fewer = FEWER.get(words[3], []) if words[2] == "synthesize" else []
        code, out, err = run(*words[2:], *fewer)
        assert code == 0, out + err
