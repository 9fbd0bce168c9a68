from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_results import tiny_result

from medfm.cli.report import command


@pytest.fixture
def saved_result(tmp_path: Path) -> Path:
    return tiny_result().save(tmp_path / "saved")


def run(*arguments: object):
    return CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)


def test_it_prints_the_path(saved_result):
    done = run(saved_result)
    assert done.return_value == 0
    assert done.stdout.strip() == str(saved_result / "report.html")


def test_the_summary_on_request(saved_result):
    assert "tested " in run(saved_result, "--summary").stdout
    assert "tested " not in run(saved_result).stdout


def test_json_for_machines(saved_result, tmp_path):
    done = run("--json", saved_result, tmp_path / "nowhere")
    good, bad = json.loads(done.stdout)
    assert good["report"] == str(saved_result / "report.html") and good["error"] is None
    assert bad["report"] is None and "no such result folder" in bad["error"]


@pytest.mark.parametrize(("good", "bad", "code"), [(1, 0, 0), (1, 1, 1), (0, 1, 2), (0, 2, 2)])
def test_exit_codes(saved_result, tmp_path, good, bad, code):
    done = run(*[saved_result] * good, *[tmp_path / f"nowhere{i}" for i in range(bad)])
    assert done.return_value == code
    assert done.stderr.count("no such result folder") == bad


def test_help_has_purpose_examples_checks_and_errors():
    text = CliRunner().invoke(command, ["--help"]).output
    for word in ("Rebuild", "Examples:", "Checked:", "Common errors:", "Exit codes:"):
        assert word in text
    assert len(text.splitlines()) <= 40


def test_a_folder_is_needed():
    assert CliRunner().invoke(command, []).exit_code == 2
