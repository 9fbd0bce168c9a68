"""``medfm survival`` from the shell: a run, JSON, dry run, what people type wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from medfm.cli.main import cli
from medfm.core.errors import MedfmError

FEW = (
    "statistics.resamples=20",
    "scheme.folds=2",
    "scheme.kind=kfold",
    "method.inner_folds=2",
    "method.components=[1]",
)
SETTINGS = [word for setting in FEW for word in ("--set", setting)]
NAMED = ["--encoder", "color-histogram", "--modality", "blood_cell"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["path,time,event"]
    for i in range(24):
        redness = rng.normal()
        pixels = np.clip(rng.integers(90, 110, (8, 8, 3)) + [40 * redness, 0, 0], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{10 * rng.exponential() * np.exp(-redness) + 0.1:.2f},{int(i % 4 > 0)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "labels.csv"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["survival", *map(str, arguments)], catch_exceptions=True)


def test_a_run_prints_its_figures_and_writes_its_folder(table: Path, tmp_path: Path) -> None:
    found = run(table, *NAMED, *SETTINGS, "--out", tmp_path / "out", "--unit", "days")
    assert found.exit_code == 0, found.output
    assert "C-index (Harrell)" in found.output and "report.html" in found.output
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"result.json", "predictions.parquet", "config.yaml", "report.html", "card.md"} <= names
    # The settings of a result are a protocol for the next run.
    again = run(table, *NAMED, "--protocol", tmp_path / "out" / "config.yaml", "--unit", "days", "--json")
    facts = json.loads(again.stdout)
    assert facts["id"] == json.loads((tmp_path / "out" / "result.json").read_text())["id"]


def test_json_is_one_object_without_nan(table: Path) -> None:
    facts = json.loads(run(table, *NAMED, *SETTINGS, "--json").stdout)
    assert facts["summary"]["task"] == "survival" and facts["failed"] == 0
    assert facts["extras"]["survival"]["groups"][0]["at_risk"][0] > 0
    assert "NaN" not in json.dumps(facts)


def test_a_dry_run_reads_no_table() -> None:
    found = run("absent.csv", "--dry-run", "--json", "--set", "method.groups=3")
    assert found.exit_code == 0 and json.loads(found.stdout)["config"]["method"]["groups"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--time", "tim"], "no column 'tim'"),
        (["--event", "path"], "no number"),
        (["--set", "method.groups=4"], "groups"),
        (["--set", "method.grups=2"], "groups"),
        (["--protocol", "conversion-survival@2"], "conversion-survival@1"),
        (["--set", "method.times=[1e9]"], "AUC at 1e"),
        (["--set", "method.inner_folds=19"], "19 inner folds need"),
        (["--embeddings", "other.npz"], "either an encoder"),
    ],
)
def test_wrong_requests_are_answered_in_words(table: Path, arguments: list[str], words: str) -> None:
    found = run(table, *NAMED, *SETTINGS, *arguments)
    assert isinstance(found.exception, MedfmError) and words in str(found.exception)


def test_an_unreadable_record_is_exit_code_1(table: Path) -> None:
    (table.parent / "3.png").write_bytes(b"no picture")
    assert run(table, *NAMED, *SETTINGS).exit_code in (0, 1)
    found = CliRunner().invoke(cli, ["survival", str(table), *NAMED, *SETTINGS], standalone_mode=False)
    assert found.return_value == 1, found.output
    skipped = CliRunner().invoke(
        cli, ["survival", str(table), *NAMED, *SETTINGS, "--on-error", "skip"], standalone_mode=False
    )
    assert skipped.return_value == 0
