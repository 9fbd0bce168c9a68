"""Train a latent diffusion autoencoder, one stage per run; each starts from the folder of the stage before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError, MedfmError, TrainingError
from medfm.core.files import make_folder, write_text
from medfm.core.hashing import sha256_tensors
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.card import Card, read_card
from medfm.encoders.card_schema import Generator
from medfm.encoders.ldae.generator import check_same_diffusion
from medfm.encoders.ldae.load import PartName, build_part, find_part, generator_of, load_part, part_args
from medfm.encoders.ldae.semantic import SemanticEncoder, start_from_pictures
from medfm.encoders.ldae.unet import ShiftUNet, UNet
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_volume import VolumeSteps, axes_back
from medfm.encoders.published import build as build_network
from medfm.encoders.registry import get_card
from medfm.encoders.safety import check_state, load_checkpoint
from medfm.encoders.save import CARD_FILE
from medfm.objectives.diffusion import Schedule, make_schedule
from medfm.training.curves_picture import draw_curves
from medfm.training.ldae_autoencoder import AutoencoderStage
from medfm.training.ldae_config import AutoencoderRecipe, LatentRecipe, LdaeRecipe, SemanticRecipe
from medfm.training.ldae_diffusion import DiffusionStage, NoiseLoss, ShiftLoss
from medfm.training.ldae_latents import Latents, compute_together, latents_key, read_latents, write_latents
from medfm.training.ldae_loop import any_process, launched, train_stage
from medfm.training.ldae_samples import SampleJudge
from medfm.training.log import read_log
from medfm.training.processes import one_fate
from medfm.training.record_tensors import RecordTensors, load_record_tensors
from medfm.workflows.pretrain_ldae_output import Trained, write_stage
from medfm.workflows.pretrain_ldae_start import given_networks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medfm.workflows.pretrain import Pretrained

logger = logging.getLogger(__name__)
# Records whose codes are made to differ at the start of stage 3, where the recipe says so.
_BEFORE = {"latent": "autoencoder", "semantic": "latent"}


@dataclass
class _Data:
    """The records used, training ones first, and where the two kinds are among those that could be read."""

    cohort: Cohort
    volumes: RecordTensors
    train: list[int]
    validation: list[int]


def pretrain_ldae(
    cohort: Cohort, config: LdaeRecipe, folder: Path, *, resume: bool, progress: ProgressMaker | None
) -> Pretrained:
    """Run one stage; see :func:`medfm.workflows.pretrain.pretrain`, whose checks have passed.

    Raises:
        TrainingError: The folder of the stage before is absent or incomplete, no validation records, a
            checkpoint of another run, a bad loss, another process that has ended.
        ConfigError: The recipe does not fit the cohort, or the stage before had other sizes.
    """
    with one_fate(config.machine.devices):
        return _pretrain(cohort, config, folder, resume, progress)


def _pretrain(
    cohort: Cohort, config: LdaeRecipe, folder: Path, resume: bool, progress: ProgressMaker | None
) -> Pretrained:
    from medfm.workflows.pretrain import Pretrained, trained_id

    card = _card(config, cohort)
    before = _stage_before(config, card)
    given = given_networks(config, card)
    fabric = launched(config)
    shown: ProgressMaker = progress if progress is not None and fabric.is_global_zero else Silent
    data = _data(cohort, config, card, shown)
    make_folder(folder)
    if fabric.is_global_zero and not resume:
        write_text(folder / "config.yaml", config.to_yaml())
    first_sums = {name: sha256_tensors(module.state_dict()) for name, module in given.items()}
    trained, latents, scale, key = Trained(), None, None, None
    if isinstance(config, AutoencoderRecipe):
        trained.autoencoder = given.get("autoencoder") or build_part(card, "autoencoder", config.seed)
        stage: Any = AutoencoderStage(
            trained.autoencoder, config, data.volumes, data.train, data.validation, _back(data)
        )
    else:
        assert before is not None
        trained.autoencoder, sha256 = _part(before, "autoencoder")
        key = latents_key(sha256, data.volumes.preprocess.digest, [ref.content_key() for ref in data.volumes.refs])
        latents = _latents(trained.autoencoder, data, (folder, before.folder), key, fabric, shown)
        scale = generator_of(before).latent_scale
        stage = _diffusion_stage(trained, given, config, before, card, latents, scale, data)
    identity = {
        "recipe": config.procedure(),
        "cohort": data.cohort.digest(),
        "records": len(data.train),
        "content": data.volumes.digest(),
        "start": None if before is None else _sums(before),
    }
    if given:
        identity["first_weights"] = first_sums
    first, epoch = train_stage(
        stage, folder, config=config, identity=identity, fabric=fabric, resume=resume, progress=shown
    )
    if isinstance(config, AutoencoderRecipe):
        # Kept beside the networks, so that the next stages need no volume for them.
        assert trained.autoencoder is not None
        sums = [ref.content_key() for ref in data.volumes.refs]
        key = latents_key(sha256_tensors(trained.autoencoder.state_dict()), data.volumes.preprocess.digest, sums)
        latents = compute_together(folder, key, trained.autoencoder, data.volumes, _back(data), fabric, shown)
        scale = config.latent_scale or latents.scale(data.train)
    rows = read_log(folder / "log.jsonl")
    result = Pretrained.of(
        rows,
        folder=folder,
        encoder_id=trained_id(config, cohort),
        pictures=len(data.train),
        resumed_from=first,
        failures=data.volumes.failures,
        is_main=fabric.is_global_zero,
        what="volumes",
        notes=(f"epoch {epoch} is kept",),
    )
    if not fabric.is_global_zero:
        return result
    assert scale is not None
    draw_curves(folder / "loss.png", rows, f"{config.name} on {cohort.name}", kept=epoch)
    write_stage(result, trained, card, config, data.cohort, scale, epoch, rows)
    return result


def _card(config: LdaeRecipe, cohort: Cohort) -> Card:
    card = get_card(config.encoder)
    generator_of(card)
    if cohort.modality != card.modality:
        raise ConfigError(
            f"The encoder '{card.id}' takes {card.modality} records; the cohort holds {cohort.modality}.",
            where=f"recipe {config.name}: encoder",
            fix=f"say --modality {card.modality} if the table holds those",
        )
    return card


def _stage_before(config: LdaeRecipe, card: Card) -> Card | None:
    """The card in the folder of the stage before, with all that this stage needs; ``None`` for the first stage."""
    stage = str(getattr(config, "stage", ""))
    if stage not in _BEFORE:
        if config.start is not None:
            raise ConfigError(
                "The stage 'autoencoder' starts from nothing.",
                where=f"recipe {config.name}: start",
                fix="to fine-tune a trained autoencoder: --set first_weights=FOLDER or FILE",
            )
        return None
    wanted = _BEFORE[stage]
    if config.start is None:
        raise TrainingError(
            f"The stage '{stage}' starts from the stage '{wanted}', and no folder of it is named.",
            fix=f"--set start=FOLDER, the --out of the run of the stage '{wanted}'",
        )
    file = Path(config.start) / CARD_FILE
    if not file.is_file():
        raise TrainingError(
            f"There is no finished stage '{wanted}' in this folder.",
            where=str(config.start),
            expected=f"{CARD_FILE} and the files beside it, as medfm pretrain writes them at the end of a run",
            fix=f"finish the run of the stage '{wanted}' (--resume), or name its --out with --set start=FOLDER",
        )
    before = read_card(file)
    needed: list[PartName] = ["autoencoder"]
    if isinstance(config, SemanticRecipe) and config.prior == "required":
        needed.append("prior")
    for part in needed:
        try:
            find_part(before, part)
        except MedfmError as error:
            raise TrainingError(
                f"The network '{part}' is missing in the folder to start from.",
                where=str(config.start),
                expected=f"{part}.safetensors, of the stage '{'latent' if part == 'prior' else part}'",
                fix=f"--set start=FOLDER of the stage '{wanted}'",
            ) from error
        if part_args(before, part) != part_args(card, part):
            raise ConfigError(
                f"The {part} to start from has other sizes than that of '{card.id}'.",
                where=str(config.start),
                fix=f"train all stages with recipes of one encoder: {config.encoder}",
            )
    if "prior" in needed or (Path(config.start) / "prior.safetensors").is_file():
        check_same_diffusion(generator_of(before), generator_of(card), config.start)
    same = generator_of(before).latent_shape == generator_of(card).latent_shape
    if not same or before.spec.preprocessing != card.spec.preprocessing:
        raise ConfigError(f"The stage before took volumes of another form than '{card.id}'.", where=str(config.start))
    return before


def _data(cohort: Cohort, config: LdaeRecipe, card: Card, progress: ProgressMaker) -> _Data:
    """Training and validation records, read as far as the memory that is allowed goes."""
    from medfm.workflows.pretrain import training_records

    train = training_records(cohort, config)
    held_out = cohort.of_split("val") if config.split != "all" else cohort.subset(slice(0, 0))
    ids = {*train.record_ids, *held_out.record_ids}
    splits = ["train", "val"] if config.split != "all" else None
    rows = np.flatnonzero(cohort.table["record_id"].astype(str).isin(ids))
    used = cohort.subset(rows)
    preprocess = Preprocessing(card.spec.preprocessing)
    volumes = load_record_tensors(used, preprocess, config.machine.memory_mb, progress)
    for record, reason in volumes.failures:
        logger.warning("record %s was left out: %s", record, reason)
    split = used.table["split"].tolist()
    is_train = [splits is None or split[row] == "train" for row in volumes.rows]
    return _Data(
        used,
        volumes,
        [i for i, yes in enumerate(is_train) if yes],
        [i for i, yes in enumerate(is_train) if not yes],
    )


def _back(data: _Data) -> tuple[int, ...]:
    steps: Any = data.volumes.preprocess.steps
    return (0, 1, *(axis + 2 for axis in axes_back(VolumeSteps(steps).plane)))


def _part(card: Card, name: PartName) -> tuple[Any, str]:
    """A network of the stage before, and the SHA-256 of its tensors (equal tensors can be stored as other bytes)."""
    module = load_part(card, name, find_part(card, name).path)[0]
    return module, sha256_tensors(module.state_dict())


def _sums(card: Card) -> dict[str, str]:
    """What decides the start of this stage: the networks that are there."""
    names: tuple[PartName, ...] = ("autoencoder", "prior")
    return {name: _part(card, name)[1] for name in names if (card.folder / f"{name}.safetensors").is_file()}


def _latents(
    autoencoder: Any,
    data: _Data,
    folders: tuple[Path, Path],
    key: str,
    fabric: Fabric,
    progress: ProgressMaker,
) -> Latents:
    """The latents kept by this run or the stage before; else computed and kept here."""
    found = read_latents(folders, key)
    if any_process(fabric, found is None) or found is None:
        found = compute_together(folders[0], key, autoencoder, data.volumes, _back(data), fabric, progress)
    if fabric.is_global_zero and not (folders[0] / "latents").is_dir():
        write_latents(folders[0], key, found)
    return found


def _diffusion_stage(
    trained: Trained,
    given: Mapping[str, Any],
    config: LdaeRecipe,
    before: Card,
    card: Card,
    latents: Latents,
    scale: float,
    data: _Data,
) -> DiffusionStage:
    """Stage 2 or 3 at its start."""
    generator = generator_of(card)
    schedule = make_schedule(generator.schedule, generator.timesteps)
    drawn = getattr(config, "latents", "mean") == "drawn_once"
    scaled = (latents.drawn_once(config.seed) if drawn else latents.mean) * scale
    if isinstance(config, LatentRecipe):
        unet: Any = given.get("prior") or build_part(card, "prior", config.seed)
        trained.prior = unet
        loss = NoiseLoss(unet, schedule, config.clean_weight, generator.prediction)
        return DiffusionStage(loss, config, scaled, None, data.train, data.validation)
    assert isinstance(config, SemanticRecipe)
    encoder = given.get("encoder") or build_network(card, config.seed)
    denoiser = given.get("denoiser") or build_part(card, "denoiser", config.seed + 1)
    assert isinstance(encoder, SemanticEncoder) and isinstance(denoiser, ShiftUNet)
    encoder.train()
    denoiser.train()
    if config.slice_weights is not None:
        start_from_pictures(encoder, check_state(load_checkpoint(config.slice_weights), config.slice_weights))
    if (before.folder / "prior.safetensors").is_file() or config.prior == "required":
        prior, _ = _part(before, "prior")
        assert isinstance(prior, UNet)
        trained.prior = prior
        denoiser.start_from(prior)
    else:
        logger.warning("no denoiser of stage 2: the frozen half has random weights (prior: random_if_missing)")
        denoiser.freeze()
    trained.encoder, trained.denoiser = encoder, denoiser
    return DiffusionStage(
        ShiftLoss(encoder, denoiser, schedule, config.clean_weight, generator.prediction),
        config,
        scaled,
        data.volumes,
        data.train,
        data.validation,
        _sample_judge(trained.autoencoder, config, schedule, scale, generator),
    )


def _sample_judge(
    autoencoder: Any, config: SemanticRecipe, schedule: Schedule, scale: float, generator: Generator
) -> SampleJudge | None:
    if config.selection != "validation_ssim":
        return None
    rule = config.samples
    return SampleJudge(autoencoder, schedule, scale, generator.clip, rule.steps, rule.window, generator.prediction)
