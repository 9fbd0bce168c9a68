"""Options and printing shared by the verbs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    # Only named in annotations: pydantic takes longer to import than a verb's help should.
    from medfm.core.config import StrictConfig

F = TypeVar("F", bound=Callable[..., Any])


class Verb(click.Command):
    """A command whose help is shown as written: purpose, examples, checks, common errors."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The docstring's own line breaks are kept."""
        import inspect

        formatter.write_paragraph()
        with formatter.indentation():
            for line in inspect.cleandoc(self.help or "").split("\n"):
                formatter.write(f"{'':{formatter.current_indent}}{line}".rstrip() + "\n")


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
        click.option("--modality", default="blood_cell", show_default=True, help="Modality of the records."),
        click.option("--root", type=click.Path(), help="Folder the table's paths are relative to [the table's own]."),
        click.option("--map", "mapping", multiple=True, metavar="NAME=COLUMN", help="Read NAME from COLUMN."),
        click.option("--where", "where", multiple=True, metavar="COLUMN=VALUE", help="Keep only these rows."),
        click.option("--allow", "allow", multiple=True, metavar="CODE", help="Go on although check CODE fails."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``("a=b",)`` as ``{"a": "b"}``; a clear error when the sign is missing."""
    result = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise click.UsageError(f"{option} takes NAME=VALUE, not '{text}'.")
        result[key] = value
    return result


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
