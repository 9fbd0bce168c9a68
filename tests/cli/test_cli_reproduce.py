from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from medfm.cli.reproduce import command
from medfm.evaluation.summary import Estimate
from medfm.reporting.reproduction import Claim, Outcome, Reproduction
from medfm.workflows import reproduce as workflow

CLAIM = Claim(
    name="a figure",
    dataset="Acevedo",
    cohort="acevedo",
    target="label",
    protocol="dinobloom-linear@1",
    metric="f1_weighted",
    value=0.9,
    tolerance=0.01,
)
ESTIMATE = Estimate(metric="f1_weighted", value=0.895, low=0.88, high=0.91)


def done(*verdicts: Any) -> Reproduction:
    outcomes = []
    for verdict in verdicts:
        ran = {"measured": 0.895, "estimate": ESTIMATE} if verdict != "could not run" else {"reason": "no data"}
        outcomes.append(Outcome(claim=CLAIM, verdict=verdict, **ran))
    return Reproduction(encoder="dinobloom-s", title="DinoBloom-S", outcomes=tuple(outcomes))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def invoke(answer: Reproduction, *arguments: str):
        asked: dict[str, Any] = {}

        def fake(*args: Any, **kwargs: Any) -> Reproduction:
            asked.update(kwargs, args=args)
            return answer

        monkeypatch.setattr(workflow, "reproduce", fake)
        made = CliRunner().invoke(command, list(arguments), standalone_mode=False)
        return made, asked

    return invoke


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [(("reproduced",), 0), (("reproduced", "not reproduced"), 1), (("not sourced",), 1), (("could not run",), 2)],
)
def test_exit_codes(run, verdicts, code):
    made, _ = run(done(*verdicts), "dinobloom-s")
    assert made.return_value == code


def test_the_table_ends_with_a_sentence(run):
    made, _ = run(done("reproduced", "could not run"), "dinobloom-s")
    text = made.stdout
    for wanted in ("published", "measured", "tolerance", "verdict", "0.900", "0.895", "acevedo"):
        assert wanted in text, wanted
    assert "acevedo: could not run: no data" in text
    assert text.strip().splitlines()[-1].startswith("2 published results of dinobloom-s: 1 reproduced")


def test_json_for_machines(run):
    made, _ = run(done("reproduced"), "dinobloom-s", "--json")
    head = json.loads(made.stdout)
    assert head["exit_code"] == 0
    assert head["outcomes"][0]["measured"] == 0.895


def test_options_reach_the_workflow(run, tmp_path):
    made, asked = run(
        done("reproduced"),
        *("dinobloom-s", "--data", "sets", "--weights", "w.pth", "--out", str(tmp_path / "o")),
        *("--only", "acevedo", "--only", "bmc", "--allow", "L001", "--allow-partial", "--device", "cpu"),
    )
    assert asked["args"] == ("dinobloom-s", "sets", "w.pth")
    assert asked["only"] == ("acevedo", "bmc")
    assert asked["allow"] == ("L001",)
    assert asked["allow_partial"] is True
    assert asked["device"] == "cpu"
    assert f"{tmp_path / 'o'}/reproduce.html" in made.stdout


def test_help_has_purpose_examples_checks_and_errors():
    text = CliRunner().invoke(command, ["--help"]).output
    for word in ("Run every published result", "Examples:", "Checked:", "Common errors:", "Exit codes:"):
        assert word in text
    assert len(text.splitlines()) <= 42


def test_a_card_is_needed():
    assert CliRunner().invoke(command, []).exit_code == 2
