"""Make the volumes of a cohort ready once: a recipe in, a folder with new files, a new table and its provenance out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.info import CohortInfo
from medfm.core.config import load_config
from medfm.core.environment import software
from medfm.core.errors import ConfigError
from medfm.core.files import make_folder, remove_leftovers, write_json
from medfm.core.hashing import sha256_json
from medfm.core.progress import ProgressMaker, Silent
from medfm.core.resources import shipped, shipped_or_own
from medfm.encoders.preparation.prepare import check_tools
from medfm.encoders.preparation.register import Template
from medfm.encoders.preparation.steps import PreparationRecipe
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality
from medfm.workflows.derived_cohort import PROVENANCE, begin_folder, write_derived_table
from medfm.workflows.standardize_files import Job, Outcome, done_before, outcomes

_WRITER = "medfm data standardize"
_OURS = ("labels.csv", "labels.yaml", PROVENANCE, "volumes", "records")


@dataclass(frozen=True)
class Standardized:
    """What :func:`standardize` left behind.

    Attributes:
        out: The folder.
        table: ``labels.csv`` in it; ``None`` where no volume could be prepared.
        written: Volumes prepared in this run.
        kept: Volumes of an earlier run that were still right.
        failed: (record id, reason) of the others.
    """

    out: Path
    table: Path | None
    written: int
    kept: int
    failed: tuple[tuple[str, str], ...]


def preparation_recipes() -> list[str]:
    """Names of the shipped recipes of preparation."""
    return shipped("preparation")


def load_preparation(recipe: str | Path, overrides: Sequence[str] = ()) -> PreparationRecipe:
    """A shipped recipe by its name, or a YAML file, with ``--set`` style `overrides` on top.

    An override names a step by its place or its name: ``steps.volume_brain_mask.method=hd-bet``.

    Raises:
        UnknownNameError: There is no such recipe.
        ConfigError: A setting is wrong.
    """
    path = shipped_or_own(recipe, "preparation", "recipe of preparation")
    made = load_config(PreparationRecipe, path)
    return made if not overrides else _changed(made, overrides, str(path))


def _changed(recipe: PreparationRecipe, overrides: Sequence[str], where: str) -> PreparationRecipe:
    """The recipe with arguments of its steps changed; a list has no keys, so steps go by their names."""
    from medfm.core.config import build, parse_overrides

    steps = {step.step: step.to_dict() for step in recipe.steps}
    for key, value in parse_overrides(overrides).items():
        if key not in steps or not isinstance(value, dict):
            raise ConfigError(
                f"'{key}' is not a step of the recipe.",
                where="--set",
                expected=f"STEP.ARGUMENT=VALUE, with one of {', '.join(steps)}",
                fix="for other changes copy the recipe and edit it",
            )
        steps[key] = {**steps[key], **value}
    return build(PreparationRecipe, {**recipe.to_dict(), "steps": list(steps.values())}, where=where)


def standardize(
    cohort: Cohort,
    recipe: PreparationRecipe,
    out: str | Path,
    *,
    template: str | Path | None = None,
    workers: int = 1,
    info: CohortInfo | None = None,
    overwrite: bool = False,
    progress: ProgressMaker = Silent,
) -> Standardized:
    """Run `recipe` on every record of `cohort` and write the results into the folder `out`.

    ``volumes/`` gets one NIfTI file per record (float32, geometry and nothing else in its header), named by the
    record id; ``labels.csv`` has the columns of the cohort with new paths, without those of the reader (the new
    files need none); ``provenance.json`` says recipe, versions, hashes and what each step found. A run that was
    interrupted goes on file by file; one with another recipe, template or version is refused.

    Args:
        cohort: Records of the modality that the recipe is for.
        recipe: What is done.
        out: Folder to create or to go on with.
        template: For recipes with ``volume_register``.
        workers: Processes; each holds volumes of its own. 1 works in this process.
        info: The YAML beside the cohort's table, carried over.
        overwrite: Whether an earlier result in `out` is removed first.
        progress: Called with (title, total, unit).

    Raises:
        ConfigError: Another modality, no template where one is needed.
        MissingExtraError: The recipe needs an extra or a program that is not installed.
        StoreError: `out` holds other things, or the result of another recipe; or it cannot be written.
    """
    if cohort.modality != recipe.modality:
        raise ConfigError(
            f"The recipe is for {recipe.modality}, and the cohort holds {cohort.modality}.",
            where=recipe.id,
            fix=f"pass --modality {recipe.modality} if the records are that",
        )
    loaded = None if template is None else Template.load(template)
    tools = check_tools(recipe, loaded)
    setup: dict[str, Any] = {
        "recipe": recipe.to_dict(),
        "recipe_sha256": recipe.digest(),
        "template_sha256": None if loaded is None else loaded.digest,
        "tools": tools,
        "software": {name: version for name, version in software().items() if name in _COUNTING},
    }
    key = sha256_json(setup)
    target = Path(out)
    begin_folder(
        target,
        _WRITER,
        key,
        _OURS,
        overwrite=overwrite,
        differs="The folder holds volumes prepared in another way: recipe, template or versions differ.",
    )
    make_folder(target / "volumes")
    make_folder(target / "records")
    head = {"written_by": _WRITER, "setup_sha256": key, **setup, "cohort_sha256": cohort.digest()}
    write_json(target / PROVENANCE, {**head, "finished": False})
    jobs = list(_jobs(cohort, target, key))
    found: dict[str, Outcome] = {}
    with progress("preparing", len(jobs), "volumes") as shown:
        left = []
        for job in jobs:
            before = done_before(job, get_modality(cohort.modality))
            if before is None:
                left.append(job)
            else:
                found[job.ref.record_id] = before
        shown.skip(len(found))
        kept = len(found)
        for outcome in outcomes(left, cohort.modality, recipe, loaded, workers):
            found[outcome.record_id] = outcome
            shown.advance(note="" if outcome.reason is None else "one could not be prepared")
    ordered = [found[job.ref.record_id] for job in jobs]
    failed = tuple((one.record_id, one.reason) for one in ordered if one.reason is not None)
    table = _write_table(cohort, jobs, ordered, recipe, info or CohortInfo(), target)
    write_json(
        target / PROVENANCE,
        {
            **head,
            "finished": True,
            "records": [one.facts for one in ordered if one.reason is None],
            "failed": [{"record_id": record, "reason": reason} for record, reason in failed],
        },
    )
    return Standardized(target, table, len(ordered) - len(failed) - kept, kept, failed)


# Of what can change a voxel.
_COUNTING = ("medfm", "numpy", "scipy")


def _jobs(cohort: Cohort, target: Path, key: str) -> Iterator[Job]:
    taken: set[str] = set()
    for ref in cohort.refs():
        name = _free_name(ref, taken)
        yield Job(ref, target / "volumes" / f"{name}.nii.gz", target / "records" / f"{name}.json", key)


def _free_name(ref: RecordRef, taken: set[str]) -> str:
    # Ids are often paths; the ending of the file would only be in the way.
    bare = re.sub(r"(\.nii)?\.\w{2,5}$", "", ref.record_id) if ref.path.name in ref.record_id else ref.record_id
    stem = re.sub(r"[^\w.-]+", "_", bare).strip("._")[-100:] or "record"
    # Capitals and small letters are one on some disks.
    name = next(n for n in (stem if i == 1 else f"{stem}-{i}" for i in count(1)) if n.casefold() not in taken)
    taken.add(name.casefold())
    return name


def _write_table(
    cohort: Cohort,
    jobs: Sequence[Job],
    ordered: Sequence[Outcome],
    recipe: PreparationRecipe,
    info: CohortInfo,
    target: Path,
) -> Path | None:
    file = target / "labels.csv"
    good = [place for place, one in enumerate(ordered) if one.reason is None]
    for name in ("labels.csv", "labels.yaml"):
        remove_leftovers(target / name)
    if not good:
        file.unlink(missing_ok=True)
        return None
    table = cohort.table.iloc[good].copy()
    table["path"] = [jobs[place].volume.relative_to(target).as_posix() for place in good]
    gone = [c for c in get_modality(cohort.modality).option_columns if c in table.columns]
    note = f"Volumes prepared by medfm data standardize with the recipe {recipe.id} ({recipe.digest()[:12]})."
    return write_derived_table(table, cohort, info, target, note, gone=gone)
