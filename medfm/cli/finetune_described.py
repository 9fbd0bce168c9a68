"""The run that a call of ``medfm finetune`` describes: its options, on top of the YAML file where it names one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfm.cli.common import pairs, print_config, rows_kept
from medfm.cli.options import class_pairs

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.training.finetune_config import FinetuneRecipe
    from medfm.workflows.finetune_file import FinetuneFile
    from medfm.workflows.nested import NestedPlan

# The option's name in Python, where it is not the key of the file.
_KEYS = {"targets": "target", "mapping": "map", "overrides": "settings"}
_NOT_KEPT = ("table", "cache", "resume", "overwrite", "dry_run", "as_json")


def described(table: str, options: Mapping[str, Any]) -> FinetuneFile:
    """The run: the file's values where `table` is a YAML file, with the options given by hand on top.

    Raises:
        ConfigError: The file is no description of a run, or a key is wrong.
        UsageError: An option lacks its sign.
    """
    from medfm.core.config import parse_overrides
    from medfm.workflows.finetune_file import FinetuneFile, is_file_of_run, load_run, with_changes
    from medfm.workflows.finetune_output import RUN

    source = click.get_current_context().get_parameter_source
    changes: dict[str, Any] = {}
    for name, value in options.items():
        given = source(name)
        if name not in _NOT_KEPT and given is not None and given.name == "COMMANDLINE":
            changes[_KEYS.get(name, name)] = list(value) if isinstance(value, tuple) else value
    if "map" in changes:
        changes["map"] = pairs(changes["map"], "--map")
    if "where" in changes:
        changes["where"] = rows_kept(changes["where"])
    if "map_class" in changes:
        changes["map_class"] = class_pairs(tuple(changes["map_class"]))
    if "settings" in changes:
        changes["settings"] = parse_overrides(changes["settings"])
    if "target" in changes and len(changes["target"]) == 1:
        changes["target"] = changes["target"][0]
    if (Path(table) / RUN).is_file():
        raise click.UsageError(
            f"{table} is the folder of a run: name the file in it that describes it, {Path(table) / RUN}."
        )
    return load_run(table, changes) if is_file_of_run(table) else with_changes(FinetuneFile(table=table), changes)


def resolved(run: FinetuneFile) -> tuple[FinetuneFile, NestedPlan | FinetuneRecipe]:
    """`run` with its protocol and recipe named, and what they say with the settings on top.

    Raises:
        ConfigError: A recipe with nested cross-validation, or a setting of the other kind of run.
        UsageError: Encoders beside it that would not be compared, or one of them twice.
    """
    from medfm.workflows.finetune import load_finetune_recipe
    from medfm.workflows.finetune_verdict import check_settings, choose_verdict
    from medfm.workflows.nested import nested_plan

    plan, recipe = choose_verdict(run.recipe, run.protocol)
    double = sorted({name for name in run.beside if run.beside.count(name) > 1})
    if double:
        raise click.UsageError(f"--beside names {', '.join(double)} twice.")
    if recipe is None:
        run = run.model_copy(update={"protocol": run.protocol or plan.id})
        return run, nested_plan(plan, run.overrides(), run.device)
    if run.beside:
        raise click.UsageError(
            "--beside goes with --protocol nested-cv@1, which is the verdict where no --recipe is named."
        )
    run = run.model_copy(update={"protocol": run.protocol or plan.id, "recipe": str(recipe)})
    check_settings(run.overrides(), plan)
    return run, load_finetune_recipe(str(recipe), run.overrides())


def print_plan(run: FinetuneFile, config: NestedPlan | FinetuneRecipe, whole: bool, as_json: bool) -> None:
    """What ``--dry-run`` prints: the protocol or recipe, or the `whole` run where a file describes it."""
    from medfm.workflows.nested import NestedPlan

    inner = config.protocol if isinstance(config, NestedPlan) else config
    print_config(run if whole else inner, as_json)
    kind = "protocol" if isinstance(config, NestedPlan) else "recipe"
    said = [f"the {kind} with these settings: sha256 {inner.digest()}"] if whole else []
    said += str(config).split("\n") if isinstance(config, NestedPlan) else []
    for line in said:
        click.echo(f"# {line}", err=as_json)


def loaded_cohort(run: FinetuneFile) -> Cohort:
    """The records that the run names."""
    from medfm.cli.common import default_modality
    from medfm.cohorts.load import load_cohort

    return load_cohort(
        run.table,
        modality=run.modality,
        default_modality=default_modality(run.encoder),
        root=run.root,
        map=run.map,
        where={key: list(value) if isinstance(value, tuple) else value for key, value in run.where.items()},
        allow=run.allow,
    )
