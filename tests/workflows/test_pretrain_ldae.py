"""The whole chain on tiny networks: folders that load, resuming, cached latents, and clear refusals."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from tiny_ldae import tiny_card

import medfm.workflows.pretrain_ldae as workflow
from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import synthesize
from medfm.core.errors import CardError, ConfigError, MedfmError, TrainingError, WeightsError
from medfm.encoders.load import load_encoder
from medfm.training.ldae_autoencoder import AutoencoderStage
from medfm.training.ldae_diffusion import DiffusionStage
from medfm.training.log import read_log
from medfm.workflows.latent_diffusion import load_system
from medfm.workflows.pretrain import load_recipe, pretrain

STEPS = [
    {"step": "volume_spacing", "mm": 10.0},
    {"step": "volume_size", "size": [16, 16, 8]},
    {"step": "volume_scale"},
    {"step": "slice_first"},
]
SHORT = {"epochs": 2, "judge_every": 1, "batch_size": 4, "machine": {"checkpoint_every": 2, "threads": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("chain")
    tiny_card(place, preprocessing=STEPS)
    return place


@pytest.fixture(scope="module")
def cohort(folder):
    return load_cohort(synthesize("brain_mri", folder / "brains", records=50).table)


def recipe(folder, stage, **values):
    small = {"discriminator": {"channels": 4, "layers": 1}} if stage == "autoencoder" else {}
    start = {"latent": folder / "ae", "semantic": folder / "latent"}.get(stage)
    changes = SHORT | small | {"encoder": str(folder / "card.md"), "start": str(start) if start else None} | values
    return load_recipe(f"ldae-tiny-{stage}", changes)


@pytest.fixture(scope="module")
def chain(folder, cohort):
    for stage, out in (("autoencoder", "ae"), ("latent", "latent"), ("semantic", "semantic")):
        pretrain(cohort, recipe(folder, stage), folder / out)
    return folder


def test_the_last_folder_is_an_encoder_and_a_system(chain, cohort):
    encoder = load_encoder(chain / "semantic")
    assert encoder.weights_kind == "trained here" or "trained" in encoder.weights_note
    system = load_system(chain / "semantic")
    batch = torch.stack([encoder.preprocess(cohort.read(i)) for i in range(2)])
    codes = system.encode(batch, steps=3)
    assert system.decode(codes, steps=3).shape == (2, 1, 16, 16, 8)
    assert system.generator.latent_scale == load_card_scale(chain / "ae") != 0.5
    text = (chain / "semantic" / "card.md").read_text()
    assert "synthetic" in text and "not the published LDAE weights" in text


def load_card_scale(folder) -> float:
    from medfm.encoders.card import read_card

    return read_card(folder / "card.md").spec.generator.latent_scale


def test_earlier_folders_have_no_encoder_yet(chain):
    for stage in ("ae", "latent"):
        with pytest.raises(WeightsError):
            load_encoder(chain / stage)
    system = load_system(chain / "ae", weights={"encoder": "random", "denoiser": "random"})
    assert system.autoencoder is not None


def test_what_a_stage_leaves(chain):
    for out, files in (
        ("ae", {"autoencoder"}),
        ("latent", {"autoencoder", "prior"}),
        ("semantic", {"autoencoder", "prior", "denoiser", "encoder"}),
    ):
        assert {file.stem for file in (chain / out).glob("*.safetensors")} == files
        for name in ("card.md", "config.yaml", "log.jsonl", "loss.png", "checkpoint/last.ckpt", "checkpoint/best.ckpt"):
            assert (chain / out / name).stat().st_size > 0
    rows = read_log(chain / "semantic" / "log.jsonl")
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert [row["epoch"] for row in rows if "val_total" in row] == [1, 2]


def test_the_frozen_half_is_stage_two(chain):
    prior, denoiser = (load_file(chain / "semantic" / f"{name}.safetensors") for name in ("prior", "denoiser"))
    assert all(torch.equal(denoiser[key], tensor) for key, tensor in prior.items())
    assert all(
        torch.equal(tensor, prior[key]) for key, tensor in load_file(chain / "latent" / "prior.safetensors").items()
    )


def test_later_stages_neither_encode_nor_decode(chain, cohort, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a volume went through the autoencoder")

    monkeypatch.setattr(workflow, "compute_together", refuse)
    pretrain(cohort, recipe(chain, "latent", epochs=3, judge_every=2), tmp_path / "latent")
    # Validation records are looked at in every second epoch and in the last.
    judged = [row["epoch"] for row in read_log(tmp_path / "latent" / "log.jsonl") if "val_total" in row]
    assert judged == [2, 3]
    pretrain(cohort, recipe(chain, "semantic", epochs=1), tmp_path / "semantic")
    # Another preprocessing or other records are other latents.
    with pytest.raises(AssertionError):
        pretrain(cohort.subset(slice(5, None)), recipe(chain, "latent", epochs=1), tmp_path / "other")


@pytest.mark.parametrize(
    ("stage", "kind", "out"), [("autoencoder", AutoencoderStage, "ae"), ("semantic", DiffusionStage, "semantic")]
)
@pytest.mark.parametrize("way", ["asked", "killed"])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(chain, cohort, tmp_path, monkeypatch, stage, kind, out, way):
    own = kind.step

    def stopping(self, fabric, batches, draw):
        if draw.step == 5:
            if way == "killed":
                raise RuntimeError("power cut")
            os.kill(os.getpid(), signal.SIGINT)
        return own(self, fabric, batches, draw)

    monkeypatch.setattr(kind, "step", stopping)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        pretrain(cohort, recipe(chain, stage), tmp_path / "run")
    assert not (tmp_path / "run" / "card.md").exists()
    monkeypatch.setattr(kind, "step", own)
    result = pretrain(cohort, recipe(chain, stage), tmp_path / "run", resume=True)
    assert result.resumed_from == (4 if way == "killed" else 6)
    for file in (chain / out).glob("*.safetensors"):
        first, second = load_file(file), load_file(tmp_path / "run" / file.name)
        assert all(torch.equal(second[key], tensor) for key, tensor in first.items())
    logs = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(place / "log.jsonl")]
        for place in (chain / out, tmp_path / "run")
    ]
    assert logs[0] == logs[1]


def test_resuming_another_run_is_refused(chain, cohort, tmp_path):
    shutil.copytree(chain / "latent", tmp_path / "run")
    with pytest.raises(TrainingError, match="another run") as error:
        pretrain(cohort, recipe(chain, "latent", seed=1), tmp_path / "run", resume=True)
    assert "recipe.seed: 0 there, 1 now" in str(error.value)
    # The stage before was trained again: another start.
    other = tmp_path / "ae"
    pretrain(cohort, recipe(chain, "autoencoder", seed=3, epochs=1), other)
    with pytest.raises(TrainingError, match=r"start\.autoencoder"):
        pretrain(cohort, recipe(chain, "latent", start=str(other)), tmp_path / "run", resume=True)


def test_a_missing_stage_before_is_an_error(chain, cohort, tmp_path):
    with pytest.raises(TrainingError, match="no folder of it is named"):
        pretrain(cohort, recipe(chain, "latent", start=None), tmp_path / "a")
    with pytest.raises(TrainingError, match="no finished stage 'autoencoder'"):
        pretrain(cohort, recipe(chain, "latent", start=str(tmp_path)), tmp_path / "b")
    # Stage 3 from the folder of stage 1: the denoiser of stage 2 is missing.
    with pytest.raises(TrainingError, match="'prior' is missing"):
        pretrain(cohort, recipe(chain, "semantic", start=str(chain / "ae")), tmp_path / "c")
    assert not (tmp_path / "c").exists()
    with pytest.raises(ConfigError, match="starts from nothing"):
        pretrain(cohort, recipe(chain, "autoencoder", start=str(chain / "ae")), tmp_path / "d")


def test_the_published_flaw_goes_on_without_and_says_so(chain, cohort, tmp_path):
    config = recipe(chain, "semantic", start=str(chain / "ae"), prior="random_if_missing", epochs=1)
    pretrain(cohort, config, tmp_path / "run")
    assert "RANDOM" in (tmp_path / "run" / "card.md").read_text()
    assert load_system(tmp_path / "run") is not None


def test_other_sizes_are_refused(chain, cohort, tmp_path):
    tiny_card(
        tmp_path,
        preprocessing=STEPS,
        id="other",
        generator={"autoencoder": {"args": {"channels": [4, 8], "latent_channels": 2, "blocks": 1, "groups": 4}}},
    )
    with pytest.raises(ConfigError, match="other sizes"):
        pretrain(cohort, recipe(chain, "latent", encoder=str(tmp_path / "card.md")), tmp_path / "run")


def test_a_denoiser_of_another_diffusion_is_refused(chain, cohort, tmp_path):
    tiny_card(tmp_path, preprocessing=STEPS, id="other", generator={"prediction": "velocity"})
    for change in ({}, {"prior": "random_if_missing"}):
        config = recipe(chain, "semantic", encoder=str(tmp_path / "card.md"), **change)
        with pytest.raises(ConfigError, match="another diffusion: prediction epsilon"):
            pretrain(cohort, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_selection_needs_validation_records(chain, cohort, tmp_path):
    train = cohort.where(lambda table: table["split"] != "val")
    with pytest.raises(TrainingError, match="split 'val'"):
        pretrain(train, recipe(chain, "autoencoder"), tmp_path / "a")
    result = pretrain(train, recipe(chain, "autoencoder", selection="last", epochs=1), tmp_path / "b")
    assert "epoch 1 is kept" in result.notes


def test_patience_ends_a_run(chain, cohort, tmp_path):
    # Nothing is learnt at this rate, so no epoch is better than the first.
    config = recipe(chain, "latent", epochs=6, patience=2, average={"decay": 1.0, "ramp": False})
    result = pretrain(cohort, config, tmp_path / "run")
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["epoch"] == 3 and "epoch 1 is kept" in result.notes


def test_too_few_records_and_another_modality(chain, cohort, tmp_path):
    with pytest.raises(TrainingError, match="a step needs 400"):
        pretrain(cohort, recipe(chain, "autoencoder", batch_size=400), tmp_path / "a")
    with pytest.raises(CardError, match="has no generator"):
        pretrain(cohort, recipe(chain, "autoencoder", encoder="dinov2-tiny"), tmp_path / "b")
    other = dataclasses.replace(cohort, modality="retina")
    with pytest.raises(ConfigError, match="takes brain_mri records; the cohort holds retina"):
        pretrain(other, recipe(chain, "autoencoder"), tmp_path / "c")


def test_float16_needs_cuda(chain, cohort, tmp_path):
    with pytest.raises(MedfmError, match="needs a CUDA device"):
        pretrain(cohort, recipe(chain, "latent", precision="16-mixed"), tmp_path / "a")


@pytest.mark.parametrize("stage", ["autoencoder", "latent", "semantic"])
def test_bf16_and_checkpointing_run(chain, cohort, tmp_path, stage):
    config = recipe(chain, stage, precision="bf16-mixed", checkpointing=True, epochs=1, accumulate=2)
    result = pretrain(cohort, config, tmp_path / "run")
    assert result.last_loss < 100 and (tmp_path / "run" / "card.md").is_file()
