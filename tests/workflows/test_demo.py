"""The demo: everything once on synthetic cells; its folder is guarded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medfm.core.config import build
from medfm.core.errors import ConfigError, StoreError
from medfm.reporting.result import load_result
from medfm.workflows.demo import DemoConfig, demo

SMALL = DemoConfig(records=180)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("demo") / "out"
    said: list[str] = []
    run = demo(folder, SMALL, say=said.append)
    assert run.report.is_file()
    assert run.comparison is not None
    return folder, said


def test_every_step_is_announced(done: tuple[Path, list[str]]) -> None:
    assert [line[:3] for line in done[1]] == ["1/5", "2/5", "3/5", "4/5", "5/5"]


def test_both_results_are_whole_and_honest(done: tuple[Path, list[str]]) -> None:
    trained, untrained = load_result(done[0] / "trained"), load_result(done[0] / "untrained")
    assert trained.provenance["synthetic"] and untrained.provenance["synthetic"]
    assert trained.provenance["weights_kind"] == "trained here"
    assert untrained.provenance["weights_kind"] == "random"
    assert trained.provenance["fingerprint"] != untrained.provenance["fingerprint"]
    html = (done[0] / "trained" / "report.html").read_text(encoding="utf-8")
    assert "Synthetic data" in html
    assert "Weights trained here" in html


def test_the_same_test_records_are_compared(done: tuple[Path, list[str]]) -> None:
    trained, untrained = load_result(done[0] / "trained"), load_result(done[0] / "untrained")
    assert list(trained.predictions.table["record_id"]) == list(untrained.predictions.table["record_id"])


def test_an_earlier_demo_is_replaced_only_on_request(done: tuple[Path, list[str]]) -> None:
    with pytest.raises(StoreError, match="earlier demo"):
        demo(done[0], SMALL)
    assert (done[0] / "trained" / "report.html").is_file()


def test_other_peoples_folders_are_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "precious.txt").write_text("x")
    with pytest.raises(StoreError, match="other things than an earlier demo"):
        demo(tmp_path, SMALL, overwrite=True)
    assert (tmp_path / "trained" / "precious.txt").is_file()


def test_without_training(tmp_path: Path) -> None:
    run = demo(tmp_path / "out", DemoConfig(records=150, recipe="none", encoder="color-histogram"))
    assert run.comparison is None
    assert run.result.provenance["weights_kind"] == "no weights"
    # Colour alone must not solve the synthetic task, or the demo would show nothing.
    assert 0.25 < (run.result.summary.estimate("balanced_accuracy").value or 0) < 0.95


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'records'"):
        build(DemoConfig, {}, where="demo", overrides=["record=10"])
    with pytest.raises(ConfigError, match="greater than or equal to 120"):
        build(DemoConfig, {}, where="demo", overrides=["records=10"])


def test_on_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medfm", "demo", "--out", str(tmp_path / "d"), "--json"]
    command += ["--set", "records=120", "--set", "recipe=none"]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert Path(answer["report"]).is_file()
    assert {row["metric"] for row in answer["headline"]} >= {"balanced_accuracy"}
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert "Traceback" not in again.stderr
    assert "--overwrite" in again.stderr


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medfm", "demo", "--out", str(tmp_path / "d"), "--dry-run"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0
    assert "records: 480" in ran.stdout
    assert f"# sha256 {DemoConfig().digest()}" in ran.stdout
    assert not (tmp_path / "d").exists()
