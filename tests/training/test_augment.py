"""Random views: determined by their position, within their ranges, with the documented probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfm.training.augment import (
    CELLS,
    DINOBLOOM,
    MEAN,
    STD,
    UPSTREAM,
    VARIANTS,
    Augmentation,
    crop_box,
    multi_crop,
    random_view,
    sample_generator,
)

NOTHING = Augmentation(horizontal_flip=0, vertical_flip=0, quarter_turn=0, jitter=0, gray=0, blur=(0, 0, 0), solarize=0)
WHOLE = (1.0, 1.0)


def picture(size: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((3, size, size), dtype=np.float32))


def back(view: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation."""
    return view * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


def view_of(rule: Augmentation, seed: int = 0, view: str = "first") -> torch.Tensor:
    # A square picture whose whole-area box exists only at aspect 1; scale 1 falls back to all of it.
    return back(random_view(picture(), 32, WHOLE, rule, np.random.default_rng(seed), view))  # type: ignore[arg-type]


def test_nothing_switched_on_gives_the_picture_back() -> None:
    assert torch.allclose(view_of(NOTHING), picture(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"horizontal_flip": 1.0}, picture().flip(2)),
        ({"vertical_flip": 1.0}, picture().flip(1)),
        ({"quarter_turn": 1.0}, picture().rot90(1, (1, 2))),
    ],
)
def test_flips_and_turns_do_what_they_say(change: dict[str, float], expected: torch.Tensor) -> None:
    assert torch.allclose(view_of(NOTHING.model_copy(update=change)), expected, atol=1e-6)


def test_grey_blur_and_solarisation() -> None:
    grey = view_of(NOTHING.model_copy(update={"gray": 1.0}))
    assert torch.allclose(grey[0], grey[1], atol=1e-5) and torch.allclose(grey[0], grey[2], atol=1e-5)
    blur = NOTHING.model_copy(update={"blur": (0.0, 1.0, 0.0)})
    assert torch.allclose(view_of(blur, view="first"), picture(), atol=1e-6)
    assert view_of(blur, view="second").std() < picture().std()
    solar = NOTHING.model_copy(update={"solarize": 1.0})
    assert torch.allclose(view_of(solar, view="first"), picture(), atol=1e-6)
    expected = torch.where(picture() >= 128 / 255, 1 - picture(), picture())
    assert torch.allclose(view_of(solar, view="second"), expected, atol=1e-5)


def test_jitter_changes_colours_only_as_far_as_allowed() -> None:
    none = NOTHING.model_copy(update={"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0})
    assert torch.allclose(view_of(none), picture(), atol=1e-6)
    bright = none.model_copy(update={"brightness": 0.4})
    ratios = {round(float(view_of(bright, seed).mean() / picture().mean()), 3) for seed in range(8)}
    assert len(ratios) > 4 and min(ratios) > 0.55 and max(ratios) < 1.45
    for name in ("contrast", "saturation", "hue"):
        changed = view_of(none.model_copy(update={name: 0.4}))
        assert not torch.allclose(changed, picture(), atol=1e-3), name


def test_blur_happens_with_the_effective_probability() -> None:
    blurred = 0
    for seed in range(200):
        rule = NOTHING.model_copy(update={"blur": UPSTREAM.blur})
        blurred += not torch.allclose(view_of(rule, seed, "second"), picture(), atol=1e-6)
    # Declared 0.1 upstream, effective 0.9; sigmas near 0.1 change nothing visible.
    assert 160 <= blurred <= 196
    assert UPSTREAM.blur == DINOBLOOM.blur == (0.0, 0.9, 0.5)


def test_the_named_sets() -> None:
    assert UPSTREAM.vertical_flip == UPSTREAM.quarter_turn == 0.0
    assert DINOBLOOM.vertical_flip == DINOBLOOM.quarter_turn == 0.5
    same = {"vertical_flip", "quarter_turn"}
    assert UPSTREAM.model_dump(exclude=same) == DINOBLOOM.model_dump(exclude=same)
    assert CELLS.gray == CELLS.solarize == 0.0 and CELLS.hue < 0.05
    assert set(VARIANTS) == {"upstream", "dinobloom", "cells", "patches"}
    assert [name for name, rule in VARIANTS.items() if rule.stain] == ["patches"]


@pytest.mark.parametrize(("height", "width"), [(40, 40), (20, 90), (90, 20), (5, 5)])
def test_crop_boxes_lie_inside_and_keep_the_ranges(height: int, width: int) -> None:
    source = np.random.default_rng(1)
    for _ in range(200):
        top, left, h, w = crop_box(height, width, (0.3, 0.6), source)
        assert 0 <= top <= top + h <= height and 0 <= left <= left + w <= width and h > 0 and w > 0
        if (height, width) == (40, 40):
            assert 0.25 < h * w / (height * width) < 0.65
            assert 0.7 < w / h < 1.42


def test_a_box_that_cannot_fit_is_the_central_one() -> None:
    source = np.random.default_rng(0)
    assert crop_box(10, 100, (1.0, 1.0), source) == (0, 43, 10, 13)
    assert crop_box(100, 10, (1.0, 1.0), source) == (43, 0, 13, 10)


def test_position_alone_decides_the_views() -> None:
    def views(seed: int, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return multi_crop(
            picture(),
            CELLS,
            sample_generator(seed, epoch, index),
            global_size=16,
            global_scale=(0.3, 1.0),
            local_crops=3,
            local_size=8,
            local_scale=(0.05, 0.3),
        )

    globals_, locals_ = views(0, 1, 2)
    assert globals_.shape == (2, 3, 16, 16) and locals_.shape == (3, 3, 8, 8)
    again = views(0, 1, 2)
    assert torch.equal(globals_, again[0]) and torch.equal(locals_, again[1])
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3), (0, 2, 1)):
        assert not torch.equal(globals_, views(*other)[0])
    assert not torch.equal(globals_[0], globals_[1])


def test_no_local_crops() -> None:
    _, locals_ = multi_crop(
        picture(), CELLS, sample_generator(0, 0, 0), global_size=8, global_scale=(0.3, 1), local_crops=0,
        local_size=8, local_scale=(0.1, 0.3),
    )  # fmt: skip
    assert locals_.shape == (0, 3, 8, 8)


def test_stain_jitter_is_drawn_from_the_generator_and_stays_in_range() -> None:
    rule = VARIANTS["patches"].model_copy(update={"jitter": 0.0, "blur": (0.0, 0.0, 0.0)})
    image = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.3
    plain = rule.model_copy(update={"stain": 0.0})

    def view(chosen: Augmentation, seed: int) -> torch.Tensor:
        return random_view(image, 16, (0.9, 1.0), chosen, np.random.default_rng(seed))

    assert torch.equal(view(rule, 1), view(rule, 1))
    assert view(rule, 1).dtype == torch.float32
    difference = (view(rule, 1) - view(plain, 1)).abs().max()
    assert 0.01 < float(difference) < 2.0
    shown = view(rule, 2) * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    assert float(shown.min()) >= -1e-5 and float(shown.max()) <= 1 + 1e-5
