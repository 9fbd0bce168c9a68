"""``medfm fewshot`` as a user meets it, on synthetic blood cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medfm.cli.main import main
from medfm.cohorts.synthesize import synthesize

FAST = ["--shots", "1,2", "--draws", "2", "--set", "statistics.resamples=20", "--map-method", "none", "--device", "cpu"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cells") / "c"
    synthesize("blood_cell", folder, records=60, size=32)
    return str(folder / "labels.csv")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["fewshot", *arguments])
    return int(caught.value.code or 0)


def test_a_run_and_its_folder(table, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    given = [table, "--encoder", "color-histogram", "--target", "label", "--out", str(out), *FAST]
    assert run(*given) == 0
    text = capsys.readouterr().out
    for part in ("few-shot adaptation", "few-shot-lp@1", "by shots per class:", str(out / "report.html")):
        assert part in text
    assert {p.name for p in out.iterdir()} >= {"result.json", "report.html", "predictions.parquet", "card.md"}
    assert run(*given) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(*given, "--overwrite", "--protocol", "flair-lp@1") == 0


def test_json(table, capsys) -> None:
    assert (
        run(table, "--encoder", "color-histogram", "--target", "label", "--protocol", "flair-lp@1", "--json", *FAST)
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == 0 and found["extras"]["few_shot"]["levels"] == [1, 2]


def test_dry_run_shows_the_resolved_settings(table, capsys) -> None:
    assert run(table, "--encoder", "color-histogram", "--protocol", "tip-adapter-f@1", "--shots", "3", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "kind: tip_adapter" in text and "- 3" in text and "# sha256" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shots", "1,x"], "whole numbers with commas"),
        (["--shots", "4,1"], "rise"),
        (["--protocol", "tip-adapter@1"], "no knowledge of blood_cell"),
        (["--protocol", "attentive-probe@1"], "no patch tokens"),
        (["--protocol", "tip-adaptor@1"], "tip-adapter@1"),
        (["--protocol", "knn@1"], "not fitted on shots"),
        (["--target", "nothing"], "nothing"),
        (["--shots", "5000"], "fewer than 5000 shots"),
        (["--strategy", "file@1"], "prompts change nothing"),
        (["--set", "few_shot.draw=else"], "few_shot.draw"),
    ],
)
def test_errors_say_what_to_do(table, arguments, said, capsys, tmp_path: Path) -> None:
    given = ["--target", "label", "--out", str(tmp_path / "run"), *arguments]
    assert run(table, "--encoder", "color-histogram", *given) == 2
    caught = capsys.readouterr().err
    assert said in caught and "Traceback" not in caught
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tissue") / "t"
    synthesize("histopathology", folder, records=60, size=64)
    return str(folder / "labels.csv")


def test_the_table_says_of_which_modality_its_records_are(tissue, tmp_path) -> None:
    """Rows of an HDF5 file are no copies of each other; only the modality of the YAML knows that."""
    out = tmp_path / "run"
    given = [tissue, "--encoder", "color-histogram", "--shots", "1", *FAST[2:], "--out", str(out)]
    assert run(*given, "--leave-out", "ADI") == 0
    saved = (out / "result.json").read_text()
    assert '"modality": "histopathology"' in saved and "records of the class ADI are left out" in saved


def test_an_encoder_of_another_modality_is_refused_by_that_name(tissue, capsys) -> None:
    assert run(tissue, "--encoder", "merl-resnet18", "--weights", "random", *FAST) == 2
    said = capsys.readouterr().err
    assert "for ecg" in said and "holds histopathology" in said and "T005" not in said


def test_medfm_probe_names_the_right_verb(table, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["probe", table, "--encoder", "color-histogram", "--target", "label", "--protocol", "tip-adapter@1"])
    assert caught.value.code == 2 and "medfm fewshot" in capsys.readouterr().err
