"""Train an encoder without labels: cohort and recipe in, a folder that ``load_encoder`` reads out."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.cohorts.cohort import Cohort
from medfm.core.config import build, load_config, merge, read_yaml
from medfm.core.errors import TrainingError
from medfm.core.files import make_folder, write_text
from medfm.core.progress import ProgressMaker, Silent
from medfm.core.resources import shipped, shipped_or_own

if TYPE_CHECKING:
    from medfm.training.config import PretrainConfig
    from medfm.training.recipes import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """What a finished run left behind.

    Attributes:
        folder: Holds ``encoder.safetensors``, ``card.md``, ``config.yaml``, ``log.jsonl``, ``loss.png``,
            ``crops.png`` and ``checkpoint/last.ckpt``; ``medfm.load_encoder(folder)`` loads it.
        encoder_id: Id of the trained encoder.
        pictures: Number of pictures trained on.
        failures: Record id and reason of each picture that could not be read.
        resumed_from: Step the run went on from; 0 for a fresh one.
        first_loss: Mean total loss of the first tenth of the steps.
        last_loss: Mean total loss of the last tenth.
        is_main: False in the further processes of a run with several.
        what: What was trained on, in words.
        notes: What a reader should know besides, such as how many texts were too long.
    """

    folder: Path
    encoder_id: str
    pictures: int
    resumed_from: int
    first_loss: float
    last_loss: float
    failures: tuple[tuple[str, str], ...] = field(default=())
    is_main: bool = True
    what: str = "pictures"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], **facts: Any) -> Pretrained:
        """What a run left behind whose log has these rows, one per step; `facts` are the other attributes."""
        losses = [float(row["total"]) for row in rows]
        tenth = max(1, len(losses) // 10)
        return cls(first_loss=sum(losses[:tenth]) / tenth, last_loss=sum(losses[-tenth:]) / tenth, **facts)

    def __str__(self) -> str:
        lines = [
            f"{self.encoder_id}: trained on {self.pictures} {self.what}",
            f"  loss     {self.first_loss:.3f} (first tenth of the steps) -> {self.last_loss:.3f} (last tenth)",
            f"  folder   {self.folder}",
        ]
        if self.resumed_from:
            lines.insert(1, f"  resumed  from step {self.resumed_from}")
        lines += [f"  note     {note}" for note in self.notes]
        if self.failures:
            lines.append(f"  left out {len(self.failures)} unreadable records: " + _shown(self.failures))
        return "\n".join(lines)


def _shown(failures: Sequence[tuple[str, str]]) -> str:
    names = ", ".join(record for record, _ in failures[:5])
    return names + (" ..." if len(failures) > 5 else "")


def recipes() -> list[str]:
    """Names of the shipped pretraining recipes."""
    return shipped("pretrain")


def load_recipe(recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
    """A shipped recipe by name, or a YAML file, with overrides on top; its key ``family`` says of which kind.

    Args:
        recipe: Such as ``"dinov2-tiny"`` or a path ending in ``.yaml``.
        overrides: ``["steps=50"]`` or ``{"steps": 50}``.

    Raises:
        UnknownNameError: No such recipe; near names are given.
        ConfigError: A setting is wrong.
    """
    from medfm.training.recipes import recipe_kind

    path = shipped_or_own(recipe, "pretrain", "pretraining recipe")
    kind: Any = recipe_kind(read_yaml(path), str(path))
    changes = overrides if isinstance(overrides, Mapping) else {}
    recipe_: Recipe = load_config(kind, path, overrides=() if isinstance(overrides, Mapping) else overrides)
    return build(kind, merge(recipe_.to_dict(), changes), where=str(path)) if changes else recipe_


def pretrain(
    cohort: Cohort,
    recipe: str | Path | Recipe = "dinov2-tiny",
    out: str | Path = "pretrained",
    *,
    resume: bool = False,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    progress: ProgressMaker | None = None,
) -> Pretrained:
    """Train the architecture of a model card on the records of a cohort, without labels.

    Recipes of the family ``dinov2`` take pictures alone, those of ``merl`` ECGs with their reports,
    those of ``ldae`` brain MRI (one stage per run).

    Only records of the split ``train`` are used unless the recipe says ``split: all``; a cohort
    without splits needs ``split: all``, said on purpose.

    Args:
        cohort: What to train on.
        recipe: Name of a shipped recipe, a YAML file, or the recipe itself.
        out: Folder for the encoder, its card, the log and the checkpoints.
        resume: Go on from the checkpoint in `out`; the run is bit-identical to one that was
            never stopped (same machine, same number of threads).
        overrides: Changes to the recipe.
        progress: Makes a display from title, total and unit (:func:`medfm.core.progress.for_people`).

    Returns:
        Where the encoder is, and what happened.

    Raises:
        TrainingError: No pictures, a folder in use, a checkpoint of another run, a bad loss.
        ConfigError: The recipe does not fit the architecture.
        KeyboardInterrupt: After Ctrl-C; the checkpoint is saved, and `resume` goes on.
    """
    from medfm.training.config import PretrainConfig
    from medfm.training.ldae_config import LdaeRecipe
    from medfm.training.threads import processor_threads
    from medfm.workflows.pretrain_ldae import pretrain_ldae
    from medfm.workflows.pretrain_pairs import pretrain_pairs

    if isinstance(recipe, (str, Path)):
        config = load_recipe(recipe, overrides)
    else:
        config = build(type(recipe), merge(recipe.to_dict(), _mapping(overrides)), where="the recipe")
    folder = Path(out)
    _check_folder(folder, resume)
    with processor_threads(config.machine.threads):
        if isinstance(config, PretrainConfig):
            return _pretrain_pictures(cohort, config, folder, resume, progress)
        if isinstance(config, LdaeRecipe):
            return pretrain_ldae(cohort, config, folder, resume=resume, progress=progress)
        return pretrain_pairs(cohort, config, folder, resume=resume, progress=progress)


def _pretrain_pictures(
    cohort: Cohort, config: PretrainConfig, folder: Path, resume: bool, progress: ProgressMaker | None
) -> Pretrained:
    """The DINOv2 family: pictures alone."""
    from medfm.training.crops_picture import draw_crops
    from medfm.training.log import draw_loss, read_log
    from medfm.training.loop import make_fabric, train
    from medfm.training.pictures import load_pictures
    from medfm.workflows.pretrain_output import start_model, write_encoder

    used = training_records(cohort, config)
    model, card = start_model(config, cohort)
    fabric = make_fabric(config.machine, config.precision)
    fabric.launch()
    make_folder(folder)
    shown: ProgressMaker = progress if progress is not None and fabric.is_global_zero else Silent
    pictures = load_pictures(used, config.picture_size, config.machine.memory_mb, shown)
    for record, reason in pictures.failures:
        logger.warning("record %s was left out: %s", record, reason)
    patch = int(card.spec.architecture.args.get("patch", 14))
    identity = {
        "recipe": config.procedure(),
        "cohort": used.digest(),
        "pictures": len(pictures),
        "content": pictures.digest(),
    }
    if fabric.is_global_zero and not resume:
        write_text(folder / "config.yaml", config.to_yaml())
        if len(pictures) >= config.batch_size:
            draw_crops(folder / "crops.png", pictures, config)
    first = train(model, pictures, patch, folder, identity=identity, fabric=fabric, resume=resume, progress=shown)
    rows = read_log(folder / "log.jsonl")
    result = Pretrained.of(
        rows,
        folder=folder,
        encoder_id=trained_id(config, cohort),
        pictures=len(pictures),
        resumed_from=first,
        failures=pictures.failures,
        is_main=fabric.is_global_zero,
    )
    if fabric.is_global_zero:
        draw_loss(folder / "loss.png", rows, f"{config.name} on {cohort.name}")
        write_encoder(result, model, card, config, used)
    return result


def trained_id(config: Recipe, cohort: Cohort) -> str:
    """The id of the encoder a run makes: recipe and cohort, in lower-case words with hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", f"{config.name}-{cohort.name}".lower()).strip("-")


def _mapping(overrides: Sequence[str] | Mapping[str, Any]) -> Mapping[str, Any]:
    from medfm.core.config import parse_overrides

    return overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)


def _check_folder(folder: Path, resume: bool) -> None:
    started = any((folder / name).exists() for name in ("checkpoint/last.ckpt", "checkpoint/previous.ckpt", "card.md"))
    if started and not resume:
        raise TrainingError(
            "The output folder holds a training run already.",
            where=str(folder),
            fix="pass --resume (resume=True) to go on with it, or choose another folder",
        )


def training_records(cohort: Cohort, config: Recipe) -> Cohort:
    """The records of the recipe's split (raises TrainingError where there is none)."""
    used = cohort if config.split == "all" else cohort.of_split(config.split)
    if len(used) == 0:
        raise TrainingError(
            f"The cohort '{cohort.name}' has no records of the split '{config.split}'.",
            expected="a column 'split' with train, val and test",
            fix="add the column, or use every record with --set split=all (test records included)",
        )
    return used
