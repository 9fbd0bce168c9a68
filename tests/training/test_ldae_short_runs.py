"""What short runs of LDAE need: rates that rise and fall, averages that forget, quiet first latents, square errors."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_ldae import AUTOENCODER, DENOISER, ENCODER
from torch import nn

from medfm.core.config import build
from medfm.core.errors import ConfigError, TrainingError
from medfm.encoders.ldae.autoencoder import build_autoencoder, encode
from medfm.encoders.ldae.semantic import build_ldae, settle_codes
from medfm.encoders.ldae.unet import build_shift_unet
from medfm.objectives.compression import CompressionWeights, compression_losses
from medfm.objectives.diffusion import (
    add_noise,
    clean_from_noise,
    clean_weight,
    make_schedule,
    noise_error,
    noise_loss,
    shifted_error,
    shifted_loss,
)
from medfm.training.ldae_autoencoder import begin_with_sigma
from medfm.training.ldae_config import (
    AutoencoderRecipe,
    Averaging,
    LatentRecipe,
    LdaeOptimisation,
    LdaeRecipe,
    SemanticRecipe,
)
from medfm.training.ldae_diffusion import DiffusionStage, NoiseLoss, ShiftLoss, draw_shares
from medfm.training.ldae_stage import adam, set_rate
from medfm.training.weight_average import WeightAverage
from medfm.workflows.pretrain import load_recipe


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(0, 100), st.sampled_from(["none", "cosine"]))
def test_the_rate_rises_and_falls(steps, warm_up, decay):
    rule = LdaeOptimisation(warm_up=warm_up, decay=decay)
    factors = [rule.factor(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[0] == pytest.approx(1 / (warm_up + 1))
    after = factors[warm_up:]
    if decay == "none":
        assert after == [1.0] * len(after)
    else:
        assert all(one > other for one, other in pairwise(after))
        if warm_up < steps:
            expected = 0.5 * (1 + math.cos(math.pi * (steps - 1) / steps))
            assert factors[-1] == pytest.approx(expected * min(1, steps / (warm_up + 1)))


def test_published_recipes_keep_one_rate():
    for stage in ("autoencoder", "latent", "semantic"):
        for name in (f"ldae-{stage}", f"ldae-{stage}-published"):
            config = load_recipe(name)
            assert [config.optimisation.factor(step, 100) for step in (0, 50, 99)] == [1.0] * 3
            assert config.first_weights is None
            if stage == "autoencoder":
                assert (config.l1, config.l2, config.first_sigma) == (1.0, 0.0, None)
            else:
                assert not config.average.ramp and config.average.at(0) == config.average.decay


def test_the_full_rate_is_kept_in_the_optimiser():
    layer = nn.Linear(2, 2)
    config = build(LdaeRecipe, {"name": "t", "epochs": 1, "batch_size": 1, "optimisation": {"lr": 0.01}}, where="test")
    first, second = adam(layer.parameters(), config), adam(layer.parameters(), config, 0.5)
    set_rate([first, second], 0.5)
    set_rate([first, second], 0.1)
    assert first.param_groups[0]["lr"] == pytest.approx(0.001) and second.param_groups[0]["lr"] == pytest.approx(0.05)
    again = adam(layer.parameters(), config)
    again.load_state_dict(first.state_dict())
    set_rate([again], 1.0)
    assert again.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_ramp_forgets_the_first_weights():
    rule = Averaging(decay=0.99, ramp=True)
    decays = [rule.at(step) for step in range(2000)]
    assert decays == sorted(decays) and decays[0] == pytest.approx(0.1) and decays[-1] == 0.99
    left = {}
    for ramp in (True, False):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 1.0)
        average = WeightAverage(layer, 0.99)
        nn.init.constant_(layer.weight, 0.0)
        for step in range(60):
            average.update(layer, 1, Averaging(decay=0.99, ramp=ramp).at(step))
        left[ramp] = float(average.values["weight"])
    assert left[False] == pytest.approx(0.99**60, rel=1e-4) and left[True] < 1e-6


def test_an_update_with_another_decay():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    average = WeightAverage(layer, 0.9)
    nn.init.constant_(layer.weight, 4.0)
    average.update(layer, 2, 0.5)
    assert float(average.values["weight"]) == pytest.approx(4 - 2 * 0.25)


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_first_latents_are_quiet(sigma):
    autoencoder = build_autoencoder(AUTOENCODER)
    volume = torch.rand(2, 1, 16, 16, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, before = encode(autoencoder, volume)
        begin_with_sigma(autoencoder, sigma)
        again, after = encode(autoencoder, volume)
    assert torch.equal(mean, again) and float(before.mean()) > 0.4
    assert float(after.mean()) == pytest.approx(sigma, rel=0.3)


def test_square_errors_can_be_weighted():
    random = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 1, 4, 4, 4, generator=random), torch.rand(2, 1, 4, 4, 4, generator=random)
    mean, sigma = torch.zeros(2, 1, 2, 2, 2), torch.ones(2, 1, 2, 2, 2)
    weights = CompressionWeights(kl=0.0, l1=0.25, l2=2.0)
    found = compression_losses(one, other, mean, sigma, weights=weights)
    square, absolute = float(((one - other) ** 2).mean()), float((one - other).abs().mean())
    assert float(found.l2) == pytest.approx(square) and float(found.total) == pytest.approx(
        0.25 * absolute + 2 * square
    )
    # As published: the absolute difference alone.
    assert float(compression_losses(one, other, mean, sigma).total) == pytest.approx(absolute)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (AutoencoderRecipe, {"first_sigma": 0.0}),
        (AutoencoderRecipe, {"l2": -1.0}),
        (AutoencoderRecipe, {"optimisation": {"decay": "linear"}}),
        (AutoencoderRecipe, {"optimisation": {"warm_up": -1}}),
        (SemanticRecipe, {"samples": {"steps": 1000}}),
        (SemanticRecipe, {"samples": {"window": 0}}),
    ],
)
def test_settings_out_of_range(kind, values):
    stage = "autoencoder" if kind is AutoencoderRecipe else "semantic"
    with pytest.raises(ConfigError):
        build(kind, {"name": "t", "stage": stage, "epochs": 1, "batch_size": 1, **values}, where="test")


BATCHED = ENCODER | {"code_norm": "batch"}


def a_few_volumes(count=12, seed=1):
    """Nearly the same everywhere, as brains are."""
    random = torch.Generator().manual_seed(seed)
    return torch.rand(1, 1, 8, 16, 16, generator=random) + 0.1 * torch.rand(count, 1, 8, 16, 16, generator=random)


def test_settled_codes_have_mean_0_and_deviation_1_in_any_batches():
    encoder, volumes = build_ldae(BATCHED, torch.Generator().manual_seed(0)), a_few_volumes()
    with torch.no_grad():
        assert float(encoder.eval()(volumes).std(dim=0).mean()) < 0.3
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    encoder.train()
    found = []
    for sizes in ((12,), (5, 7), (1, 11), (4, 4, 4)):
        settle_codes(encoder, volumes.split(list(sizes)))
        assert encoder.training
        with torch.no_grad():
            found.append(encoder.eval()(volumes))
        encoder.train()
    norm = encoder.layer_norm_after_attention
    # Codes of untrained encoders vary so little that the norm's epsilon counts.
    expected = (norm.running_var / (norm.running_var + norm.eps)).sqrt()
    torch.testing.assert_close(found[0].std(dim=0), expected, rtol=1e-3, atol=1e-4)
    assert float(expected.min()) > 0.1
    torch.testing.assert_close(found[0].mean(dim=0), torch.zeros(32), rtol=0, atol=1e-4)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-4)
    # Statistics and nothing that is trained.
    assert all(torch.equal(p, before[name]) for name, p in encoder.named_parameters())


def test_layer_normed_codes_have_nothing_to_settle():
    encoder = build_ldae(ENCODER, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    def never():
        raise AssertionError("no record needs to be read")
        yield

    settle_codes(encoder, never())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_codes_need_two_records_to_settle():
    encoder = build_ldae(BATCHED, torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="fewer than two records"):
        settle_codes(encoder, [a_few_volumes(1)])
    assert encoder.training and not encoder.layer_norm_after_attention._forward_pre_hooks


def test_published_tensors_keep_their_names_under_either_norm():
    layer, batch = (set(build_ldae(args, device="meta").state_dict()) for args in (ENCODER, BATCHED))
    assert layer < batch
    assert {name.rsplit(".", 1)[1] for name in batch - layer} == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_batch_of_one_record_cannot_be_normalised():
    encoder = build_ldae(BATCHED, torch.Generator().manual_seed(0))
    denoiser = build_shift_unet(DENOISER, torch.Generator().manual_seed(0))
    config = build(SemanticRecipe, {"name": "t", "stage": "semantic", "epochs": 1, "batch_size": 1}, where="test")
    loss = ShiftLoss(encoder, denoiser, make_schedule())
    with pytest.raises(TrainingError, match="a batch has one record") as error:
        DiffusionStage(loss, config, torch.zeros(2, 2, 4, 4, 4), None, [0], [1])
    assert "batch_size=2" in str(error.value)


def a_loss(seed=0):
    encoder = build_ldae(ENCODER, torch.Generator().manual_seed(seed)).eval()
    denoiser = build_shift_unet(DENOISER, torch.Generator().manual_seed(seed + 1)).eval()
    with torch.no_grad():
        # Its last layer begins with zeros: no code would count.
        for name, p in denoiser.named_parameters():
            if name.startswith("shift_out"):
                p.normal_(std=0.1, generator=torch.Generator().manual_seed(seed + 2))
    return ShiftLoss(encoder, denoiser, make_schedule()).eval()


def a_batch(count=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    shape = (count, DENOISER["latent_channels"], 4, 4, 4)
    latents, noise = (torch.randn(shape, generator=random) for _ in range(2))
    t = torch.tensor([100, 400, 700, 990])[:count]
    return latents, t, noise, a_few_volumes(count)


def test_mixtures_are_of_a_record_and_the_one_before_it():
    loss, (latents, t, noise, volumes) = a_loss(), a_batch()
    shares = torch.tensor([0.25, 1.0, 0.6, 0.0])
    with torch.no_grad():
        codes = loss.encoder(volumes)
        rows = [(i, (i - 1) % 4, float(shares[i])) for i in range(4)]
        z = torch.stack([s * latents[a] + (1 - s) * latents[b] for a, b, s in rows])
        y = torch.stack([s * codes[a] + (1 - s) * codes[b] for a, b, s in rows])
        assert float(loss(latents, t, noise, volumes, shares)) == pytest.approx(
            float(loss.of_codes(z, t, noise, y)), rel=1e-5
        )
        assert float(loss(latents, t, noise, volumes, torch.ones(4))) == float(loss(latents, t, noise, volumes))


def test_a_share_of_nothing_is_the_record_before():
    loss, (latents, t, noise, volumes) = a_loss(), a_batch()
    with torch.no_grad():
        mixed = loss(latents, t, noise, volumes, torch.zeros(4))
        turned = loss(latents.roll(1, 0), t, noise, volumes.roll(1, 0))
    assert float(mixed) == pytest.approx(float(turned), rel=1e-5)


def test_gradients_of_a_mixture_reach_both_records():
    loss, (latents, t, noise, volumes) = a_loss(), a_batch(2)
    for shares, reached in (([0.5, 1.0], [True, True]), ([1.0, 1.0], [True, True]), ([0.0, 1.0], [False, True])):
        given = volumes.clone().requires_grad_(True)
        loss(latents, t, noise, given, torch.tensor(shares)).backward()
        assert [bool((row != 0).any()) for row in given.grad] == reached


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 1000))
def test_shares_are_drawn_for_as_many_as_asked(count, mixed, seed):
    found = draw_shares(count, mixed, torch.Generator().manual_seed(seed))
    number = int(count * mixed)
    if number == 0 or count < 2:
        assert found is None
        return
    assert found is not None and found.shape == (count,) and float(found.min()) >= 0 and float(found.max()) <= 1
    assert bool((found[number:] == 1).all()) and bool((found[:number] < 1).all())
    again = draw_shares(count, mixed, torch.Generator().manual_seed(seed))
    assert again is not None and torch.equal(found, again)


@pytest.mark.parametrize("mixed", [-0.1, 1.1, math.nan])
def test_no_more_than_a_batch_can_be_mixed(mixed):
    with pytest.raises(ConfigError, match="mixed_codes"):
        build(
            SemanticRecipe,
            {"name": "t", "stage": "semantic", "epochs": 1, "batch_size": 2, "mixed_codes": mixed},
            where="test",
        )


def test_weights_of_the_clean_latent():
    schedule = make_schedule()
    t = torch.tensor([0, 100, 500, 999])
    abar = schedule.alphas_cumprod[t].double()
    expected = ((1 - abar) / abar).clamp(max=20.0)
    torch.testing.assert_close(clean_weight(schedule, t, 20.0).double(), expected, rtol=1e-4, atol=1e-6)
    assert float(clean_weight(schedule, t, 1e9)[3]) > 1e4


def test_weighted_noise_errors_are_errors_of_the_clean_latent():
    """Without a code, an error of the noise is one of the latent that it is taken for."""
    schedule, random = make_schedule(), torch.Generator().manual_seed(0)
    z0, noise, wrong = (torch.randn(3, 2, 4, 4, 4, generator=random) for _ in range(3))
    t = torch.tensor([50, 400, 800])
    found = clean_weight(schedule, t, 1e9) * shifted_error(schedule, lambda z, at: (wrong, 0 * z), z0, t, noise)
    clean = clean_from_noise(schedule, add_noise(schedule, z0, t, noise), t, wrong)
    torch.testing.assert_close(found, (clean - z0).square().flatten(1).mean(dim=1), rtol=2e-3, atol=1e-5)


def test_the_published_weight_is_the_default():
    schedule, random = make_schedule(), torch.Generator().manual_seed(0)
    z0, noise, wrong = (torch.randn(3, 2, 4, 4, 4, generator=random) for _ in range(3))
    t = torch.tensor([50, 400, 800])
    errors = shifted_error(schedule, lambda z, at: (wrong, 0 * z), z0, t, noise)
    found = shifted_loss(schedule, lambda z, at: (wrong, 0 * z), z0, t, noise)
    torch.testing.assert_close(found, schedule.weight[t] * errors)
    torch.testing.assert_close(errors, (noise - wrong).square().flatten(1).mean(dim=1))
    for name in ("ldae-semantic", "ldae-semantic-published"):
        config = load_recipe(name)
        assert config.clean_weight is None and config.encoder_lr is None and config.mixed_codes == 0


class HalfOfIt(nn.Module):
    """Says that half of what it sees is noise."""

    def forward(self, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 0.5 * z


@pytest.mark.parametrize("most", [None, 3.0, 1e9])
def test_stage_two_can_weigh_errors_of_the_clean_latent(most):
    schedule, random = make_schedule(), torch.Generator().manual_seed(1)
    latents, noise = (torch.randn(3, 2, 4, 4, 4, generator=random) for _ in range(2))
    t = torch.tensor([5, 400, 900])
    found = NoiseLoss(HalfOfIt(), schedule, most)(latents, t, noise)
    errors = []
    for i, at in enumerate(t.tolist()):
        abar = float(schedule.alphas_cumprod[at])
        seen = math.sqrt(abar) * latents[i] + math.sqrt(1 - abar) * noise[i]
        weight = 1.0 if most is None else min((1 - abar) / abar, most)
        errors.append(weight * float((0.5 * seen - noise[i]).square().mean()))
    assert float(found) == pytest.approx(sum(errors) / 3, rel=1e-4)
    each = noise_error(schedule, HalfOfIt(), latents, t, noise)
    assert float(each.mean()) == pytest.approx(float(noise_loss(schedule, HalfOfIt(), latents, t, noise)), rel=1e-6)


def test_only_small_recipes_weigh_and_look_seldom():
    for stage in ("autoencoder", "latent", "semantic"):
        for name in (f"ldae-{stage}", f"ldae-{stage}-published"):
            config = load_recipe(name)
            assert config.judge_every == 1 and getattr(config, "clean_weight", None) is None
    assert load_recipe("ldae-tiny-latent").judge_every > 1 and load_recipe("ldae-tiny-semantic").judge_every > 1
    for values in ({"judge_every": 0}, {"clean_weight": 0.0}):
        with pytest.raises(ConfigError):
            build(LatentRecipe, {"name": "t", "stage": "latent", "epochs": 1, "batch_size": 1, **values}, where="test")
