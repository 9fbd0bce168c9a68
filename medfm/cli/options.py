"""What the verbs share: groups of options, the cohort and target they name, and how a run is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medfm.cli.common import default_modality, pairs, print_run, rows_kept

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.core.progress import ProgressMaker
    from medfm.workflows.table_run import EvaluationRun

F = TypeVar("F", bound=Callable[..., Any])


def _with(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """One decorator for several options, shown in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


ON_ERROR = click.Choice(["report", "skip", "stop"])
_VARIANT = "Another preprocessing of the card (medfm encoders show ID)."


def encoder_options(
    encoder: str = "Encoder id (medfm encoders); embeds first, cached.",
    *,
    required: bool = False,
    weights: str = "Checkpoint file, or 'random' for the untrained network.",
    preprocessing: str = _VARIANT,
    embeddings: str | None = None,
) -> Callable[[F], F]:
    """``--encoder``, ``--weights``, ``--preprocessing`` and, where `embeddings` explains it, ``--embeddings``.

    Args:
        encoder, weights, preprocessing, embeddings: The help of each.
        required: Whether ``--encoder`` must be given.
    """
    options = [
        click.option("--encoder", required=required, metavar="ID", help=encoder),
        click.option("--weights", metavar="FILE|random", help=weights),
        click.option("--preprocessing", metavar="NAME", help=preprocessing),
    ]
    if embeddings is not None:
        options.append(click.option("--embeddings", type=click.Path(dir_okay=False), help=embeddings))
    return _with(*options)


def protocol_option(default: str) -> Callable[[F], F]:
    """``--protocol``: the evaluation procedure."""
    return _with(click.option("--protocol", default=default, show_default=True, metavar="ID|FILE", help="Procedure."))


def task_option(*tasks: str) -> Callable[[F], F]:
    """``--task``: ``auto`` or one of `tasks`."""
    return _with(click.option("--task", type=click.Choice(["auto", *tasks]), default="auto"))


def drop_unlabelled_option(label: str = "a label") -> Callable[[F], F]:
    """``--drop-unlabelled``; `label` is what the records lack."""
    return _with(click.option("--drop-unlabelled", is_flag=True, help=f"Leave out records without {label}."))


baseline_option = _with(
    click.option(
        "--baseline", type=click.Choice(["auto", "untrained", "none"]), default="auto", help="Beside it [auto: ECGs]."
    )
)
name_option = _with(click.option("--name", default="", help="What the result is called."))
device_option = _with(click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N."))
# How records are embedded on the way.
embedding_options = _with(
    device_option,
    click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE]."),
    click.option("--on-error", type=ON_ERROR, help="What a bad record does [report]."),
)

# Where a result folder goes.
folder_options = _with(
    click.option("--out", type=click.Path(file_okay=False), help="Result folder to write, with report.html."),
    click.option("--overwrite", is_flag=True, help="Replace an earlier result folder."),
)

# The result's name, and how records are embedded on the way.
run_options = _with(name_option, embedding_options)

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
    return _cohort_arguments(options, default_modality(encoder))


def cohort_from_options(table: str, options: dict[str, Any], modality: str, *, check: bool = True) -> Cohort:
    """The cohort of `table`, as :func:`medfm.cli.common.cohort_options` describes it.

    Args:
        table: The cohort's table.
        options: What the verb was called with; the cohort's own entries are removed.
        modality: Of the records where neither ``--modality`` nor the YAML says.
        check: Whether a file that is missing or damaged ends it here.

    Raises:
        click.UsageError: ``--map`` or ``--where`` lacks its sign.
        CohortError: The table cannot be read.
    """
    from medfm.cohorts.load import load_cohort

    return load_cohort(table, check=check, **_cohort_arguments(options, modality))


def _cohort_arguments(options: dict[str, Any], default: str) -> dict[str, Any]:
    modality, root, mapping, where, allow = (
        options.pop(name) for name in ("modality", "root", "mapping", "where", "allow")
    )
    return {
        "modality": modality,
        "default_modality": default,
        "root": root,
        "map": pairs(mapping, "--map"),
        "where": rows_kept(where),
        "allow": allow,
    }


def target_of(columns: Sequence[str]) -> str | list[str] | None:
    """What ``--target`` named, given once or several times: nothing, a column, or several for multilabel."""
    return None if not columns else columns[0] if len(columns) == 1 else list(columns)


def progress_for(as_json: bool) -> ProgressMaker:
    """Displays for people; none where the output is for machines."""
    from medfm.core.progress import Silent, for_people

    return Silent if as_json else for_people


def class_pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """``CLASS=NAME``; the last sign parts them, for a class may hold one itself."""
    result = {}
    for text in texts:
        key, sign, value = text.rpartition("=")
        if not sign or not key or not value:
            raise click.UsageError(f"--map-class takes CLASS=NAME, not '{text}'.")
        result[key] = value
    return result


def tell_run(
    run: EvaluationRun,
    as_json: bool,
    lines: Callable[[Any], Iterable[str]] = lambda result: (),
    *,
    on_error: str | None = None,
) -> int:
    """Print what a verb did: the result, further `lines` on it, and where the report lies; the exit code.

    Args:
        run: What the verb's workflow returned.
        as_json: One JSON object instead.
        lines: What else people are told of the result; not asked for machines.
        on_error: With ``"skip"`` lost records are no reason for exit code 1.
    """
    if as_json:
        print_run(run)
    else:
        click.echo(str(run.result))
        for line in lines(run.result):
            click.echo(line)
        if run.out is not None:
            click.echo(f"report    {run.out / 'report.html'}")
    return 1 if run.failed and on_error != "skip" else 0
