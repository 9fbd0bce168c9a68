"""The semantic encoder: positions, attention, batches, and its start from a picture network."""

import math

import pytest
import torch
from tiny_ldae import ENCODER

from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders.ldae.semantic import SlicePositions, SoftAttention, build_ldae, start_from_pictures

X = torch.rand(3, 1, 6, 16, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tiny():
    """With LayerScale as after training: at 1e-6 the blocks are nearly idle."""
    module = build_ldae(ENCODER, torch.Generator().manual_seed(7)).eval()
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if name.endswith("layer_scale"):
                tensor.fill_(0.5)
    return module


def test_the_table_of_positions():
    table = SlicePositions(5, 6, 0.0)
    table.reset()
    for place in range(5):
        for pair in range(3):
            angle = place / 10_000 ** (2 * pair / 6)
            assert float(table.pe[0, place, 2 * pair]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(table.pe[0, place, 2 * pair + 1]) == pytest.approx(math.cos(angle), abs=1e-6)
    assert "pe" in table.state_dict()
    x = torch.zeros(2, 3, 6)
    assert torch.equal(table(x)[1], table.pe[0, :3])


def test_soft_attention_is_a_weighted_mean():
    torch.manual_seed(0)
    made, x = SoftAttention(4), torch.randn(2, 5, 4)
    mean, weights = made(x)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    for n in range(2):
        scores = [math.exp(made.linear(x[n, s]).item()) for s in range(5)]
        expected = sum(score * x[n, s] for s, score in enumerate(scores)) / sum(scores)
        torch.testing.assert_close(mean[n], expected)


def test_shapes_and_that_items_do_not_mix(tiny):
    with torch.inference_mode():
        codes = tiny(X)
        assert codes.shape == (3, 32)
        for i in range(3):
            torch.testing.assert_close(tiny(X[i : i + 1])[0], codes[i], atol=1e-5, rtol=1e-5)
        weights = tiny.slice_attention(X)
    assert weights.shape == (3, 6)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))


def test_slices_are_looked_at_one_by_one(tiny):
    with torch.inference_mode():
        features = tiny.slice_features(X)
        for n in range(3):
            for s in range(6):
                torch.testing.assert_close(tiny.backbone(X[n, :, s][None])[0], features[n, s], atol=1e-5, rtol=1e-5)


def test_parts_of_the_slices_at_a_time_change_nothing(tiny, monkeypatch):
    import medfm.encoders.ldae.semantic as here

    with torch.inference_mode():
        whole = tiny(X)
        monkeypatch.setattr(here, "_SLICES_AT_ONCE", 4)
        torch.testing.assert_close(tiny(X), whole, atol=1e-5, rtol=1e-5)
    with torch.enable_grad():
        torch.testing.assert_close(tiny(X).detach(), whole, atol=1e-5, rtol=1e-5)


def test_the_order_of_the_slices_matters(tiny):
    with torch.inference_mode():
        assert (tiny(X) - tiny(X.flip(2))).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(2, 1, 9, 16, 16), (2, 1, 0, 16, 16), (2, 3, 6, 16, 16), (2, 6, 16, 16)])
def test_volumes_of_other_shapes(tiny, shape):
    with pytest.raises(ConfigError, match="at most 8 slices"):
        tiny(torch.zeros(shape))


def test_dropout_and_stochastic_depth_only_while_training():
    module = build_ldae({**ENCODER, "stochastic_depth": 0.9})
    with torch.no_grad():
        assert not torch.equal(module.train()(X), module(X))
        assert torch.equal(module.eval()(X), module(X))


def test_first_weights_depend_on_the_generator_only():
    before = torch.random.get_rng_state()
    states = [build_ldae(ENCODER, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["query_projection.weight"], states[2]["query_projection.weight"])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in states[0].values())
    assert float(states[0]["positional_encoding.pe"].abs().max()) == 1
    scales = {key for key in states[0] if key.endswith("layer_scale")}
    assert scales and all(bool((states[0][key] == 1e-6).all()) for key in scales)


def pictures(seed: int = 3) -> dict[str, torch.Tensor]:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    torch.manual_seed(seed)
    network = ConvNeXt([CNBlockConfig(8, 32, 1), CNBlockConfig(32, None, 2)])
    return network.state_dict()


def test_starting_from_pictures_sums_the_colours():
    """A grey picture gives the colour network and ours the same features."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    colour = ConvNeXt([CNBlockConfig(8, 32, 1), CNBlockConfig(32, None, 2)]).eval()
    colour.load_state_dict(pictures())
    colour.classifier[2] = torch.nn.Identity()
    module = start_from_pictures(build_ldae(ENCODER), pictures()).eval()
    with torch.inference_mode():
        grey = X[:, :, 0]
        torch.testing.assert_close(module.backbone(grey), colour(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5)


def test_a_picture_network_of_other_sizes_is_refused():
    good = pictures()
    for broken in (
        {key: tensor for key, tensor in good.items() if key != "features.0.0.bias"},
        good | {"more": torch.zeros(1)},
        good | {"features.0.0.bias": torch.zeros(9)},
        {},
    ):
        module = build_ldae(ENCODER)
        before = module.backbone.state_dict()["features.0.0.weight"].clone()
        with pytest.raises(WeightsError, match="does not fit"):
            start_from_pictures(module, broken)
        assert torch.equal(before, module.backbone.state_dict()["features.0.0.weight"])
