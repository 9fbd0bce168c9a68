"""Order, batches and random numbers of LDAE's stages, and one step of each against arithmetic done here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from tiny_ldae import VOLUME, scan, shaken, tiny_card

from medfm.core.config import build
from medfm.core.errors import StoreError, TrainingError
from medfm.encoders.ldae.load import build_part
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_volume import axes_back
from medfm.encoders.published import build as build_network
from medfm.modalities.record import RecordRef
from medfm.objectives.diffusion import add_noise, make_schedule
from medfm.training.ldae_autoencoder import AutoencoderStage
from medfm.training.ldae_config import AutoencoderRecipe, LatentRecipe, SemanticRecipe
from medfm.training.ldae_diffusion import DiffusionStage, NoiseLoss, ShiftLoss
from medfm.training.ldae_latents import Latents, compute_latents, latents_key, read_latents, write_latents
from medfm.training.ldae_stage import Draw, epoch_order, positions_of, steps_per_epoch
from medfm.training.record_tensors import RecordTensors

BACK = (0, 1, *(axis + 2 for axis in axes_back("axial")))
SCHEDULE = make_schedule()


def recipe(kind=LatentRecipe, **values):
    stage = {AutoencoderRecipe: "autoencoder", LatentRecipe: "latent", SemanticRecipe: "semantic"}[kind]
    return build(kind, {"name": "t", "stage": stage, "epochs": 2, "batch_size": 2, **values}, where="test")


@pytest.fixture
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


@pytest.fixture
def card(tmp_path):
    return tiny_card(tmp_path)


def records(card, count=6) -> RecordTensors:
    steps = Preprocessing(card.spec.preprocessing)
    held = torch.stack([steps(scan(seed)) for seed in range(count)])
    refs = tuple(RecordRef(f"s{i}", card.path) for i in range(count))
    return RecordTensors(refs, "brain_mri", steps, held, tuple(range(count)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5))
def test_every_record_at_most_once_an_epoch(count, batch, accumulate, world, epoch):
    config = recipe(batch_size=batch, accumulate=accumulate)
    per_epoch = steps_per_epoch(count, config, world)
    taken = [
        position
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)
        for rank in range(world)
        for part in positions_of(step, count, config, rank, world)
        for position in part
    ]
    assert len(taken) == len(set(taken)) == per_epoch * batch * accumulate * world
    assert count - len(taken) < batch * accumulate * world
    assert taken == epoch_order(count, config.seed, epoch)[: len(taken)] or world > 1


def test_two_processes_together_take_what_one_takes_with_twice_the_batch():
    one, two = recipe(batch_size=4), recipe(batch_size=2)
    for step in range(4):
        whole = positions_of(step, 17, one, 0, 1)[0]
        assert whole == [p for rank in range(2) for p in positions_of(step, 17, two, rank, 2)[0]]


def test_draws_depend_on_all_that_they_name():
    base = torch.randn(4, generator=Draw(0, 1, 0).generator())
    assert torch.equal(base, torch.randn(4, generator=Draw(0, 1, 0).generator()))
    for other in (
        Draw(1, 1, 0).generator(),
        Draw(0, 2, 0).generator(),
        Draw(0, 1, 1).generator(),
        Draw(0, 1, 0).generator("x"),
    ):
        assert not torch.equal(base, torch.randn(4, generator=other))


def autoencoder_stage(card, **values) -> AutoencoderStage:
    config = recipe(AutoencoderRecipe, discriminator={"channels": 4, "layers": 1}, **values)
    return AutoencoderStage(build_part(card, "autoencoder", 0), config, records(card), [0, 1, 2, 3], [4, 5], BACK)


def test_the_discriminator_learns_from_its_own_loss_alone(card, fabric, monkeypatch):
    """With the published flaw the gradient of the autoencoder's term is added to it."""
    seen = {}
    for rule in ("own_loss", "both_losses"):
        stage = autoencoder_stage(card, adversarial=1.0, optimisation={"clip": 0.0})
        stage.config = stage.config.model_copy(
            update={"discriminator": stage.config.discriminator.model_copy(update={"learns_from": rule})}
        )
        stage.setup(fabric)
        terms = stage.step(fabric, [[0, 1]], Draw(0, 0, 0))
        seen[rule] = (float(terms["grad_discriminator"]), float(terms["grad_norm"]), float(terms["discriminator"]))
    assert seen["own_loss"][1:] == seen["both_losses"][1:]
    assert abs(seen["own_loss"][0] - seen["both_losses"][0]) > 1e-3 * seen["own_loss"][0]


def test_the_autoencoder_learns_and_is_judged_without_change(card, fabric):
    stage = autoencoder_stage(card, optimisation={"lr": 0.005}, adversarial=0.0)
    stage.setup(fabric)
    before = stage.judge()
    assert before == stage.judge() and before["val_total"] == before["val_l1"] != before["val_l1_drawn"]
    first = [float(stage.step(fabric, [[0, 1], [2, 3]], Draw(0, step, 0))["l1"]) for step in range(15)]
    assert first[-1] < 0.8 * first[0] and stage.judge()["val_l1"] < before["val_l1"]
    drawn = autoencoder_stage(card, selection="validation_l1_drawn")
    drawn.setup(fabric)
    assert drawn.judge()["val_total"] == drawn.judge()["val_l1_drawn"]


def test_volumes_are_in_the_axes_of_the_file(card, fabric):
    stage = autoencoder_stage(card)
    stage.setup(fabric)
    volume = stage._volumes([3, 2], [0])
    assert volume.shape == (1, 1, *VOLUME)
    assert torch.equal(volume[0, 0], stage.volumes[3][0].permute(1, 2, 0))


def latent_stage(card, **values) -> DiffusionStage:
    latents = torch.randn(6, 2, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    unet = shaken(build_part(card, "prior", 0))
    return DiffusionStage(NoiseLoss(unet, SCHEDULE), recipe(**values), latents, None, [0, 1, 2, 3], [4, 5])


def semantic_stage(card, **values) -> DiffusionStage:
    latents = torch.randn(6, 2, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    encoder, denoiser = build_network(card, 0).train(), shaken(build_part(card, "denoiser", 1)).freeze()
    config = recipe(SemanticRecipe, **values)
    loss = ShiftLoss(encoder, denoiser, SCHEDULE)
    return DiffusionStage(loss, config, latents, records(card), [0, 1, 2, 3], [4, 5])


def test_accumulated_batches_give_the_mean_loss_and_one_update(card, fabric):
    stage = latent_stage(card, average={"decay": 0.5})
    stage.setup(fabric)
    start = {k: v.clone() for k, v in stage.average.values.items()}
    draw = Draw(0, 0, 0)
    terms = stage.step(fabric, [[0, 1], [2, 3]], draw)
    stage.config = stage.config.model_copy(
        update={"average": stage.config.average.model_copy(update={"every": "batch"})}
    )
    name = "unet.out.2.weight"
    weight = dict(stage.loss.named_parameters())[name]
    torch.testing.assert_close(stage.average.values[name], 0.5 * start[name] + 0.5 * weight.detach())
    held = stage.average.values[name].clone()
    stage.step(fabric, [[0, 1], [2, 3]], Draw(0, 1, 0))
    torch.testing.assert_close(stage.average.values[name], 0.25 * held + 0.75 * weight.detach())
    # The loss by hand, from the same random numbers and the first weights.
    fresh, generator, values = latent_stage(card), draw.generator(), []
    fresh.loss.train()
    torch.manual_seed(0)
    for rows in ([0, 1], [2, 3]):
        t = torch.randint(0, 1000, (2,), generator=generator)
        noise = torch.randn(2, 2, 8, 8, 4, generator=generator)
        fresh.loss.eval()
        predicted = fresh.loss.unet(add_noise(SCHEDULE, fresh.latents[rows], t, noise), t)
        values.append(float((predicted - noise).detach().square().mean()))
    # Dropout is active in the step and not here.
    assert float(terms["total"]) == pytest.approx(np.mean(values), rel=0.3)


def test_the_frozen_half_stays_and_the_rest_learns(card, fabric):
    stage = semantic_stage(card, optimisation={"lr": 0.01})
    stage.setup(fabric)
    before = {name: p.detach().clone() for name, p in stage.loss.named_parameters()}
    for step in range(3):
        stage.step(fabric, [[0, 1]], Draw(0, step, 0))
    changed = {name for name, p in stage.loss.named_parameters() if not torch.equal(p, before[name])}
    assert not any(
        name.startswith("denoiser.") and not name.startswith(("denoiser.shift_", "denoiser.label_emb"))
        for name in changed
    )
    assert any(name.startswith("encoder.backbone") for name in changed)
    assert any(name.startswith("denoiser.shift_out") for name in changed)
    assert set(stage.average.values) == {name for name, p in stage.loss.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("make", [latent_stage, semantic_stage])
def test_judging_uses_the_average_and_changes_nothing(card, fabric, make):
    stage = make(card, average={"decay": 1.0}, optimisation={"lr": 0.05})
    stage.setup(fabric)
    before = stage.judge()
    stage.step(fabric, [[0, 1]], Draw(0, 0, 0))
    # With decay 1 the average never moves: the judgement stays although the weights moved.
    assert stage.judge() == before
    stage.load_kept(stage.kept())
    assert stage.judge() == before


@pytest.mark.parametrize("make", [latent_stage, semantic_stage])
def test_checkpointing_changes_memory_and_not_the_gradient(card, fabric, make):
    norms = []
    for on in (False, True):
        stage = make(card, checkpointing=on)
        stage.setup(fabric)
        torch.manual_seed(5)
        norms.append(float(stage.step(fabric, [[0, 1]], Draw(0, 0, 0))["grad_norm"]))
        assert stage.loss.get_submodule("unet" if make is latent_stage else "encoder").checkpointing is on
    # Stochastic depth and dropout draw per piece, so only without them are the numbers the same.
    assert norms[0] == pytest.approx(norms[1], rel=0.5)


def test_latents_are_kept_and_found_again(card, tmp_path):
    autoencoder, volumes = shaken(build_part(card, "autoencoder", 0)), records(card)
    found = compute_latents(autoencoder, volumes, BACK, torch.device("cpu"))
    with torch.inference_mode():
        mean, sigma = autoencoder.encode(volumes.held[2:3].permute(BACK).contiguous())
    torch.testing.assert_close(found.mean[2], mean[0])
    torch.testing.assert_close(found.sigma[2], sigma[0])
    key = latents_key("a" * 64, volumes.preprocess.digest, ["x", "y"])
    assert key != latents_key("a" * 64, volumes.preprocess.digest, ["y", "x"])
    assert read_latents([tmp_path], key) is None
    file = write_latents(tmp_path / "later", key, found)
    again = read_latents([tmp_path, tmp_path / "later"], key)
    assert torch.equal(again.mean, found.mean) and torch.equal(again.sigma, found.sigma) and len(again) == 6
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StoreError, match="damaged"):
        read_latents([tmp_path / "later"], key)


def test_scale_and_draws_of_latents():
    generator = torch.Generator().manual_seed(0)
    latents = Latents(4 * torch.randn(5, 2, 4, 4, 4, generator=generator), torch.full((5, 2, 4, 4, 4), 0.5))
    rows = [0, 2, 3]
    assert float((latents.mean[rows] * latents.scale(rows)).std(correction=0)) == pytest.approx(1, abs=1e-5)
    drawn = latents.drawn_once(1)
    assert torch.equal(drawn, latents.drawn_once(1)) and not torch.equal(drawn, latents.drawn_once(2))
    assert float((drawn - latents.mean).std()) == pytest.approx(0.5, abs=0.08)
    with pytest.raises(TrainingError, match="not learnt anything"):
        Latents(torch.ones(2, 1, 2, 2, 2), torch.ones(2, 1, 2, 2, 2)).scale([0, 1])
