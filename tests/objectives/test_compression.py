"""Losses of the compression autoencoder and its discriminator, against formulas; and who learns from what."""

import pytest
import torch
from tiny_ldae import AUTOENCODER

from medfm.encoders.ldae.autoencoder import build_autoencoder, decode, draw_latent, encode
from medfm.encoders.ldae.discriminator import build_discriminator, scores
from medfm.objectives.compression import CompressionWeights, compression_losses, discriminator_loss

GENERATOR = torch.Generator().manual_seed(0)
DRAWN, VOLUME = torch.rand(2, 2, 1, 4, 4, 4, generator=GENERATOR)
MEAN, SIGMA = torch.randn(2, 3, 2, 2, 2, generator=GENERATOR), torch.rand(2, 3, 2, 2, 2, generator=GENERATOR) + 0.1
SCORES = torch.randn(2, 1, 3, 3, 3, generator=GENERATOR)


def test_the_parts_and_their_sum():
    losses = compression_losses(DRAWN, VOLUME, MEAN, SIGMA, SCORES, lambda a, b: (a - b).square().mean())
    assert float(losses.l1) == pytest.approx(float((DRAWN - VOLUME).abs().mean()))
    each = MEAN**2 + SIGMA**2 - torch.log(SIGMA**2) - 1
    assert float(losses.kl) == pytest.approx(float(each.sum()) / 2 / 2, rel=1e-5)
    assert float(losses.adversarial) == pytest.approx(float(((SCORES - 1) ** 2).mean()), rel=1e-5)
    assert float(losses.perceptual) == pytest.approx(float(((DRAWN - VOLUME) ** 2).mean()), rel=1e-5)
    parts = (losses.l1, 1e-7 * losses.kl, 1e-3 * losses.perceptual, 0.025 * losses.adversarial)
    assert float(losses.total) == pytest.approx(float(sum(parts)), rel=1e-6)


def test_parts_may_be_left_out():
    losses = compression_losses(DRAWN, VOLUME, MEAN, SIGMA)
    assert float(losses.adversarial) == float(losses.perceptual) == 0
    assert float(losses.total) == pytest.approx(float(losses.l1 + 1e-7 * losses.kl), rel=1e-6)
    heavy = compression_losses(DRAWN, VOLUME, MEAN, SIGMA, weights=CompressionWeights(kl=1.0))
    assert float(heavy.total) == pytest.approx(float(losses.l1 + losses.kl), rel=1e-6)


def test_the_discriminators_loss_has_the_adversarial_weight_too():
    real = SCORES.flip(0) + 0.5
    expected = 0.025 * 0.5 * float((SCORES**2).mean() + ((real - 1) ** 2).mean())
    assert float(discriminator_loss(SCORES, real)) == pytest.approx(expected, rel=1e-5)
    assert float(discriminator_loss(torch.zeros(3), torch.ones(3))) == 0
    doubled = discriminator_loss(SCORES, real, CompressionWeights(adversarial=0.05))
    assert float(doubled) == pytest.approx(2 * expected, rel=1e-5)


def test_losses_are_computed_in_float32():
    losses = compression_losses(DRAWN.half(), VOLUME.half(), MEAN.half(), SIGMA.half(), SCORES.half())
    assert all(value.dtype == torch.float32 for value in (losses.total, losses.l1, losses.kl, losses.adversarial))
    assert bool(torch.isfinite(losses.total))


def test_the_published_discriminator():
    module = build_discriminator(device="meta")
    assert sum(parameter.numel() for parameter in module.parameters()) == 11_048_769
    assert scores(module.eval(), torch.empty(1, 1, 32, 40, 32, device="meta")).shape == (1, 1, 2, 3, 2)


def test_first_weights_depend_on_the_generator_only():
    before = torch.random.get_rng_state()
    states = [build_discriminator(8, 1, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])
    first = next(iter(states[0].values()))
    assert float(first.std()) == pytest.approx(0.02, rel=0.2)


def test_a_few_steps_of_both_bring_the_reconstruction_nearer():
    """Generator and discriminator in turn, each learning from its own loss alone."""
    generator = torch.Generator().manual_seed(0)
    autoencoder = build_autoencoder(AUTOENCODER, generator)
    discriminator = build_discriminator(8, 1, generator)
    volume = torch.rand(2, 1, 8, 8, 8, generator=generator)
    of_autoencoder = torch.optim.Adam(autoencoder.parameters(), 3e-3)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), 1e-3)
    history = []
    for _ in range(25):
        discriminator.requires_grad_(False)
        mean, sigma = encode(autoencoder, volume)
        drawn = decode(autoencoder, draw_latent(mean, sigma, generator))
        losses = compression_losses(drawn, volume, mean, sigma, scores(discriminator, drawn))
        of_autoencoder.zero_grad()
        losses.total.backward()
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in discriminator.parameters())
        of_autoencoder.step()
        discriminator.requires_grad_(True)
        of_discriminator.zero_grad()
        discriminator_loss(scores(discriminator, drawn.detach()), scores(discriminator, volume)).backward()
        of_discriminator.step()
        discriminator.zero_grad()
        history.append(losses.l1.item())
    assert history[-1] < 0.8 * history[0]
