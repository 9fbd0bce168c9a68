"""The compression autoencoder: shapes, drawing of latents, the KL term, and what it refuses."""

import pytest
import torch
from tiny_ldae import AUTOENCODER, shaken

from medfm.core.errors import ConfigError, MissingExtraError
from medfm.encoders.ldae.autoencoder import (
    build_autoencoder,
    decode,
    draw_latent,
    encode,
    kl_divergence,
    shrink_factor,
)

X = torch.rand(2, 1, 8, 12, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tiny():
    return shaken(build_autoencoder(AUTOENCODER)).eval()


def test_shapes(tiny):
    assert shrink_factor(tiny) == 2
    with torch.inference_mode():
        mean, sigma = encode(tiny, X)
        assert mean.shape == sigma.shape == (2, 2, 4, 6, 3)
        assert bool((sigma > 0).all())
        assert decode(tiny, mean).shape == X.shape
        torch.testing.assert_close(encode(tiny, X[1:])[0], mean[1:], atol=1e-5, rtol=1e-5)


def test_the_published_size_shrinks_by_eight():
    module = build_autoencoder({}, device="meta")
    assert shrink_factor(module) == 8
    mean, sigma = encode(module, torch.empty(1, 1, 128, 160, 128, device="meta"))
    assert mean.shape == sigma.shape == (1, 3, 16, 20, 16)
    assert decode(module, mean).shape == (1, 1, 128, 160, 128)


@pytest.mark.parametrize("shape", [(1, 1, 7, 8, 8), (1, 1, 8, 8, 9), (1, 2, 8, 8, 8), (1, 8, 8, 8), (1, 1, 0, 8, 8)])
def test_volumes_of_other_shapes(tiny, shape):
    with pytest.raises(ConfigError, match="every side a multiple of 2"):
        encode(tiny, torch.zeros(shape))


def test_drawing_depends_on_the_generator_only():
    mean, sigma = torch.full((4000,), 3.0), torch.full((4000,), 0.5)
    before = torch.random.get_rng_state()
    drawn = draw_latent(mean, sigma, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, draw_latent(mean, sigma, torch.Generator().manual_seed(1)))
    assert not torch.equal(drawn, draw_latent(mean, sigma, torch.Generator().manual_seed(2)))
    assert torch.equal(draw_latent(mean, sigma), draw_latent(mean, sigma, torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert float(drawn.mean()) == pytest.approx(3, abs=0.05) and float(drawn.std()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(draw_latent(mean, torch.zeros(4000)), mean)


def test_kl_against_torch_distributions():
    mean, sigma = torch.randn(3, 2, 4, 2, 2), torch.rand(3, 2, 4, 2, 2) + 0.1
    normal = torch.distributions.Normal
    each = torch.distributions.kl_divergence(normal(mean, sigma), normal(torch.zeros(()), torch.ones(())))
    torch.testing.assert_close(kl_divergence(mean, sigma), each.flatten(1).sum(1).mean())
    assert float(kl_divergence(torch.zeros(2, 5), torch.ones(2, 5))) == 0


def test_kl_is_a_sum_so_it_grows_with_the_latent():
    mean, sigma = torch.ones(2, 3, 2, 2, 2), torch.ones(2, 3, 2, 2, 2)
    assert float(kl_divergence(mean, sigma)) == pytest.approx(0.5 * 24)
    # ... but not with the batch.
    assert float(kl_divergence(mean[:1], sigma[:1])) == pytest.approx(0.5 * 24)


def test_first_weights_depend_on_the_generator_only():
    before = torch.random.get_rng_state()
    states = [build_autoencoder(AUTOENCODER, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in states[0].values())


def test_without_monai(monkeypatch):
    import importlib

    def absent(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"medfm\[mri\]"):
        build_autoencoder(AUTOENCODER)
