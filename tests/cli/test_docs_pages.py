"""The pages under docs/ against the program: commands parse, options and names exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from medfm.cli.main import cli
from medfm.cohorts.adapters.registry import get_adapter
from medfm.core.resources import data_folder
from medfm.encoders.registry import list_encoders
from medfm.evaluation.protocol import list_protocols
from medfm.evaluation.transfer import list_transfer_maps
from medfm.knowledge.load import list_knowledge, load_knowledge
from medfm.knowledge.prompts import build_prompts

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
# Options that belong to other programs, or that a sentence forms from a pattern.
FOREIGN = {
    "--nproc-per-node", "--array", "--wrap", "--output", "--upgrade", "--no-deps", "--extra-index-url", "--index-url",
    "--editable", "--user",
}  # fmt: skip


def fenced(text: str) -> Iterator[str]:
    """The contents of the code blocks of a page."""
    for match in re.finditer(r"^```(?:\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield match[1]


def shell_lines(text: str) -> Iterator[str]:
    """The commands of a page, continuation lines joined, prompts and comments taken off."""
    for block in fenced(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            bare = line.strip().removeprefix("$ ")
            if re.match(r"(torchrun .*-m )?medfm ", bare):
                yield re.sub(r"\s+#.*$", "", bare[bare.index("medfm ") :])


def help_lines() -> Iterator[tuple[str, str]]:
    """The examples in every verb's help."""
    for name, command in commands().items():
        text = command.help or ""
        joined = re.sub(r"\\\n\s*", " ", text)
        for line in joined.splitlines():
            bare = line.strip()
            if bare.startswith("medfm ") and not re.search(r"\bVERB\b|\.\.\.", bare):
                yield name, re.split(r"\s{2,}", bare)[0]


@cache
def commands() -> dict[str, click.Command]:
    """Every command by its words, such as ``data show``."""
    found: dict[str, click.Command] = {}

    def walk(group: click.Group, words: tuple[str, ...]) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            found[" ".join((*words, name))] = command
            if isinstance(command, click.Group):
                walk(command, (*words, name))

    walk(cli, ())
    return found


def parsed(line: str) -> tuple[str, dict[str, object]]:
    """The command that a line calls and what it is given; raises click's error where it does not parse."""
    words = shlex.split(line.split("|")[0].split("&&")[0].split(" > ")[0])[1:]
    known = commands()
    name = words[0]
    rest = words[1:]
    while rest and f"{name} {rest[0]}" in known:
        name, rest = f"{name} {rest[0]}", rest[1:]
    assert name in known, f"there is no verb '{name}'"
    context = known[name].make_context(name, rest)
    return name, context.params


EXAMPLES = [(page.name, line) for page in PAGES for line in shell_lines(page.read_text(encoding="utf-8"))]


def test_there_are_examples_to_look_at() -> None:
    assert len(EXAMPLES) > 60 and len({page for page, _ in EXAMPLES}) > 12
    assert len(list(help_lines())) > 40


@pytest.mark.parametrize(("page", "line"), EXAMPLES, ids=[f"{p}:{i}" for i, (p, _) in enumerate(EXAMPLES)])
def test_a_command_of_a_page_parses(page: str, line: str) -> None:
    try:
        parsed(line)
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")


def test_the_examples_of_every_help_parse() -> None:
    wrong = []
    for name, line in help_lines():
        try:
            called, _ = parsed(line)
        except (click.UsageError, AssertionError) as error:
            wrong.append(f"{line}: {error}")
            continue
        assert called.split()[0] == name.split()[0], line
    assert not wrong


def test_every_verb_has_its_page_and_the_page_its_name() -> None:
    for name in cli.list_commands(click.Context(cli)):
        page = ROOT / "docs" / f"{name}.md"
        assert page.is_file(), name
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# `?(medfm )?{name}\b", text, re.IGNORECASE) and f"medfm {name}" in text, name


def all_options() -> set[str]:
    """Every option of every command, those of the program itself included."""
    found = {"--help", "-h", "--version", "--debug"}
    for command in commands().values():
        for parameter in command.params:
            found |= {*parameter.opts, *parameter.secondary_opts}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_option_named_on_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # Scripts have options of their own; their lines name the script.
    text = "\n".join(line for line in text.splitlines() if not re.search(r"scripts/|pip |headless|ruff|pytest", line))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", text))
    assert named - all_options() - FOREIGN == set()


def test_every_option_is_explained() -> None:
    """An option without a word of help is of use to nobody who did not write it."""
    bare = [
        f"{name} {parameter.opts[0]}"
        for name, command in commands().items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help and not isinstance(parameter.type, click.Choice)
    ]
    assert bare == []


def given(name: str) -> Iterator[tuple[str, str]]:
    """Every value that an example of the pages gives to an option, with its line."""
    for _, line in EXAMPLES:
        words = shlex.split(line)
        for place, word in enumerate(words[:-1]):
            if word == name:
                yield words[place + 1], line


def test_encoders_of_examples_are_shipped_or_made_by_an_example() -> None:
    made = {value for value, _ in given("--out")} | {"runs/tiny", "dinov2-tiny", "lab-cells"}
    for value, line in given("--encoder"):
        assert value in list_encoders() or value in made, line


def test_protocols_strategies_and_recipes_of_examples_exist() -> None:
    protocols = list_protocols()
    for value, line in given("--protocol"):
        assert value in protocols or value.endswith((".yaml", ".yml")) or value == "ID", line
    for value, line in given("--strategy"):
        build_prompts(load_knowledge("ecg"), "ptbxl-super", value)
        assert value.endswith("@1"), line
    for value, line in given("--recipe"):
        kinds = ("preparation",) if " data standardize " in line else ("pretrain", "finetune")
        found = [(data_folder("configs") / kind / f"{value}.yaml").is_file() for kind in kinds]
        assert any(found) or value.endswith(".yaml"), line
    for value, line in given("--transfer"):
        assert value in list_transfer_maps(), line


def test_label_sets_of_examples_exist() -> None:
    known = {s for domain in list_knowledge() for s in load_knowledge(domain).label_sets}
    for value, line in [*given("--label-set"), *given("--labels")]:
        assert value in known or value in ("published", "corrected"), line


def test_data_sets_of_examples_exist() -> None:
    prepared = [shlex.split(line)[3] for _, line in EXAMPLES if line.startswith("medfm data prepare")]
    assert prepared
    for name in prepared:
        get_adapter(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_anchors_are_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        linked = page if not target else page.parent / target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in slugs, f"{target}#{anchor}"


def test_code_fences_are_closed() -> None:
    for page in PAGES:
        assert page.read_text(encoding="utf-8").count("\n```") % 2 == 0, page.name


def test_configs_named_on_the_pages_exist() -> None:
    folder = data_folder("configs")
    for page in PAGES:
        for name in re.findall(r"`configs/([\w./@-]+\.ya?ml)`", page.read_text(encoding="utf-8")):
            assert (folder / name).is_file(), f"{page.name}: configs/{name}"
