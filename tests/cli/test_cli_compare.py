"""``medfm compare`` as a user meets it: exit codes, JSON, the gate, wrong folders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from medfm.cli.compare import command
from medfm.core.errors import MedfmError
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import LinearProbe, Protocol, StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.reporting.result import Result

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Result folders of a weak and a strong model on the same records."""
    base = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 160)
    made = {}
    for name, effect in (("weak", 0.2), ("strong", 2.0)):
        score = 1 / (1 + np.exp(-(rng.normal(size=160) + effect * (2 * truth - 1))))
        names = np.array(["healthy", "leukaemia"])
        table = pd.DataFrame(
            {
                "record_id": [f"s{i}" for i in range(160)],
                "patient_id": [f"p{i // 2}" for i in range(160)],
                "site": "one",
                "variant": "main",
                "repeat": 0,
                "fold": 0,
                "truth": names[truth],
                "predicted": names[(score >= 0.5).astype(int)],
                "score:healthy": 1 - score,
                "score:leukaemia": score,
            }
        )
        predictions = Predictions(table, "binary", ("healthy", "leukaemia"))
        protocol = Protocol(id="test@1", title="test", method=LinearProbe())
        summary = summarise(predictions, StatisticsPlan(resamples=10))
        made[name] = str(Result("linear_probe", protocol, summary, predictions, name=name).save(base / name))
    return made


def run(*arguments: str):
    """The exit code as `main` gives it, and the output."""
    found = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    if found.exception is not None:
        raise found.exception
    return found.return_value, found.output


def process(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "medfm", "compare", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )


def test_text(folders):
    code, output = run(folders["weak"], folders["strong"], "--resamples", "50")
    assert code == 0
    assert "Reference: weak" in output
    assert "AUROC: strong is better" in output
    assert "160 common records of 80 patients" in output


def test_json_and_file(folders, tmp_path):
    out = tmp_path / "compare.json"
    arguments = ["--metric", "auroc", "--metric", "brier", "--resamples", "50", "--json", "--out", str(out)]
    code, output = run(folders["weak"], folders["strong"], *arguments)
    assert code == 0
    data = json.loads(output)
    assert [row["metric"] for row in data["rows"]] == ["auroc", "brier"]
    assert json.loads(out.read_text()) == data


def test_the_correction_can_be_chosen(folders):
    arguments = ["--metric", "auroc", "--metric", "brier", "--resamples", "100", "--correction", "bh"]
    code, output = run(folders["weak"], folders["strong"], *arguments)
    assert code == 0 and " BH " in output and "after BH" in output
    data = json.loads(run(folders["weak"], folders["strong"], *arguments, "--json")[1])
    assert data["correction"] == "bh" and all(row["p"] <= row["p_bh"] <= row["p_holm"] for row in data["rows"])
    with pytest.raises(click.UsageError, match="does not go with it"):
        run(folders["weak"], folders["strong"], "--transfer", "merl@1", "--correction", "bh")
    with pytest.raises(click.UsageError, match="bonferroni"):
        run(folders["weak"], folders["strong"], "--correction", "bonferroni")


@pytest.mark.parametrize(("order", "code"), [(("weak", "strong"), 0), (("strong", "weak"), 1)])
def test_gate(folders, order, code):
    found, output = run(*(folders[name] for name in order), "--require-better", "auroc", "--resamples", "50")
    assert found == code
    assert f"better on auroc: {'yes' if code == 0 else 'no'}" in output


def test_gate_reaches_the_shell(folders):
    found = process(folders["strong"], folders["weak"], "--require-better", "brier", "--resamples", "20", "--json")
    assert found.returncode == 1
    assert json.loads(found.stdout)["passed"] is False


@pytest.mark.parametrize("metric", ["aurocc", "f1_samples"])
def test_wrong_metric_is_an_error(folders, metric):
    with pytest.raises(MedfmError, match=metric):
        run(folders["weak"], folders["strong"], "--metric", metric)


def test_wrong_folder_ends_with_two_and_no_traceback(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    found = process(folders["weak"], str(tmp_path / "empty"))
    assert found.returncode == 2
    assert found.stderr.startswith("Error: ")
    assert "Traceback" not in found.stderr
    assert found.stdout == ""


def test_one_folder_is_not_enough(folders):
    found = process(folders["weak"])
    assert found.returncode == 2
    assert "OTHER" in found.stderr


def test_help_fits_one_screen():
    output = CliRunner().invoke(command, ["--help"]).output
    assert len(output.splitlines()) <= 50
    for word in ("Examples:", "Checked:", "Common errors:", "Exit codes:", "medfm compare runs/base runs/new"):
        assert word in output
