"""Fine-tuning of LDAE: networks that a stage begins with, from folders and files, and clear words where they do not fit."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import save_file
from tiny_ldae import shaken, tiny_card

from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import synthesize
from medfm.core.errors import CardError, ConfigError, TrainingError, WeightsError
from medfm.encoders.ldae.load import build_part
from medfm.encoders.published import build as build_network
from medfm.training.log import read_log
from medfm.workflows.latent_diffusion import load_system
from medfm.workflows.pretrain import load_recipe, pretrain
from medfm.workflows.pretrain_ldae_start import given_networks

STEPS = [
    {"step": "volume_spacing", "mm": 10.0},
    {"step": "volume_size", "size": [16, 16, 8]},
    {"step": "volume_scale"},
    {"step": "slice_first"},
]
OWN = {"autoencoder": ["autoencoder"], "latent": ["prior"], "semantic": ["encoder", "denoiser"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("start")
    tiny_card(place, preprocessing=STEPS)
    return place


@pytest.fixture(scope="module")
def cohort(folder):
    return load_cohort(synthesize("brain_mri", folder / "brains", records=30).table)


def recipe(folder, stage, **values):
    base = {"encoder": str(folder / "card.md"), "epochs": 1, "batch_size": 4, "machine": {"threads": 1}}
    return load_recipe(f"ldae-tiny-{stage}", base | values)


@pytest.fixture(scope="module")
def chain(folder, cohort):
    before = None
    for stage in OWN:
        pretrain(cohort, recipe(folder, stage, start=before), folder / stage)
        before = str(folder / stage)
    return folder


def card_of(folder):
    from medfm.encoders.registry import get_card

    return get_card(str(folder / "card.md"))


def equal(one, other) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return set(first) == set(second) and all(torch.equal(first[key], second[key]) for key in first)


def test_nothing_is_given_by_default(folder):
    assert given_networks(recipe(folder, "latent"), card_of(folder)) == {}


@pytest.mark.parametrize("stage", OWN)
def test_a_folder_gives_the_networks_of_its_stage(chain, stage):
    for source in [stage] if stage == "semantic" else [stage, "semantic"]:
        found = given_networks(recipe(chain, stage, first_weights=str(chain / source)), card_of(chain))
        assert list(found) == OWN[stage]
        assert all(module.training and all(p.requires_grad for p in module.parameters()) for module in found.values())
    system = load_system(chain / "semantic")
    if stage == "autoencoder":
        assert equal(found["autoencoder"], system.autoencoder)
    if stage == "semantic":
        assert equal(found["denoiser"], system.denoiser) and equal(found["encoder"], system.encoder.module)


def test_files_in_published_layouts(folder, tmp_path):
    card = card_of(folder)
    autoencoder = shaken(build_part(card, "autoencoder", 0))
    state = autoencoder.state_dict()
    torch.save(state, tmp_path / "bare.pth")
    torch.save({"state_dict": {f"vae.{k}": v for k, v in state.items()}}, tmp_path / "lightning.ckpt")
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "bare.safetensors")
    for name in ("bare.pth", "lightning.ckpt", "bare.safetensors"):
        found = given_networks(recipe(folder, "autoencoder", first_weights=str(tmp_path / name)), card)
        assert equal(found["autoencoder"], autoencoder)
    encoder, denoiser = shaken(build_network(card, 0)), shaken(build_part(card, "denoiser", 0))
    both = {f"ema_encoder.{k}": v for k, v in encoder.state_dict().items()}
    both |= {f"ema_decoder.{k}": v for k, v in denoiser.state_dict().items()}
    torch.save({"state_dict": both}, tmp_path / "both.ckpt")
    found = given_networks(recipe(folder, "semantic", first_weights=str(tmp_path / "both.ckpt")), card)
    assert equal(found["encoder"], encoder) and equal(found["denoiser"], denoiser)


def test_files_that_do_not_fit(folder, tmp_path):
    card = card_of(folder)
    prior = shaken(build_part(card, "prior", 0)).state_dict()
    torch.save(prior, tmp_path / "prior.pth")
    with pytest.raises(WeightsError, match="does not fit the autoencoder"):
        given_networks(recipe(folder, "autoencoder", first_weights=str(tmp_path / "prior.pth")), card)
    broken = dict(prior)
    broken["out.2.bias"] = torch.full_like(broken["out.2.bias"], float("nan"))
    torch.save(broken, tmp_path / "nan.pth")
    with pytest.raises(WeightsError):
        given_networks(recipe(folder, "latent", first_weights=str(tmp_path / "nan.pth")), card)
    (tmp_path / "cut.pth").write_bytes((tmp_path / "prior.pth").read_bytes()[:500])
    with pytest.raises(WeightsError):
        given_networks(recipe(folder, "latent", first_weights=str(tmp_path / "cut.pth")), card)


def test_places_without_networks(chain, tmp_path):
    card = card_of(chain)
    with pytest.raises(TrainingError, match="nothing to begin with"):
        given_networks(recipe(chain, "latent", first_weights=str(tmp_path / "none")), card)
    with pytest.raises(TrainingError, match="no trained networks"):
        given_networks(recipe(chain, "latent", first_weights=str(tmp_path)), card)
    with pytest.raises(TrainingError, match="'prior' to begin with is not in this folder"):
        given_networks(recipe(chain, "latent", first_weights=str(chain / "autoencoder")), card)
    damaged = shutil.copytree(chain / "autoencoder", tmp_path / "damaged")
    (damaged / "autoencoder.safetensors").write_bytes(b"no")
    with pytest.raises(TrainingError, match="damaged"):
        given_networks(recipe(chain, "autoencoder", first_weights=str(damaged)), card)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "card.md").write_text((chain / "card.md").read_text().replace("generator:", "x_generator:"))
    with pytest.raises((CardError, ConfigError)):
        given_networks(recipe(chain, "latent", first_weights=str(tmp_path / "other")), card)


def test_other_sizes(chain, tmp_path):
    sizes = {"autoencoder": {"args": {"channels": [4, 8], "latent_channels": 2, "blocks": 1, "groups": 4}}}
    other = tiny_card(tmp_path, preprocessing=STEPS, id="other", generator=sizes)
    with pytest.raises(ConfigError, match="autoencoder to begin with has other sizes"):
        given_networks(recipe(tmp_path, "autoencoder", first_weights=str(chain / "autoencoder")), other)
    args = {"slices": 8, "depths": [2, 2], "widths": [8, 32], "heads": 4}
    other = tiny_card(tmp_path, preprocessing=STEPS, id="other", architecture={"family": "ldae", "args": args})
    with pytest.raises(ConfigError, match="encoder to begin with has other sizes"):
        given_networks(recipe(tmp_path, "semantic", first_weights=str(chain / "semantic")), other)
    other = tiny_card(tmp_path, preprocessing=STEPS, id="other", generator={"prediction": "velocity"})
    with pytest.raises(ConfigError, match="another diffusion"):
        given_networks(recipe(tmp_path, "semantic", first_weights=str(chain / "semantic")), other)
    assert set(given_networks(recipe(tmp_path, "autoencoder", first_weights=str(chain / "autoencoder")), other))


def test_fine_tuning_goes_on_where_training_ended(chain, cohort, tmp_path):
    own = read_log(chain / "autoencoder" / "log.jsonl")
    config = recipe(chain, "autoencoder", first_weights=str(chain / "autoencoder"), optimisation={"lr": 1e-12})
    result = pretrain(cohort, config, tmp_path / "again")
    rows = read_log(tmp_path / "again" / "log.jsonl")
    # Nothing moves at this rate: the error is that of the weights given, far below that of the first step.
    assert rows[-1]["val_mse"] == pytest.approx(own[-1]["val_mse"], rel=1e-3) and rows[0]["l2"] < own[0]["l2"]
    text = (tmp_path / "again" / "card.md").read_text()
    assert "fine-tuning" in text and result.last_loss < 1
    with pytest.raises(TrainingError, match=r"first_weights\.autoencoder"):
        changed = recipe(chain, "autoencoder", first_weights=str(tmp_path / "again"), optimisation={"lr": 1e-12})
        shutil.copytree(tmp_path / "again", tmp_path / "run")
        with torch.no_grad():
            module = build_part(card_of(chain), "autoencoder", 9)
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        save_file(state, tmp_path / "other.safetensors")
        changed = changed.model_copy(update={"first_weights": str(tmp_path / "other.safetensors")})
        pretrain(cohort, changed, tmp_path / "run", resume=True)


def test_the_epoch_is_chosen_by_samples(chain, cohort, tmp_path):
    config = recipe(
        chain,
        "semantic",
        start=str(chain / "latent"),
        first_weights=str(chain / "semantic"),
        selection="validation_ssim",
        samples={"steps": 3, "window": 3},
    )
    pretrain(cohort, config, tmp_path / "run")
    row = [row for row in read_log(tmp_path / "run" / "log.jsonl") if "val_ssim" in row][-1]
    assert row["val_total"] == pytest.approx(1 - row["val_ssim"]) and -1 <= row["val_ssim"] <= 1
    assert row["val_loss"] > 0 and "validation_ssim" in (tmp_path / "run" / "card.md").read_text()
