"""The shell scripts, run with a stand-in for Python that notes what it is asked and can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or not (ROOT / "scripts/install.sh").is_file(), reason="needs bash and the checkout"
)

# Says its arguments to $CALLS. "-m venv DIR" copies itself there; what $FAIL names ends with an error.
FAKE = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case " ${FAIL:-nothing} " in *" $2 "*) exit 7 ;; esac
if [ "$1" = --version ]; then echo "Python 3.11.2"; fi
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
if [ "$2" = pip ] && [ ! -e .venv/pip ]; then [ "$3" = install ] && touch .venv/pip || exit 1; fi
if [ "$2" = ensurepip ]; then touch .venv/pip; fi
exit 0
"""


class Checkout:
    """A folder with spaces in its name that holds the scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        for name in ("install.sh", "quickstart.sh", "test.sh"):
            shutil.copy(ROOT / "scripts" / name, folder / "scripts")
        (folder / "pyproject.toml").write_text("")
        self.python = folder / "a python"
        self.python.write_text(FAKE)
        self.python.chmod(0o755)
        self.calls = folder / "calls"

    def run(self, script: str, *arguments: str, **variables: str) -> tuple[int, list[str], str]:
        """Exit code, what Python was asked in this run, and the messages."""
        self.calls.write_text("")
        environment = os.environ | {"PYTHON": str(self.python), "CALLS": str(self.calls)} | variables
        command = ["bash", str(self.folder / "scripts" / script), *arguments]
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, self.calls.read_text().splitlines(), done.stderr

    def installs(self, calls: list[str]) -> list[str]:
        return [call for call in calls if "pip install" in call]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "my work" / "med fm")


def test_a_fresh_folder_with_spaces_is_installed_once(checkout: Checkout) -> None:
    code, calls, _ = checkout.run("install.sh")
    assert code == 0 and "-m venv .venv" in calls
    assert [call.split()[-1] for call in checkout.installs(calls)] == ["."]
    assert "-m compileall -q -j 0 .venv/lib" in calls
    code, calls, _ = checkout.run("install.sh")
    assert code == 0 and not checkout.installs(calls) and "-m venv .venv" not in calls


def test_an_installation_that_failed_is_tried_again(checkout: Checkout) -> None:
    (checkout.folder / ".venv").mkdir()
    checkout.run("install.sh", FAIL="pip ensurepip")
    assert not list(checkout.folder.glob(".venv/.installed*"))
    code, calls, _ = checkout.run("install.sh")
    assert code == 0 and checkout.installs(calls)


def test_an_environment_without_pip_gets_one_and_nothing_is_removed(checkout: Checkout) -> None:
    checkout.run("install.sh")
    (checkout.folder / ".venv/pip").unlink()
    (checkout.folder / ".venv/.installed").unlink()
    (checkout.folder / ".venv/own file").write_text("kept")
    code, calls, _ = checkout.run("install.sh")
    assert code == 0 and "-m ensurepip --upgrade" in calls and checkout.installs(calls)
    assert (checkout.folder / ".venv/own file").read_text() == "kept"


def test_an_environment_that_cannot_get_pip_is_named(checkout: Checkout) -> None:
    checkout.run("install.sh")
    code, _, messages = checkout.run("install.sh", FAIL="pip ensurepip")
    assert code == 2 and "remove .venv" in messages


def test_a_link_to_an_interpreter_that_is_gone_is_replaced(checkout: Checkout) -> None:
    folder = checkout.folder / ".venv/bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(folder / "removed")
    (folder / "python").unlink()
    (folder / "python").write_text("#!/nowhere/python\n")
    (folder / "python").chmod(0o755)
    code, calls, _ = checkout.run("install.sh")
    assert code == 0 and "-m venv .venv" in calls and checkout.installs(calls)


def test_extras_have_their_own_mark_and_a_changed_project_file_counts(checkout: Checkout) -> None:
    checkout.run("install.sh")
    _, calls, _ = checkout.run("install.sh", "test")
    assert [call.split()[-1] for call in checkout.installs(calls)] == [".[test]"]
    os.utime(checkout.folder / ".venv/.installed-test", (0, 0))
    _, calls, _ = checkout.run("install.sh", "test")
    assert checkout.installs(calls)


def test_a_moved_checkout_is_installed_anew(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run("install.sh")
    moved = tmp_path / "moved"
    checkout.folder.rename(moved)
    checkout.folder, checkout.python, checkout.calls = moved, moved / "a python", moved / "calls"
    code, calls, _ = checkout.run("install.sh")
    assert code == 0 and checkout.installs(calls)


def test_an_old_python_and_another_one_are_named(checkout: Checkout) -> None:
    old = checkout.folder / "old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1\nexit 1\n')
    old.chmod(0o755)
    code, _, messages = checkout.run("install.sh", PYTHON=str(old))
    assert code == 2 and "3.10 or later" in messages and "Python 3.8.1" in messages
    checkout.run("install.sh")
    code, _, messages = checkout.run("install.sh", PYTHON=str(old))
    assert code == 0 and "is kept; remove it" in messages


def test_what_cannot_be_compiled_is_no_failure(checkout: Checkout) -> None:
    code, _, _ = checkout.run("install.sh", FAIL="compileall")
    assert code == 0 and (checkout.folder / ".venv/.installed").is_file()


@pytest.mark.parametrize("fails", ["ruff", "mypy", "pytest"])
def test_the_tests_fail_when_any_step_fails(checkout: Checkout, fails: str) -> None:
    whole = "-m pytest -n 2 --dist loadfile --no-loadscope-reorder -k one"
    code, calls, _ = checkout.run("test.sh", "-k", "one", FAIL=fails)
    assert code == 7 and (whole in calls) == (fails == "pytest")
    code, calls, _ = checkout.run("test.sh", "-k", "one")
    assert code == 0 and calls[-1] == whole
    # The tests are compiled while types are checked: either may begin.
    assert [call.split()[1] for call in calls[-4:]] in (
        ["ruff", *two, "pytest"] for two in permutations(["mypy", "pytest"])
    )
