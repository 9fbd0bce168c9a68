"""Steps on real numbers and the foreground crop: against torchvision, scikit-image's rule and slow loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from medfm.core.errors import ReadError
from medfm.encoders.foreground import foreground_box, li_threshold
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_steps import STEPS, check_order
from medfm.encoders.registry import get_card

UNIT = {"step": "to_unit_range"}
RESIZE = {"step": "resize_float", "size": 32, "antialias": True}
CANVAS = {"step": "canvas", "size": [32, 32]}
NORMALISE = {"step": "normalise", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


def picture(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)


def published(raw: np.ndarray, size: int, antialias: bool) -> np.ndarray:
    """torchvision's resize of a tensor, proportions kept, then zeros right and below."""
    tensor = torch.from_numpy(raw.transpose(2, 0, 1).astype(np.float32) / 255)
    scale = max(raw.shape[:2]) / size
    small = v2.functional.resize(tensor, [int(raw.shape[0] / scale), int(raw.shape[1] / scale)], antialias=antialias)
    out = np.zeros((3, size, size), np.float32)
    out[:, : small.shape[1], : small.shape[2]] = small.numpy()
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.booleans())
def test_as_torchvision_bit_for_bit(rows, columns, antialias):
    raw = picture(rows, columns)
    steps = Preprocessing([UNIT, RESIZE | {"antialias": antialias}, CANVAS])
    assert np.array_equal(steps.array(raw), published(raw, 32, antialias))


def test_normalising_comes_after_the_canvas():
    raw = picture(16, 32)
    ours = Preprocessing([UNIT, RESIZE, CANVAS, NORMALISE]).array(raw)
    plain = Preprocessing([UNIT, RESIZE, CANVAS]).array(raw)
    mean, std = (np.float32(NORMALISE[key])[:, None, None] for key in ("mean", "std"))
    assert np.array_equal(ours, (plain - mean) / std)
    assert np.allclose(ours[:, 20, 5], -mean[:, 0, 0] / std[:, 0, 0])


def test_shape_out_and_the_callers_array():
    steps = Preprocessing([{"step": "to_rgb"}, UNIT, RESIZE, CANVAS])
    assert steps.shape == (3, 32, 32)
    raw = picture(40, 20)
    before, row = raw.copy(), np.empty((3, 32, 32), np.float32)
    assert steps.array(raw, row) is row and np.array_equal(row, steps.array(raw))
    assert np.array_equal(raw, before)
    assert steps(raw[:, :, 0]).shape == (3, 32, 32)
    with pytest.raises(ReadError, match="does not fit"):
        steps.array(raw, np.empty((3, 31, 32), np.float32))


def test_extreme_pictures():
    steps = Preprocessing([UNIT, RESIZE, CANVAS])
    line = steps.array(picture(1, 200))
    assert line[:, 1:].max() == 0 and line[:, 0].max() > 0
    white = steps.array(np.full((5, 5, 3), 255, np.uint8))
    assert np.array_equal(white, np.ones((3, 32, 32), np.float32))
    with pytest.raises(ReadError):
        steps.array(np.zeros((0, 5, 3), np.uint8))


def test_a_canvas_that_is_too_small_is_an_error_not_a_crop():
    steps = Preprocessing([UNIT, CANVAS])
    assert steps.array(picture(32, 10)).shape == (3, 32, 32)
    with pytest.raises(ReadError, match="33 x 10 pixels does not fit on a canvas of 32 x 32"):
        steps.array(picture(33, 10))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([RESIZE, UNIT, CANVAS], "resize_float must come after to_unit_range"),
        ([CANVAS, UNIT], "canvas must come after to_unit_range"),
        ([UNIT, RESIZE], "must be followed by canvas"),
        ([UNIT, CANVAS, RESIZE], "must be followed by canvas"),
        ([UNIT, RESIZE, RESIZE, CANVAS], "must be followed by canvas"),
        ([UNIT, NORMALISE, CANVAS], "only one normalise"),
        ([UNIT, RESIZE, CANVAS, {"step": "crop_foreground"}], "only one normalise"),
    ],
)
def test_orders_without_a_meaning(order, message):
    with pytest.raises(ValueError, match=message):
        check_order(STEPS.validate_python(order))


@pytest.mark.parametrize(
    "step",
    [
        {"step": "resize_float", "size": 32},
        {"step": "resize_float", "size": 0, "antialias": True},
        {"step": "resize_float", "size": 32, "antialias": True, "mode": "squash"},
        {"step": "canvas", "size": [0, 2]},
        {"step": "canvas", "size": [2, 2], "place": "middle"},
        {"step": "crop_foreground", "threshold": "otsu"},
    ],
)
def test_wrong_steps(step):
    with pytest.raises(ValueError, match=r"validation error"):
        STEPS.validate_python([step])


def slow_li(values: np.ndarray) -> float:
    """The threshold that minimises the cross entropy among all levels, by trying every one."""
    best, at = np.inf, 0.0
    for level in np.unique(values)[:-1]:
        back, front = values[values <= level], values[values > level]
        cost = -back.sum() * np.log(max(back.mean(), 1e-12)) - front.sum() * np.log(front.mean())
        if cost < best:
            best, at = cost, float(level)
    return at


def disc(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    inside = (y - 28) ** 2 + (x - 45) ** 2 <= 20**2
    return np.where(inside, random.integers(90, 200, (60, 80)), random.integers(0, 12, (60, 80))).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_is_a_minimum_of_cross_entropy(seed):
    values = disc(seed).astype(np.float64)
    values -= values.min()
    threshold = li_threshold(np.bincount(disc(seed).ravel(), minlength=256)) - disc(seed).min()
    # Any cut in the empty range between surround and disc parts the pixels alike.
    assert np.array_equal(values > threshold, values > slow_li(values))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=256).filter(any))
def test_the_threshold_lies_between_the_levels_for_any_histogram(counts):
    levels = np.flatnonzero(counts)
    assert levels[0] <= li_threshold(np.array(counts)) <= levels[-1]


def test_the_box_of_the_largest_component():
    red = disc()
    red[2:5, 2:5] = 250  # a bright label in the corner is another component
    rows, columns = foreground_box(red)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (8, 49, 25, 66)


def test_components_that_touch_at_a_corner_belong_together():
    red = np.zeros((10, 10), np.uint8)
    red[2:4, 2:4] = red[4:6, 4:6] = 200
    assert foreground_box(red) == (slice(2, 6), slice(2, 6))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_an_even_picture_stays_whole(value):
    assert foreground_box(np.full((6, 9), value, np.uint8)) == (slice(0, 6), slice(0, 9))


def test_the_crop_is_a_step():
    raw = np.repeat(disc()[:, :, None], 3, axis=2)
    steps = Preprocessing([{"step": "crop_foreground"}, UNIT, RESIZE, CANVAS])
    cut = raw[8:49, 25:66]
    assert np.array_equal(steps.array(raw), Preprocessing([UNIT, RESIZE, CANVAS]).array(cut))


@pytest.mark.parametrize("name", ["quiltnet-b-32", "pathgen-clip-l"])
@pytest.mark.parametrize("shape", [(224, 224), (96, 96), (500, 700), (337, 336), (1000, 333)])
def test_clip_pictures_as_open_clip_prepares_them(name, shape):
    """Bicubic, shorter side, centre crop, OpenAI's statistics: exact on RGB files."""
    from open_clip.transform import image_transform
    from PIL import Image

    spec = get_card(name).spec
    mean, std = next((s.mean, s.std) for s in spec.preprocessing if s.step == "normalise")
    transform = image_transform(spec.input.shape[1], is_train=False, mean=mean, std=std)
    raw = picture(*shape)
    expected = transform(Image.fromarray(raw)).numpy()
    assert np.array_equal(Preprocessing(spec.preprocessing).array(raw), expected)
