"""Random changes of the pictures of pairs: named sets, applied to the tensor the network would see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from medfm.encoders.preprocessing import Preprocessing
from medfm.training.augment import crop_box

_STREAM = 13  # keeps these draws apart from those of order and texts


@dataclass(frozen=True)
class PairChanges:
    """What may happen to a picture; nothing by default.

    Attributes:
        crop: Lowest and highest share of the area of the random crop, resized to the full size.
        crop_bicubic: Bicubic, else bilinear.
        flip: Probability of a left-right flip.
        turn: Probability of a quarter turn, and of an up-down flip.
        affine: Probability of rotation (degrees either way), shift (share of the side) and scale.
        jitter: Probability of a change of brightness and contrast by factors from the range.
        gray: Probability of a grey picture.
        blur: Range of the blur's sigma in pixels, always applied; none where absent.
    """

    crop: tuple[float, float] | None = None
    crop_bicubic: bool = False
    flip: float = 0.0
    turn: float = 0.0
    affine: float = 0.0
    degrees: float = 0.0
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0
    factors: tuple[float, float] = (1.0, 1.0)
    gray: float = 0.0
    blur: tuple[float, float] | None = None


CHANGES: dict[str, PairChanges] = {
    "none": PairChanges(),
    # open_clip's training transform: a crop and nothing else.
    "open_clip": PairChanges(crop=(0.9, 1.0), crop_bicubic=True),
    # jusiro/FLAIR at d6652d5, on the batch, as here.
    "flair": PairChanges(
        flip=0.5, affine=0.25, degrees=5, scale=(0.9, 1.0), jitter=0.25, factors=(0.8, 1.2)
    ),
    # The ConVIRT paper's, as recalled by the reference; not re-read.
    "convirt": PairChanges(
        crop=(0.6, 1.0), flip=0.5, affine=1.0, degrees=20, shift=0.1, scale=(0.95, 1.05),
        jitter=1.0, factors=(0.6, 1.4), blur=(0.1, 3.0),
    ),
    # edreisMD/ConVIRT-pytorch.
    "convirt_port": PairChanges(crop=(0.8, 1.0), flip=0.5, gray=0.2),
    # Ours, for patches of tissue, which have no upper side.
    "tissue": PairChanges(crop=(0.7, 1.0), flip=0.5, turn=0.5, jitter=0.5, factors=(0.85, 1.15)),
}  # fmt: skip


class PairView:
    """Changes a preprocessed picture; every draw is a function of seed, step and record.

    Args:
        name: Key of :data:`CHANGES`.
        preprocess: Of the card: its mean and standard deviation are undone and redone around the change.
        seed: Seed of the run.
    """

    def __init__(self, name: str, preprocess: Preprocessing, seed: int) -> None:
        self.changes = CHANGES[name]
        self.seed = seed
        norm: Any = next((step for step in preprocess.steps if step.step == "normalise"), None)
        mean, std = ((0.0,), (1.0,)) if norm is None else (norm.mean, norm.std)
        self.mean, self.std = (torch.tensor(values)[:, None, None].float() for values in (mean, std))

    def __call__(self, picture: Tensor, step: int, position: int) -> Tensor:
        """A changed copy of float32 (3, H, W), of the same shape and scale.

        Args:
            picture: As the network takes it.
            step: Of the run.
            position: Of the record among the training records.
        """
        if self.changes == CHANGES["none"]:
            return picture
        source = np.random.default_rng(np.random.SeedSequence([self.seed, _STREAM, step, position]))
        x = (picture * self.std + self.mean).clamp(0, 1)
        return (change(x, self.changes, source) - self.mean) / self.std

    def many(self, pictures: Tensor, step: int, positions: Sequence[int]) -> Tensor:
        """The same for (n, 3, H, W)."""
        return torch.stack([self(x, step, i) for x, i in zip(pictures, positions, strict=True)])


def change(x: Tensor, rule: PairChanges, source: np.random.Generator) -> Tensor:
    """One random change of float32 (3, H, W) in [0, 1]; same shape and range."""
    size = list(x.shape[1:])
    if rule.crop is not None:
        top, left, height, width = crop_box(size[0], size[1], rule.crop, source)
        way = InterpolationMode.BICUBIC if rule.crop_bicubic else InterpolationMode.BILINEAR
        x = tv.resized_crop(x, top, left, height, width, size, interpolation=way, antialias=True).clamp(0, 1)
    if source.random() < rule.flip:
        x = x.flip(2)
    if rule.turn and source.random() < rule.turn:
        x = x.rot90(1, (1, 2)) if size[0] == size[1] else x.rot90(2, (1, 2))
    if rule.turn and source.random() < rule.turn:
        x = x.flip(1)
    if source.random() < rule.affine:
        angle = source.uniform(-rule.degrees, rule.degrees)
        moves = [round(source.uniform(-rule.shift, rule.shift) * side) for side in (size[1], size[0])]
        x = tv.affine(
            x, angle, moves, source.uniform(*rule.scale), [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
        )
    if source.random() < rule.jitter:
        x = tv.adjust_brightness(x, source.uniform(*rule.factors))
        x = tv.adjust_contrast(x, source.uniform(*rule.factors))
    if source.random() < rule.gray:
        x = tv.rgb_to_grayscale(x, num_output_channels=3)
    if rule.blur is not None:
        sigma = source.uniform(*rule.blur)
        kernel = 2 * max(1, round(2 * sigma)) + 1
        kernel = min(kernel, (min(size) // 2) * 2 - 1)
        x = tv.gaussian_blur(x, [kernel, kernel], [sigma, sigma])
    return x.clamp(0, 1)
