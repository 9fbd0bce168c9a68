"""What the verbs that evaluate a cohort share: options, the cohort they name, and how a run is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medfm.cli.common import default_modality, pairs, print_run

if TYPE_CHECKING:
    from medfm.workflows.table_run import EvaluationRun

F = TypeVar("F", bound=Callable[..., Any])


def _with(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """One decorator for several options, shown in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


# Where a result folder goes.
folder_options = _with(
    click.option("--out", type=click.Path(file_okay=False), help="Result folder to write, with report.html."),
    click.option("--overwrite", is_flag=True, help="Replace an earlier result folder."),
)

# The result's name, and how records are embedded on the way.
run_options = _with(
    click.option("--name", default="", help="What the result is called."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N."),
    click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE]."),
    click.option("--on-error", type=click.Choice(["report", "skip", "stop"]), help="What a bad record does [report]."),
)

# Where the texts of classes come from.
prompt_options = _with(
    click.option("--prompt-file", type=click.Path(dir_okay=False), help="Ready prompts, LABEL: text (JSON or YAML)."),
    click.option("--knowledge", metavar="NAME|FILE", help="Where prompts come from [the modality's]."),
    click.option("--label-set", metavar="NAME", help="Label set of the knowledge [the cohort's]."),
    click.option("--map-class", multiple=True, metavar="CLASS=NAME", help="What a class is called there; A+B: either."),
)

# What the report shows beside figures.
explanations_option = _with(
    click.option(
        "--no-explanations", "explanations", flag_value=False, default=True, help="No heat maps beside errors."
    )
)
map_method_option = _with(
    click.option("--map-method", "embedding_map", type=click.Choice(["pca", "umap", "none"]), default="pca")
)


def taken_cohort(options: dict[str, Any], encoder: str | None) -> dict[str, Any]:
    """What :func:`medfm.cli.common.cohort_options` gave, taken out of `options`: arguments of ``load_cohort``.

    Args:
        options: What the verb was called with; the cohort's own entries are removed.
        encoder: Id whose card says the modality where nothing else does.

    Raises:
        click.UsageError: ``--map`` or ``--where`` lacks its sign.
    """
    modality, root, mapping, where, allow = (
        options.pop(name) for name in ("modality", "root", "mapping", "where", "allow")
    )
    return {
        "modality": modality,
        "default_modality": default_modality(encoder),
        "root": root,
        "map": pairs(mapping, "--map"),
        "where": pairs(where, "--where"),
        "allow": allow,
    }


def class_pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """``CLASS=NAME``; the last sign parts them, for a class may hold one itself."""
    result = {}
    for text in texts:
        key, sign, value = text.rpartition("=")
        if not sign or not key or not value:
            raise click.UsageError(f"--map-class takes CLASS=NAME, not '{text}'.")
        result[key] = value
    return result


def tell_run(run: EvaluationRun, as_json: bool, lines: Callable[[Any], Iterable[str]] = lambda result: ()) -> None:
    """Print what a verb did: the result, further `lines` on it, and where the report lies.

    Args:
        run: What the verb's workflow returned.
        as_json: One JSON object instead.
        lines: What else people are told of the result; not asked for machines.
    """
    if as_json:
        print_run(run)
        return
    click.echo(str(run.result))
    for line in lines(run.result):
        click.echo(line)
    if run.out is not None:
        click.echo(f"report    {run.out / 'report.html'}")
