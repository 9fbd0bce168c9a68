"""The command itself: overview, wrong verbs, errors without tracebacks, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from medfm.cli import main as cli_main
from medfm.cli.common import pairs
from medfm.cli.main import _VERBS, cli, main
from medfm.core.errors import ReadError


def run(*arguments: str) -> tuple[int, str]:
    process = subprocess.run([sys.executable, "-m", "medfm", *arguments], capture_output=True, text=True)
    return process.returncode, process.stdout + process.stderr


def test_overview_lists_every_verb() -> None:
    code, text = run("--help")
    assert code == 0
    for verb in _VERBS:
        assert f"  {verb} " in text


def test_version() -> None:
    from medfm import __version__

    assert run("--version") == (0, f"medfm, version {__version__}\n")


def test_a_wrong_verb_names_the_near_one() -> None:
    code, text = run("prob")
    assert code == 2
    assert "did you mean 'probe'" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("verb", list(_VERBS))
def test_help_of_every_verb_fits_one_screen_and_has_examples(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    with click.Context(command, info_name=f"medfm {verb}", max_content_width=100) as context:
        text = command.get_help(context)
    assert "medfm " + verb in text
    assert text.count(f"medfm {verb}") >= 3, "usage and examples"
    assert len(text.splitlines()) <= 64


def test_our_errors_are_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise ReadError("The file is empty.", where="a.png")

    monkeypatch.delenv("MEDFM_DEBUG", raising=False)
    monkeypatch.setattr(cli_main.cli, "main", fail)
    with pytest.raises(SystemExit) as stop:
        main(["probe"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "Error: The file is empty.\n  where:    a.png\n"


def test_interruption_says_that_work_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_main.cli, "main", fail)
    with pytest.raises(SystemExit) as stop:
        main(["probe"])
    assert stop.value.code == 130
    assert "goes on from there" in capsys.readouterr().err


def test_pairs() -> None:
    assert pairs(("a=b", "c=d=e"), "--map") == {"a": "b", "c": "d=e"}
    with pytest.raises(click.UsageError, match="--map takes NAME=VALUE"):
        pairs(("ab",), "--map")


def test_docs_have_a_page_for_every_verb() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    missing = [verb for verb in _VERBS if not (docs / f"{verb}.md").is_file()]
    assert missing == []
