"""Attention on the time of a recording: the mapping is derived here from the network itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medfm
from medfm.core.errors import CardError, ReadError
from medfm.encoders.attention import time_attention
from medfm.encoders.encoder import Encoder
from medfm.encoders.merl import build_merl
from medfm.encoders.merl_args import MerlArgs
from medfm.encoders.registry import get_card
from medfm.modalities.record import Record


@pytest.fixture(scope="module")
def encoder():
    """The published signal encoder without its text tower, which takes ten times as long to fill."""
    return Encoder(get_card("merl-resnet18"), build_merl(MerlArgs()), "random", "untrained")


def record(seconds: float, hz: float = 500.0, seed: int = 0) -> Record:
    array = np.random.default_rng(seed).normal(0, 0.3, (12, round(seconds * hz))).astype(np.float32)
    return Record("r", "ecg", array, {"sampling_hz": hz})


def test_position_i_of_the_map_looks_around_sample_16_i():
    """Not assumed: the gradient of one position of the map says which samples it sees."""
    args = MerlArgs(stem=4, samples=960, projection=8)
    network = build_merl(args).eval()
    x = torch.randn(1, 12, 960, generator=torch.Generator().manual_seed(0), requires_grad=True)
    features = network.downconv(network.ecg_encoder(x))
    assert features.shape[2] == args.steps == 60
    for place in (20, 30, 41):
        (gradient,) = torch.autograd.grad(features[0, :, place].square().sum(), x, retain_graph=True)
        weight = gradient[0].abs().sum(dim=0).numpy()
        seen = np.flatnonzero(weight > 0)
        middle = (seen[0] + seen[-1]) / 2
        assert abs(middle - 16 * place) <= 8, "half a step"
        mass = float((weight * np.arange(960)).sum() / weight.sum())
        assert abs(mass - 16 * place) <= 16


def test_a_full_record_is_covered_from_end_to_end(encoder):
    (found,) = time_attention(encoder, [record(10.0)])
    assert len(found.values) == 313 and len(found.edges) == 314
    assert found.edges[0] == 0.0 and found.edges[-1] == 10.0 == found.seconds
    middles = (found.edges[1:-2] + found.edges[2:-1]) / 2
    np.testing.assert_allclose(middles, np.arange(1, 312) * 16 / 500)
    assert found.beyond == 0.0 and found.values.mean() == pytest.approx(1.0)


def test_values_are_those_of_the_pool(encoder):
    item = record(10.0)
    (found,) = time_attention(encoder, [item])
    raw = encoder.attention(encoder.preprocess(item)[None])[0].double().numpy()
    assert raw.sum() < 1  # the share that the query gives itself is left out
    np.testing.assert_allclose(found.values, raw / raw.mean(), rtol=1e-12)


@pytest.mark.parametrize(("seconds", "hz"), [(3.0, 500.0), (3.0, 100.0), (7.0, 1000.0), (0.5, 257.0)])
def test_behind_a_short_record_nothing_is_shown_but_counted(encoder, seconds, hz):
    item = record(seconds, hz)
    (found,) = time_attention(encoder, [item])
    length = item.array.shape[1] / hz
    assert found.seconds == pytest.approx(length, abs=0.002)
    raw = encoder.attention(encoder.preprocess(item)[None])[0].double().numpy()
    inside = [i for i in range(313) if i * 16 / 500 < found.seconds]  # the naive loop
    assert len(found.values) == len(inside)
    assert found.beyond == pytest.approx(1 - raw[inside].sum() / raw.sum())
    assert found.values.mean() == pytest.approx(1.0)


def test_of_a_long_record_only_the_crop_is_seen(encoder):
    (found,) = time_attention(encoder, [record(38.4, 1000.0)])
    assert found.seconds == 10.0 and found.beyond == 0.0
    (half,) = time_attention(encoder.with_variant("cpsc2018"), [record(38.4)])
    assert half.seconds == 5.0 and len(half.values) == 157 and 0.3 < half.beyond < 0.7


def test_records_of_a_batch_do_not_touch_each_other(encoder):
    items = [record(10.0, seed=seed) for seed in range(3)]
    together, alone = time_attention(encoder, items), [time_attention(encoder, [item])[0] for item in items]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.values, b.values, atol=1e-5)
    assert time_attention(encoder, []) == []


def test_other_networks_and_records_are_refused(encoder):
    with pytest.raises(CardError, match="does not pool by attention"):
        time_attention(medfm.load_encoder("merl-resnet18-pooled", weights="random"), [record(10.0)])
    with pytest.raises(ReadError):
        time_attention(encoder, [Record("r", "ecg", np.zeros((12, 5000), np.float32), {"sampling_hz": 500})])
