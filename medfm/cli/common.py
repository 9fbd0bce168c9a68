"""Options and printing shared by the verbs."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    # Only named in annotations: pydantic takes longer to import than a verb's help should.
    from medfm.core.config import StrictConfig
    from medfm.workflows.table_run import EvaluationRun

F = TypeVar("F", bound=Callable[..., Any])


class Verb(click.Command):
    """A command whose help is shown as written: purpose, examples, checks, common errors."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Prose is filled to the terminal's width; indented lines (examples, tables) keep their breaks."""
        import inspect

        formatter.write_paragraph()
        with formatter.indentation():
            space = max(formatter.width - formatter.current_indent, 40)
            for line in laid_out(inspect.cleandoc(self.help or ""), space):
                formatter.write(f"{'':{formatter.current_indent}}{line}".rstrip() + "\n")


class VerbGroup(click.Group):
    """A group of commands whose help is laid out as a verb's."""

    format_help_text = Verb.format_help_text  # type: ignore[assignment]


_HEADING = re.compile(r"[A-Z][a-z ]{2,30}( \([^)]*\))?:")


def laid_out(text: str, width: int) -> list[str]:
    """The lines of a help text, none wider than `width` as far as words allow.

    A paragraph ends at an empty line, at an indented line, and before a line that begins with a
    heading such as ``Checked:``. Indented lines stay lines of their own; what does not fit goes on
    below, indented further.
    """
    lines: list[str] = []
    prose: list[str] = []

    def flush() -> None:
        lines.extend(textwrap.wrap(" ".join(prose), width, break_long_words=False, break_on_hyphens=False))
        prose.clear()

    for line in text.replace("\b\n", "").split("\n"):
        if line and not line.startswith(" "):
            if _HEADING.match(line):
                flush()
            prose.append(line)
            continue
        flush()
        lines += [line] if len(line) <= width else _broken(line, width)
    flush()
    return lines


def _broken(line: str, width: int) -> list[str]:
    """An indented line in several: a second column stays a column, a command can still be pasted."""
    indent = len(line) - len(line.lstrip())
    column = re.search(r"\S {2,}(?=\S)", line)
    if column is not None:
        return textwrap.wrap(line, width, subsequent_indent=" " * column.end(), break_long_words=False)
    parts = textwrap.wrap(
        line, width - 2, subsequent_indent=" " * (indent + 4), break_long_words=False, break_on_hyphens=False
    )
    end = " \\" if line.lstrip().startswith(("medfm ", "torchrun ")) else ""
    return [part + end for part in parts[:-1]] + parts[-1:]


def text_width(most: int = 100) -> int:
    """Columns to fill with prose: the terminal's (80 where there is none), at most `most`."""
    return max(40, min(most, shutil.get_terminal_size((80, 24)).columns))


def json_option(function: F) -> F:
    """``--json``: print one JSON object instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")(function)


def config_options(function: F) -> F:
    """``--set`` and ``--dry-run``."""
    function = click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated."
    )(function)
    return click.option("--dry-run", is_flag=True, help="Print the resolved settings and their hash; do nothing.")(
        function
    )


def cohort_options(function: F) -> F:
    """The options that describe a cohort table (see ``medfm.cohorts.load.load_cohort``)."""
    options = [
        click.option("--modality", help="Modality of the records [the YAML's, else the encoder's or blood_cell]."),
        click.option("--root", type=click.Path(), help="Folder the table's paths are relative to [the table's own]."),
        click.option("--map", "mapping", multiple=True, metavar="NAME=COLUMN", help="Read NAME from COLUMN."),
        click.option(
            "--where", "where", multiple=True, metavar="COLUMN=VALUE", help="Keep only these rows; repeat it."
        ),
        click.option("--allow", "allow", multiple=True, metavar="CODE", help="Go on although check CODE fails."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def default_modality(encoder: str | None) -> str:
    """The modality of records where neither ``--modality`` nor the YAML says: the encoder's, else blood cells."""
    if encoder is None:
        return "blood_cell"
    from medfm.encoders.registry import get_card

    return get_card(encoder).modality


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``("a=b",)`` as ``{"a": "b"}``; a clear error when the sign is missing."""
    result = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise click.UsageError(f"{option} takes NAME=VALUE, not '{text}'.")
        result[key] = value
    return result


def rows_kept(texts: Sequence[str]) -> dict[str, str | list[str]]:
    """``COLUMN=VALUE`` texts as a group; a column named more than once keeps any of its values.

    Raises:
        UsageError: A text lacks the sign.
    """
    found: dict[str, str | list[str]] = {}
    for text in texts:
        ((column, value),) = pairs((text,), "--where").items()
        before = found.get(column)
        found[column] = value if before is None else [*([before] if isinstance(before, str) else before), value]
    return found


def print_config(config: StrictConfig, as_json: bool = False) -> None:
    """What ``--dry-run`` prints: the resolved settings and their SHA-256."""
    if as_json:
        click.echo(json.dumps({"config": config.to_dict(), "sha256": config.digest()}, indent=2))
    else:
        click.echo(config.to_yaml() + f"# sha256 {config.digest()}")


def print_json(value: Any) -> None:
    """One JSON object on standard output; NaN is refused, NumPy's numbers are numbers."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str], title: str | None = None) -> None:
    """A plain table on standard output, columns fitted to the terminal."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in header:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    # Labels and ids are shown as they are: "[B] :x:" is neither markup nor an emoji.
    Console(soft_wrap=False, markup=False, emoji=False).print(grid)


def print_run(run: EvaluationRun) -> None:
    """The facts of an evaluation for machines."""
    print_json(
        {
            "id": run.result.id,
            "out": None if run.out is None else str(run.out),
            "failed": run.failed,
            "summary": run.result.summary.to_dict(),
            "extras": run.result.extras,
        }
    )
