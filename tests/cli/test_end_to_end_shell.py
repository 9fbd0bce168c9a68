"""The command in a shell: pipes, Ctrl-C and going on, pure JSON, faults of medfm itself, 80 columns."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from medfm.cli import main as cli_main
from medfm.cli.common import laid_out, text_width
from medfm.cli.main import _VERBS, cli, main

REPOSITORY = Path(__file__).resolve().parents[2]
MEDFM = [sys.executable, "-m", "medfm"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"cell{i:02d}.png")
    rows = [f"cell{i:02d}.png,{'ab'[i % 2]},{'train' if i < 40 else 'test'}" for i in range(60)]
    path = tmp_path / "labels.csv"
    path.write_text("path,label,split\n" + "\n".join(rows) + "\n")
    return path


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MEDFM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
        **options,  # type: ignore[call-overload]
    )


def finish(*arguments: object) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


class TestPipes:
    @pytest.mark.parametrize(
        "arguments", [("encoders",), ("embed", "TABLE", "--encoder", "color-histogram", "--json")], ids=["rich", "json"]
    )
    def test_a_reader_that_leaves_is_no_error(self, table: Path, arguments: tuple[str, ...]) -> None:
        process = start(*(str(table) if a == "TABLE" else a for a in arguments))
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(timeout=120) == 141
        assert "Traceback" not in error
        assert "BrokenPipe" not in error

    def test_json_is_the_only_thing_on_standard_output(self, table: Path) -> None:
        code, out, err = finish("probe", table, "--encoder", "color-histogram", "--json")
        assert code == 0
        assert json.loads(out)["failed"] == 0
        code, out, _ = finish("data", "check", table, "--json")
        assert json.loads(out)["ok"] is (code == 0)
        assert not re.search(r"^\{", err, re.M)

    def test_lines_fit_80_columns(self, table: Path) -> None:
        for arguments in (("data", "check", table), ("data", "list", "bmc"), ("data", "list"), ("encoders",)):
            code, out, _ = finish(*arguments)
            assert code == 0
            assert [line for line in out.splitlines() if len(line) > 80] == []


@pytest.mark.slow
class TestCtrlC:
    """Interrupted once something is done; where the moment is missed, the run is simply complete."""

    def _stop(self, process: subprocess.Popen[str], found: object) -> tuple[int, str]:
        deadline = time.monotonic() + 120
        while process.poll() is None and not found() and time.monotonic() < deadline:  # type: ignore[operator]
            time.sleep(0.02)
        assert process.poll() is None, "the run ended before it could be stopped"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        return process.returncode, err

    def test_embed_keeps_what_was_done_and_goes_on_to_the_same_digest(self, table: Path, tmp_path: Path) -> None:
        # One small picture at a time: 60 batches and files, of which three are there long before the last.
        common = ("embed", table, "--encoder", "dinov2-tiny", "--weights", "random", "--set", "flush_every=1")
        common += ("--set", "batch_size=1")
        cache = tmp_path / "cache"
        code, err = self._stop(start(*common, "--cache", cache), lambda: len(list(cache.rglob("*.parquet"))) >= 3)
        assert code == 130
        assert "Traceback" not in err
        assert "the same command goes on from there" in " ".join(err.split())
        assert not list(cache.rglob("*.tmp"))
        resumed = json.loads(finish(*common, "--cache", cache, "--json")[1])
        assert resumed["provenance"]["run"]["from_cache"] >= 3
        whole = json.loads(finish(*common, "--cache", tmp_path / "other", "--json")[1])
        assert whole["provenance"]["run"]["from_cache"] == 0
        assert resumed["digest"] == whole["digest"]

    def test_pretrain_saves_and_says_how_to_resume(self, table: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        log = out / "log.jsonl"
        common = ("pretrain", table, "--recipe", "dinov2-smoke", "--out", out, "--set", "steps=400")
        code, err = self._stop(start(*common), lambda: log.is_file() and len(log.read_text().splitlines()) > 2)
        assert code == 130
        assert "--resume" in err
        assert (out / "checkpoint" / "last.ckpt").is_file()
        assert not (out / "encoder.safetensors").exists()

    def test_synthesize_leaves_nothing(self, tmp_path: Path) -> None:
        out = tmp_path / "cells"
        process = start("data", "synthesize", "blood_cell", "--out", out, "--records", 3000)
        code, err = self._stop(process, lambda: bool(list(tmp_path.rglob("cell_0000*"))))
        assert (code, err.rstrip().splitlines()[-1]) == (130, "Stopped.")
        assert list(tmp_path.iterdir()) == []


class TestMain:
    @pytest.fixture(autouse=True)
    def quiet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MEDFM_DEBUG", raising=False)

    def _main(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> int:
        @click.command()
        def broken() -> None:
            raise error

        monkeypatch.setattr(cli_main.LazyGroup, "get_command", lambda *_: broken)
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        return int(ended.value.code or 0)

    @pytest.mark.parametrize(
        "error", [ZeroDivisionError("x" * 999), KeyError("k"), AssertionError(), OSError(5, "I/O")]
    )
    def test_a_fault_of_medfm_is_three_short_lines(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
    ) -> None:
        assert self._main(monkeypatch, error, "probe") == 2
        out = capsys.readouterr()
        assert out.out == ""
        first, *rest = out.err.splitlines()
        assert first.startswith("Error: ")
        assert type(error).__name__ in first
        assert len(first) < 320
        assert "report it" in rest[-1]
        assert "medfm --debug probe" in rest[-1]
        assert "Traceback" not in out.err

    def test_debug_keeps_the_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @click.command()
        def broken() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(cli_main.LazyGroup, "get_command", lambda *_: broken)
        monkeypatch.setenv("MEDFM_DEBUG", "")  # set by --debug for the rest of the process: restored after the test
        with pytest.raises(ZeroDivisionError):
            main(["--debug", "probe"])

    @pytest.mark.parametrize(
        ("verb", "words"),
        [("embed", "the same command"), ("pretrain", "--resume"), ("demo", "--overwrite"), ("data", "Stopped.\n")],
    )
    def test_ctrl_c_says_how_to_go_on(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, words: str
    ) -> None:
        assert self._main(monkeypatch, KeyboardInterrupt(), verb) == 130
        assert words in capsys.readouterr().err

    def test_a_real_fault_from_the_shell(self, table: Path) -> None:
        """An environment that breaks medfm inside: no wall of text, and all of it with MEDFM_DEBUG."""
        broken = (
            "import medfm.workflows.embed as m; m.embed_table = lambda *a, **k: 1 / 0; import medfm.cli.main as c; "
        )
        call = f"c.main(['embed', {str(table)!r}, '--encoder', 'color-histogram'])"
        for debug, code in (("", 2), ("1", 1)):
            env = {**os.environ, "MEDFM_DEBUG": debug}
            done = subprocess.run(
                [sys.executable, "-c", broken + call], capture_output=True, text=True, env=env, cwd=REPOSITORY
            )
            assert done.returncode == code
            assert ("Traceback" in done.stderr) == bool(debug)
            assert "ZeroDivisionError" in done.stderr


class TestLayout:
    @pytest.mark.parametrize("width", [40, 60, 78, 100])
    def test_no_word_is_lost(self, width: int) -> None:
        for path in sorted((REPOSITORY / "medfm" / "cli").glob("*.py")):
            for text in re.findall(r'"""(.*?)"""', path.read_text(encoding="utf-8"), re.S):
                text = text.replace("\\b", "")
                words = [w for line in laid_out(text, width) for w in line.split() if w != "\\"]
                assert words == [w for w in text.split() if w != "\\"]

    @pytest.mark.parametrize("verb", list(_VERBS))
    def test_help_fits_80_columns(self, verb: str) -> None:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        shown = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
        for one in shown:
            with click.Context(one, info_name=f"medfm {verb}", terminal_width=80) as context:
                text = one.get_help(context)
            assert [line for line in text.splitlines() if len(line) > 80] == []

    def test_a_broken_example_can_still_be_pasted(self) -> None:
        command = "medfm embed labels.csv --encoder dinobloom-s --weights random --where task=pbc_cell --out cells.npz"
        lines = laid_out(f"Examples:\n  {command}", 60)
        assert len(lines) > 2
        assert shlex.split("\n".join(lines[1:]).replace("\\\n", "")) == shlex.split(command)

    def test_headings_begin_paragraphs_and_prose_is_filled(self) -> None:
        text = "One two.\n\nChecked: a b\nc d.\nCommon errors: e\nf (g)."
        assert laid_out(text, 80) == ["One two.", "", "Checked: a b c d.", "Common errors: e f (g)."]

    def test_the_second_column_stays_a_column(self) -> None:
        lines = laid_out("  medfm doctor    the machine and every encoder that there is", 40)
        assert all(line.startswith(" " * 18) for line in lines[1:])
        assert not any(line.endswith("\\") for line in lines)

    @pytest.mark.parametrize(("columns", "width"), [("80", 80), ("30", 40), ("300", 100)])
    def test_width(self, monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        assert text_width() == width


def commands_of_the_pages() -> list[tuple[str, str]]:
    """Every ``medfm ...`` line of a code block of the pages, and of the examples in the help texts."""
    found = []
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        for block in re.findall(r"```(?:bash|sh|text)?\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            found += [(page.name, line) for line in block.replace("\\\n", " ").splitlines()]
    for verb, (module, _) in _VERBS.items():
        text = (REPOSITORY / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        for example in re.findall(r"^ {6,}(medfm .*)$", text, re.M):
            found.append((f"help of {verb}", re.split(r" {3,}", example)[0]))
    lines = [(page, re.sub(r"\s+#.*$", "", line).strip()) for page, line in found]
    return [(page, line) for page, line in lines if re.match(r"(torchrun .* -m )?medfm [a-z]", line)]


def test_the_pages_have_commands() -> None:
    assert len(commands_of_the_pages()) > 60


@pytest.mark.parametrize(("page", "line"), commands_of_the_pages(), ids=lambda text: text[:70])
def test_every_command_of_the_pages_is_understood(page: str, line: str) -> None:
    """Verbs, sub-commands, options and their kinds; the commands are not run."""
    words = shlex.split(line[line.index("medfm ") :])[1:]
    words = [{"DIR": "x", "FOLDER": "x"}.get(w, w) for w in words]
    group: click.Command = cli
    context = click.Context(cli, info_name="medfm")
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        command = group.get_command(context, words[0])
        if command is None:
            assert group.invoke_without_command
            break
        group, words = command, words[1:]
    assert group is not cli, f"{page}: {line}"
    with group.make_context(line, list(words), parent=context) as parsed:
        assert parsed.command is group
