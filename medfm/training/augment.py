"""Random views of one picture: crops, flips, turns, colour, blur; every draw from one generator."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from medfm.core.config import StrictConfig
from medfm.modalities.stain import jitter

# ImageNet statistics, the input scale of the DINOv2 family.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_BLUR_KERNEL = 9
_BLUR_SIGMA = (0.1, 2.0)
_SOLARIZE_FROM = 128 / 255
_ASPECT = (3 / 4, 4 / 3)
_CROP_TRIES = 10


class Augmentation(StrictConfig):
    """Probabilities and ranges of the random views.

    Blur is given as the probability with which it *happens*. Upstream declares 1.0, 0.1 and 0.5
    for the first global, the second global and the local crops but applies each with one minus
    that probability; the values here are the effective ones (0.0, 0.9, 0.5).
    """

    horizontal_flip: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="probability of an up-down flip")
    quarter_turn: float = Field(0.0, ge=0, le=1, description="probability of a 90 degree turn, counter-clockwise")
    jitter: float = Field(0.8, ge=0, le=1, description="probability of the colour jitter")
    brightness: float = Field(0.4, ge=0, le=1, description="factor drawn from 1 - x to 1 + x")
    contrast: float = Field(0.4, ge=0, le=1, description="factor drawn from 1 - x to 1 + x")
    saturation: float = Field(0.2, ge=0, le=1, description="factor drawn from 1 - x to 1 + x")
    hue: float = Field(0.1, ge=0, le=0.5, description="shift drawn from -x to x, in turns of the colour circle")
    gray: float = Field(0.2, ge=0, le=1, description="probability of a grey picture")
    stain: float = Field(
        0.0, ge=0, le=1, description="H&E: amounts of the stains times 1 - x to 1 + x, shifted by a tenth of that"
    )
    blur: tuple[float, float, float] = Field(
        (0.0, 0.9, 0.5), description="effective probability of a blur: first global, second global, local crops"
    )
    solarize: float = Field(0.2, ge=0, le=1, description="probability of solarisation, second global crop only")


# DINOv2's public code; DinoBloom's adds a vertical flip and a fixed quarter turn (class "default" there).
UPSTREAM = Augmentation()
DINOBLOOM = Augmentation(vertical_flip=0.5, quarter_turn=0.5)
# For short runs on stained cells, whose class depends on colour: no grey, no solarisation, little hue.
CELLS = Augmentation(
    vertical_flip=0.5,
    quarter_turn=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.1,
    hue=0.02,
    gray=0.0,
    blur=(0.0, 0.2, 0.1),
    solarize=0.0,
)
# For H&E patches: as for cells, less saturation, and the amounts of the two stains vary as between laboratories.
PATCHES = CELLS.model_copy(update={"stain": 0.2, "saturation": 0.05})
VARIANTS = {"upstream": UPSTREAM, "dinobloom": DINOBLOOM, "cells": CELLS, "patches": PATCHES}
View = Literal["first", "second", "local"]


def crop_box(
    height: int, width: int, scale: tuple[float, float], source: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random box (top, left, height, width) in pixels.

    Its area is a share of the picture drawn uniformly from `scale`, its aspect ratio log-uniform
    from 3/4 to 4/3; after ten boxes that do not fit, the largest central box within those ratios.
    """
    low, high = np.log(_ASPECT[0]), np.log(_ASPECT[1])
    for _ in range(_CROP_TRIES):
        area = height * width * source.uniform(*scale)
        aspect = float(np.exp(source.uniform(low, high)))
        w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            return int(source.integers(0, height - h + 1)), int(source.integers(0, width - w + 1)), h, w
    ratio = width / height
    w = round(height * _ASPECT[1]) if ratio > _ASPECT[1] else width
    h = round(width / _ASPECT[0]) if ratio < _ASPECT[0] else height
    return (height - h) // 2, (width - w) // 2, h, w


def _jitter(image: Tensor, rule: Augmentation, source: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue in random order."""
    for step in source.permutation(4):
        if step == 0 and rule.brightness:
            image = tv.adjust_brightness(image, source.uniform(1 - rule.brightness, 1 + rule.brightness))
        elif step == 1 and rule.contrast:
            image = tv.adjust_contrast(image, source.uniform(1 - rule.contrast, 1 + rule.contrast))
        elif step == 2 and rule.saturation:
            image = tv.adjust_saturation(image, source.uniform(1 - rule.saturation, 1 + rule.saturation))
        elif step == 3 and rule.hue:
            image = tv.adjust_hue(image, source.uniform(-rule.hue, rule.hue))
    return image


def _restain(image: Tensor, width: float, source: np.random.Generator) -> Tensor:
    """Other amounts of haematoxylin, eosin and the rest, every time."""
    factors = source.uniform(1 - width, 1 + width, 3)
    shifts = source.uniform(-0.1 * width, 0.1 * width, 3)
    changed = jitter(image.permute(1, 2, 0).numpy(), factors, shifts)
    return torch.from_numpy(changed).permute(2, 0, 1).to(image.dtype)


def random_view(
    image: Tensor,
    size: int,
    scale: tuple[float, float],
    rule: Augmentation,
    source: np.random.Generator,
    view: View = "first",
) -> Tensor:
    """One random view of `image`.

    Args:
        image: float32 (3, h, w) in [0, 1], RGB.
        size: Side of the view in pixels.
        scale: Lowest and highest share of the area.
        rule: What may happen, and how often.
        source: Generator that every draw comes from.
        view: Which crop this is; blur and solarisation depend on it.

    Returns:
        float32 (3, size, size), normalised with :data:`MEAN` and :data:`STD`.
    """
    top, left, height, width = crop_box(image.shape[1], image.shape[2], scale, source)
    x = tv.resized_crop(
        image, top, left, height, width, [size, size], interpolation=InterpolationMode.BICUBIC, antialias=True
    ).clamp(0, 1)
    if source.random() < rule.horizontal_flip:
        x = x.flip(2)
    if source.random() < rule.vertical_flip:
        x = x.flip(1)
    if source.random() < rule.quarter_turn:
        x = x.rot90(1, (1, 2))
    if rule.stain:
        x = _restain(x, rule.stain, source)
    if source.random() < rule.jitter:
        x = _jitter(x, rule, source)
    if source.random() < rule.gray:
        x = tv.rgb_to_grayscale(x, num_output_channels=3)
    if source.random() < rule.blur[{"first": 0, "second": 1, "local": 2}[view]]:
        sigma = source.uniform(*_BLUR_SIGMA)
        x = tv.gaussian_blur(x, [_BLUR_KERNEL, _BLUR_KERNEL], [sigma, sigma])
    if view == "second" and source.random() < rule.solarize:
        x = tv.solarize(x, _SOLARIZE_FROM)
    return tv.normalize(x, list(MEAN), list(STD))


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample in one epoch: its position alone decides its views."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, index]))


def multi_crop(
    image: Tensor,
    rule: Augmentation,
    source: np.random.Generator,
    *,
    global_size: int,
    global_scale: tuple[float, float],
    local_crops: int,
    local_size: int,
    local_scale: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Two global and `local_crops` local views of one picture.

    Returns:
        float32 (2, 3, global_size, global_size) and (local_crops, 3, local_size, local_size).
    """
    views: tuple[View, View] = ("first", "second")
    globals_ = torch.stack([random_view(image, global_size, global_scale, rule, source, view) for view in views])
    if local_crops == 0:
        return globals_, globals_.new_zeros(0, 3, local_size, local_size)
    locals_ = [random_view(image, local_size, local_scale, rule, source, "local") for _ in range(local_crops)]
    return globals_, torch.stack(locals_)
