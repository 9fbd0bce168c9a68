"""Augmentation steps: shapes, what they change, what is sound where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfm.core.errors import ConfigError
from medfm.modalities.registry import list_modalities
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
    mirrored,
    steps_for,
    view,
)

PICTURE = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0))
SIGNAL = torch.rand(12, 60, generator=torch.Generator().manual_seed(1)) + 1
VOLUME = torch.rand(1, 6, 7, 8, generator=torch.Generator().manual_seed(2))


def source(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


CASES = [
    *(
        (step, PICTURE)
        for step in (Rotate(), Flip(probability=1), Turn(probability=1), ResizedCrop(), Blur(probability=1))
    ),
    *((step, x) for x in (PICTURE, SIGNAL, VOLUME) for step in (Mask(probability=1), Scale(), Offset(), Noise())),
    (TimeShift(share=0.3), SIGNAL),
]


@pytest.mark.parametrize(("step", "x"), CASES, ids=[f"{s.step} {x.ndim}" for s, x in CASES])
def test_a_step_keeps_shape_and_input_and_follows_the_generator(step, x: torch.Tensor) -> None:
    before = x.clone()
    first, again = (view(x, (step,), source(3)) for _ in range(2))
    assert first.shape == x.shape and first.dtype == torch.float32 and bool(torch.isfinite(first).all())
    assert torch.equal(first, again) and torch.equal(x, before) and not torch.equal(first, x)


def test_steps_of_chance_nought_change_nothing() -> None:
    steps = (Flip(probability=0), Turn(probability=0), Blur(probability=0), Mask(probability=0))
    assert torch.equal(view(PICTURE, steps, source()), PICTURE)


def test_flips_and_masks_do_what_they_say() -> None:
    assert torch.equal(view(PICTURE, (Flip(probability=1),), source()), PICTURE.flip(2))
    masked = view(PICTURE, (Mask(probability=1, share=0.25),), source())
    gone = (masked == 0).all(dim=0)
    assert 0.15 < float(gone.float().mean()) < 0.35
    assert torch.equal(masked[:, ~gone], PICTURE[:, ~gone])  # the channels of a pixel go together


def test_corners_of_a_rotation_are_filled_with_nought() -> None:
    turned = view(torch.ones(1, 32, 32), (Rotate(degrees=45),), np.random.default_rng(5))
    assert float(turned[0, 0, 0]) == 0 and float(turned[0, 16, 16]) == 1


def test_a_crop_that_never_fits_leaves_the_picture() -> None:
    assert torch.equal(view(PICTURE, (ResizedCrop(scale=(1.5, 2.0)),), source()), PICTURE)


def test_most_draws_of_the_published_crop_leave_the_whole_picture() -> None:
    """62 % by the sheet, over areas 0.95 to 1.05 and aspects 3/4 to 4/3."""
    step = ResizedCrop(scale=(0.95, 1.05))
    picture = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = [torch.equal(view(picture, (step,), source(i)), picture) for i in range(300)]
    assert 0.5 < float(np.mean(whole)) < 0.75


def test_a_shift_in_time_loses_what_moves_out() -> None:
    moved = view(SIGNAL, (TimeShift(share=0.5),), source(1))
    gap = (moved == 0).all(dim=0)
    count = int(gap.sum())
    assert 0 < count <= 30
    kept = moved[:, ~gap]
    assert torch.equal(kept, SIGNAL[:, count:]) or torch.equal(kept, SIGNAL[:, :-count])


def test_every_modality_has_sound_steps_that_fit_and_mirror_nothing_sided() -> None:
    shapes = {"ecg": (12, 60), "brain_mri": (1, 6, 7, 8)}
    for modality in list_modalities():
        steps = steps_for("auto", modality, shapes.get(modality, (3, 24, 24)))
        assert steps, modality
        assert not mirrored(steps, modality), modality
        x = {"ecg": SIGNAL, "brain_mri": VOLUME}.get(modality, PICTURE)
        assert view(x, steps, source()).shape == x.shape
    assert set(SIDED) <= set(SOUND)


def test_a_flip_that_was_asked_for_is_noted_and_others_are_not() -> None:
    assert mirrored((Flip(),), "chest_xray") and not mirrored((Flip(probability=0),), "chest_xray")
    assert not mirrored((Flip(),), "blood_cell") and not mirrored((Rotate(),), "retina")


def test_steps_that_do_not_fit_are_refused() -> None:
    assert steps_for("none", "ecg", (12, 60)) == ()
    with pytest.raises(ConfigError, match="time_shift"):
        steps_for((TimeShift(),), "retina", (3, 24, 24))
    with pytest.raises(ConfigError, match="rotate"):
        steps_for((Rotate(),), "brain_mri", (1, 6, 7, 8))
