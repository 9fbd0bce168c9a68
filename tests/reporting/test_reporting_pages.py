"""The pages in docs/ and the files the report is made of."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import jinja2
import pytest

import medfm
from medfm.cli.main import cli
from medfm.reporting import html

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("report", "reproduce")


def commands(page: str) -> list[list[str]]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_exists_with_its_options(page):
    found = commands(page)
    assert len(found) >= 3
    for program, verb, *arguments in found:
        assert (program, verb) == ("medfm", page)
        command = cli.get_command(None, verb)
        assert command is not None
        # Parses the arguments without running anything.
        with command.make_context(verb, list(arguments)) as context:
            assert context.params


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_uses_public_names(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    names = re.findall(r"medfm\.([a-z_]+)\(", text)
    assert names
    assert set(names) <= set(medfm.__all__)


def test_templates_escape_and_refuse_unknown_names():
    environment = html._environment()
    assert environment.autoescape is True
    assert environment.from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ missing }}").render()


def test_only_the_style_sheet_is_trusted():
    for template in (ROOT / "medfm" / "reporting" / "templates").glob("*.j2"):
        trusted = re.findall(r"\{\{([^}]*)\|\s*safe\s*\}\}", template.read_text(encoding="utf-8"))
        # A part of a page (its name begins with an underscore) has no style sheet of its own.
        assert [text.strip() for text in trusted] == ([] if template.name.startswith("_") else ["css"]), template.name


def test_the_style_sheet_cannot_end_its_element():
    css = (ROOT / "medfm" / "reporting" / "templates" / "report.css").read_text(encoding="utf-8")
    assert "<" not in css and "url(" not in css
