"""Augmentation: ranges, where chance comes from, and no mirror image where a body has a left and a right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.training.finetune_views import (
    SIDED,
    SOUND,
    Blur,
    Flip,
    Mask,
    Noise,
    Offset,
    ResizedCrop,
    Rotate,
    Scale,
    TimeShift,
    Turn,
    steps_for,
    view,
)
from medfm.workflows.finetune import finetune_recipes, load_finetune_recipe

PICTURE = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
SIGNAL = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)) + 5


def source(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def marked() -> torch.Tensor:
    """Bright on the left half, dark on the right one."""
    x = torch.zeros(1, 16, 16)
    x[:, :, :8] = 1.0
    return x


def mirrored_share(steps: tuple, count: int = 40) -> float:
    found = [view(marked(), steps, source(seed)) for seed in range(count)]
    return float(np.mean([float(x[:, :, 10:].mean()) > float(x[:, :, :6].mean()) for x in found]))


@pytest.mark.parametrize("modality", ["chest_xray", "retina"])
def test_left_stays_left_where_a_side_means_something(modality: str) -> None:
    assert modality in SIDED and mirrored_share(SOUND[modality]) == 0.0


@pytest.mark.parametrize("modality", ["blood_cell", "histopathology"])
def test_cells_and_tissue_are_mirrored(modality: str) -> None:
    assert modality not in SIDED and 0.2 < mirrored_share(SOUND[modality]) < 0.8


def test_a_flip_has_its_probability() -> None:
    assert 0.35 < mirrored_share((Flip(probability=0.5),), 100) < 0.65
    assert mirrored_share((Flip(probability=1.0),), 5) == 1.0


@pytest.mark.parametrize("name", [n for n in finetune_recipes() if not n.endswith("@1")])
def test_no_recipe_of_ours_mirrors_a_chest(name: str) -> None:
    choice = load_finetune_recipe(name).augmentation
    steps = steps_for(choice, "chest_xray", (1, 512, 512))
    assert not any(step.step in ("flip", "turn") for step in steps)


@pytest.mark.parametrize(
    "step",
    [Rotate(degrees=30), Flip(), Turn(), ResizedCrop(), Blur(probability=1), Mask(probability=1)],
    ids=lambda s: s.step,
)
@pytest.mark.parametrize("seed", range(4))
def test_no_step_leaves_the_range_of_the_picture_and_nought(step, seed: int) -> None:
    found = view(PICTURE, (step,), source(seed))
    low, high = min(0.0, float(PICTURE.min())), max(0.0, float(PICTURE.max()))
    assert low - 1e-5 <= float(found.min()) and float(found.max()) <= high + 1e-5


@pytest.mark.parametrize("step", [Flip(), Turn(), ResizedCrop(), Blur(probability=1)], ids=lambda s: s.step)
def test_an_even_picture_stays_even(step) -> None:
    even = torch.full((3, 12, 12), 0.7)
    assert torch.allclose(view(even, (step,), source(1)), even, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.floats(0.2, 1), width=st.floats(0, 1))
def test_a_scale_is_one_factor_from_its_range(seed: int, low: float, width: float) -> None:
    factors = view(SIGNAL, (Scale(factors=(low, low + width)),), source(seed)) / SIGNAL
    assert float(factors.max() - factors.min()) < 1e-5
    assert low - 1e-5 <= float(factors.mean()) <= low + width + 1e-5


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0, 2))
def test_an_offset_is_one_number_from_its_range(seed: int, size: float) -> None:
    moved = view(SIGNAL, (Offset(size=size),), source(seed)) - SIGNAL
    assert float(moved.max() - moved.min()) < 1e-5 and float(moved.abs().max()) <= size + 1e-5


def test_noise_is_a_share_of_the_records_own_deviation() -> None:
    large = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0)) * 7
    for factor in (1.0, 100.0):
        added = view(large * factor, (Noise(deviation=0.1),), source()) - large * factor
        assert float(added.std() / (large * factor).std()) == pytest.approx(0.1, rel=0.05)
        assert abs(float(added.mean())) < 0.01 * float((large * factor).std())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.9))
def test_a_shift_in_time_moves_all_leads_by_one_number(seed: int, share: float) -> None:
    ramp = (torch.arange(40).float() + 1).expand(3, 40)
    found = view(ramp, (TimeShift(share=share),), source(seed))
    shifts = {int(v - p) for p, v in enumerate(found[0].tolist(), start=1) if v != 0}
    assert len(shifts) == 1 and abs(next(iter(shifts))) <= int(share * 40)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert int((found[0] == 0).sum()) == abs(next(iter(shifts)))


@pytest.mark.parametrize(("share", "left"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_ends_of_masking(share: float, left: float) -> None:
    found = view(torch.ones(2, 30), (Mask(probability=1, share=share),), source())
    assert float(found.mean()) == left


def test_turns_of_an_oblong_picture_keep_its_shape() -> None:
    oblong = torch.arange(15.0).reshape(1, 3, 5)
    found = [view(oblong, (Turn(probability=1),), source(seed)) for seed in range(3)]
    assert all(x.shape == oblong.shape for x in found)
    assert sorted(found[0].flatten().tolist()) == oblong.flatten().tolist()


@pytest.mark.parametrize("modality", sorted(SOUND))
def test_a_generator_decides_everything(modality: str) -> None:
    x = {"ecg": SIGNAL, "brain_mri": torch.rand(1, 4, 5, 6)}.get(modality, PICTURE.expand(3, 16, 16).contiguous())
    state = torch.get_rng_state()
    first, again, other = (view(x, SOUND[modality], source(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())  # none of it is torch's own chance


def test_steps_are_applied_in_their_order() -> None:
    steps = (Scale(factors=(2, 2)), Offset(size=1.0))
    both, one = view(SIGNAL, steps, source(5)), source(5)
    by_hand = view(view(SIGNAL, steps[:1], one), steps[1:], one)
    assert torch.equal(both, by_hand) and not torch.allclose(both, view(SIGNAL, steps[::-1], source(5)))
