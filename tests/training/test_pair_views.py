"""Random changes of the pictures of pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tower_parts import SIDE, STEPS, tower_pairs

from medfm.encoders.preprocessing import Preprocessing
from medfm.training.pair_views import CHANGES, PairView, change
from medfm.training.pairs import pair_batches, pair_positions
from medfm.training.towers_config import TowersRecipe

PICTURE = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_the_recipes_know_every_set() -> None:
    allowed = TowersRecipe.model_fields["augmentation"].annotation.__args__  # type: ignore[union-attr]
    assert set(allowed) == set(CHANGES)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(CHANGES)), st.integers(0, 10_000))
def test_shape_and_range_stay(name: str, seed: int) -> None:
    for picture in (PICTURE, PICTURE[:, :20]):
        found = change(picture, CHANGES[name], np.random.default_rng(seed))
        assert found.shape == picture.shape
        assert found.min() >= 0 and found.max() <= 1
        again = change(picture, CHANGES[name], np.random.default_rng(seed))
        assert torch.equal(found, again)


def test_nothing_changes_without_a_set() -> None:
    assert PairView("none", Preprocessing(STEPS), 0)(PICTURE, 3, 1) is PICTURE


def test_the_cards_scale_is_undone_and_redone() -> None:
    view = PairView("flair", Preprocessing(STEPS), 0)
    white = (torch.ones(3, SIDE, SIDE) - view.mean) / view.std
    flips = [view(white, step, 0) for step in range(12)]
    # A flip alone leaves a white picture as it is; the affine change brings in zeros, which are black.
    assert any(torch.allclose(x, white, atol=1e-5) for x in flips)
    black = (torch.zeros(3, 1, 1) - view.mean) / view.std
    for x in flips:
        assert (x >= black - 1e-4).all() and (x <= white + 1e-4).all()


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"none"}))
def test_steps_and_records_differ_and_repeat(name: str) -> None:
    view = PairView(name, Preprocessing(STEPS), 5)
    seen = [view(PICTURE, step, position) for step in range(5) for position in range(3)]
    assert len({x.numpy().tobytes() for x in seen}) > 3
    assert torch.equal(view.many(torch.stack([PICTURE, PICTURE]), 4, [1, 2])[1], view(PICTURE, 4, 2))


def test_grey_is_grey_and_a_crop_comes_from_the_picture() -> None:
    grey = [change(PICTURE, CHANGES["convirt_port"], np.random.default_rng(i)) for i in range(40)]
    share = np.mean([bool(torch.allclose(x[0], x[1]) and torch.allclose(x[1], x[2])) for x in grey])
    assert 0.02 < share < 0.5
    flat = torch.full((3, SIDE, SIDE), 0.25)
    assert torch.allclose(change(flat, CHANGES["open_clip"], np.random.default_rng(0)), flat, atol=1e-5)


def test_batches_in_memory_and_on_demand_and_resumed_are_equal() -> None:
    from dataclasses import replace

    data = tower_pairs(augmentation="flair")
    assert data.records.held is not None
    values = data.records.held

    class OnDemand(type(data.records)):  # type: ignore[misc]
        def __getitem__(self, index: int) -> torch.Tensor:
            return values[index]

    lazy = OnDemand(**{**vars(data.records), "held": None})
    one = list(pair_batches(data, range(6), 4, 3))
    two = list(pair_batches(replace(data, records=lazy), range(6), 4, 3))
    late = list(pair_batches(data, range(4, 6), 4, 3))
    assert one[0].groups is not None
    for a, b in zip((*one, *one[4:]), (*two, *late), strict=True):
        assert torch.equal(a.records, b.records)
        assert all(torch.equal(x, y) for x, y in zip(a.text, b.text, strict=True))
        assert torch.equal(a.groups, b.groups)
    plain = list(pair_batches(tower_pairs(), range(6), 4, 3))
    assert not torch.equal(plain[0].records, one[0].records)


def test_rare_sets_come_up_as_often_as_common_ones() -> None:
    strata = (tuple(range(90)), tuple(range(90, 100)))
    steps = range(10)
    seen = [i for step in steps for i in pair_positions(100, 10, step, 0, strata=strata)]
    assert len(seen) == 100
    assert sum(i >= 90 for i in seen) == 50
    assert len({i for i in seen if i < 90}) < 50  # with replacement
    again = [i for step in steps for i in pair_positions(100, 10, step, 0, strata=strata)]
    assert again == seen
    halves = [i for rank in (0, 1) for step in steps for i in pair_positions(100, 5, step, 0, rank, 2, strata=strata)]
    assert sorted(halves) == sorted(seen)
