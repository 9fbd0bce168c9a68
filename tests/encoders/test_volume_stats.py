"""The baseline of brain volumes: exact bins, exact boxes, and an encoder like any other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders.families import family_args
from medfm.encoders.load import load_encoder
from medfm.encoders.volume_args import VolumeStatsArgs
from medfm.encoders.volume_stats import VolumeStats
from medfm.modalities.record import Record


def volumes(count: int = 2, shape: tuple[int, int, int] = (8, 12, 4), seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bins", [2, 7, 16, 256])
def test_the_histogram_equals_numpy(bins):
    x = volumes()
    x[0, 0, 0, 0, :2] = torch.tensor([0.0, 1.0])  # both ends; the last bin holds 1.0
    ours = VolumeStats(VolumeStatsArgs(bins=bins, cells=2))(x)[:, :bins]
    for row, volume in zip(ours, x, strict=True):
        counts = np.histogram(volume.double().numpy(), bins=bins, range=(0, 1))[0]
        np.testing.assert_allclose(row.numpy(), counts / volume.numel(), atol=1e-7)


def test_the_thumbnail_is_the_mean_of_every_box():
    x = volumes()
    ours = VolumeStats(VolumeStatsArgs(bins=2, cells=4))(x)[:, 2:].reshape(2, 4, 4, 4)
    for n in range(2):
        for i in range(4):
            for j in range(4):
                for k in range(4):
                    box = x[n, 0, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3, k]
                    assert float(ours[n, i, j, k]) == pytest.approx(float(box.mean()), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 9)] * 3),
    bins=st.integers(2, 20),
    cells=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_shares_sum_to_one_and_rows_do_not_depend_on_each_other(shape, bins, cells, seed):
    x = volumes(3, shape, seed)
    module = VolumeStats(VolumeStatsArgs(bins=bins, cells=cells))
    together = module(x)
    assert together.shape == (3, bins + cells**3) and together.dtype == torch.float32
    np.testing.assert_allclose(together[:, :bins].sum(dim=1).numpy(), 1, atol=1e-6)
    for i in range(3):
        assert torch.equal(module(x[i : i + 1])[0], together[i])
    assert x.min() <= together[:, bins:].min() and together[:, bins:].max() <= x.max()


def test_values_outside_the_range_count_at_its_ends():
    x = torch.tensor([-1.0, 0.1, 0.9, 2.0]).reshape(1, 1, 1, 2, 2)
    assert VolumeStats(VolumeStatsArgs(bins=2, cells=1))(x)[0, :2].tolist() == [0.5, 0.5]


def test_more_voxels_than_float32_can_count():
    """2^24 + 3 voxels of one brightness: counted with float32 ones, three would be lost."""
    x = torch.zeros(1, 1, 1, 1, 2**24 + 4)
    x[..., 0] = 1
    share = VolumeStats(VolumeStatsArgs(bins=2, cells=1))(x)[0, 1]
    assert float(share) == pytest.approx(1 / (2**24 + 4), rel=1e-6)


def test_a_larger_ventricle_shows():
    """A dark ball that grows within a bright one: more dark voxels, and darker boxes in the middle alone."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij"))
    far = np.sqrt((grid**2).sum(axis=0))

    def brain(radius: float) -> torch.Tensor:
        return torch.from_numpy(np.where(far < radius, 0.2, np.where(far < 0.9, 0.8, 0.0)).astype(np.float32))

    small, large = VolumeStats(VolumeStatsArgs(bins=5, cells=4))(torch.stack([brain(0.2), brain(0.4)])[:, None])
    assert large[1] > small[1] and large[4] < small[4]
    change = (large - small)[5:].reshape(4, 4, 4)
    assert (change[1:3, 1:3, 1:3] < -0.1).all() and change[0].abs().max() == change[3].abs().max() == 0


def test_the_card_is_an_encoder_without_weights():
    encoder = load_encoder("brain-volume-stats")
    assert encoder.embedding_dim == 528 and encoder.weights_kind == "no weights" and not encoder.has_tokens
    assert encoder.fingerprint == load_encoder("brain-volume-stats", seed=5).fingerprint
    with pytest.raises(WeightsError, match="takes no weights"):
        load_encoder("brain-volume-stats", weights="file.pth")
    volume = np.random.default_rng(0).random((40, 50, 40)).astype(np.float32)
    vector = encoder(encoder.preprocess(Record("a", "brain_mri", volume, {"spacing_mm": [4.0, 4.0, 4.0]}))[None])
    assert vector.shape == (1, 528) and float(vector[0, :16].sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("values", [{"bins": 1}, {"bins": 257}, {"cells": 0}, {"cells": 33}, {"boxes": 3}])
def test_wrong_arguments_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        family_args("volume-stats", values, "card.md")
