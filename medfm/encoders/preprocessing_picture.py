"""From an 8-bit picture to the array a network takes; see :mod:`medfm.encoders.preprocessing`.

The result equals the published paths (Pillow and torchvision) bit for bit; because pictures
have 8 bits, scaling and normalising are one table look-up per channel, unless a card resizes real
numbers in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from medfm.core.errors import ReadError
from medfm.encoders.foreground import foreground_box
from medfm.encoders.preprocessing_radiograph import eight_bits
from medfm.encoders.preprocessing_steps import (
    Canvas,
    CenterCrop,
    ChannelOrder,
    CropFieldOfView,
    CropForeground,
    Normalise,
    NormaliseStain,
    PictureStep,
    Resize,
    ResizeFloat,
    ToRGB,
)
from medfm.modalities.record import Record

_FILTERS = {
    "bilinear_pil": Image.Resampling.BILINEAR,
    "bicubic_pil": Image.Resampling.BICUBIC,
    "lanczos_pil": Image.Resampling.LANCZOS,
}


class PictureSteps:
    """The steps of a card on one picture."""

    def __init__(self, steps: Sequence[PictureStep]) -> None:
        self.steps = tuple(steps)
        self._reversed = False
        mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
        for step in self.steps:
            if isinstance(step, ChannelOrder):
                self._reversed = step.order == "bgr"
            elif isinstance(step, Normalise):
                mean, std = np.asarray(step.mean, np.float32), np.asarray(step.std, np.float32)
        # The same float32 operations, in the same order, as ToTensor and Normalize: exact.
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        self._numbers = [step for step in self.steps if isinstance(step, (ResizeFloat, Canvas))]
        self._scale = (mean[:, None, None], std[:, None, None])
        self._table = np.stack([unit] * 3) if self._numbers else (unit[None, :] - mean[:, None]) / std[:, None]
        self._grey_allowed = any(isinstance(step, ToRGB) for step in self.steps)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (3, height, width) of every result; fails for steps that keep proportions."""
        size = next(step for step in reversed(self.steps) if isinstance(step, (Resize, CenterCrop, Canvas)))
        if isinstance(size, Resize) and size.mode == "shorter_side":
            raise ReadError("The steps give pictures of different sizes.", fix="add a center_crop step to the card")
        return (3, *size.size)

    def run(self, item: Record | np.ndarray, out: np.ndarray | None) -> np.ndarray:
        """The float32 array (3, height, width), written into `out` when given."""
        where = item.record_id if isinstance(item, Record) else None
        picture = self._picture(item.array if isinstance(item, Record) else item, where)
        for step in self.steps:
            if isinstance(step, Resize):
                picture = _resize(picture, step)
            elif isinstance(step, CenterCrop):
                picture = _center_crop(picture, step)
            elif isinstance(step, CropForeground):
                picture = picture[foreground_box(picture[:, :, 0])]
            elif isinstance(step, CropFieldOfView):
                picture = _field(picture, step)
            elif isinstance(step, NormaliseStain):
                picture = _stained(picture, step)
        if self._reversed:
            picture = picture[:, :, ::-1]
        if self._numbers:
            return self._on_numbers(picture, out, where)
        return self._looked_up(picture, fitting((3, *picture.shape[:2]), out))

    def _looked_up(self, picture: np.ndarray, out: np.ndarray) -> np.ndarray:
        for channel in range(3):
            # mode="clip" skips the bounds check; 8-bit values cannot leave the table of 256.
            np.take(self._table[channel], picture[:, :, channel], out=out[channel], mode="clip")
        return out

    def _on_numbers(self, picture: np.ndarray, out: np.ndarray | None, where: str | None) -> np.ndarray:
        numbers = self._looked_up(picture, np.empty((3, *picture.shape[:2]), np.float32))
        for step in self._numbers:
            if isinstance(step, ResizeFloat):
                numbers = _resize_float(numbers, step)
                continue
            rows, columns = numbers.shape[1:]
            if rows > step.size[0] or columns > step.size[1]:
                raise ReadError(
                    f"A picture of {rows} x {columns} pixels does not fit on a canvas of {step.size[0]} x {step.size[1]}.",
                    where=where,
                )
            numbers = np.pad(numbers, ((0, 0), (0, step.size[0] - rows), (0, step.size[1] - columns)))
        mean, std = self._scale
        result = fitting(numbers.shape, out)
        result[...] = (numbers - mean) / std
        return result

    def _picture(self, array: np.ndarray, where: str | None) -> np.ndarray:
        array = np.asarray(array)
        if array.dtype == np.float32 and array.ndim == 2 and array.size and self._grey_allowed:
            array = eight_bits(array, where)  # a radiograph, 0 black to 1
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        grey = array.ndim == 2
        good = array.dtype == np.uint8 and array.size > 0
        if not good or (grey and not self._grey_allowed) or (not grey and (array.ndim != 3 or array.shape[2] != 3)):
            raise ReadError(
                f"A picture of shape {array.shape} and type {array.dtype} cannot be preprocessed.",
                where=where,
                expected="uint8, height x width x 3, red-green-blue, at least one pixel",
                fix="read the file with medfm.read_record, which brings every format to this form",
            )
        return np.repeat(array[:, :, None], 3, axis=2) if grey else array


def fitting(shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    """`out` if a float32 result of `shape` fits into it, else an error; a new array for ``None``."""
    if out is None:
        return np.empty(shape, dtype=np.float32)
    if out.shape != shape or out.dtype != np.float32:
        raise ReadError(f"A result of shape {shape} does not fit into {out.shape} {out.dtype}.")
    return out


def _field(picture: np.ndarray, step: CropFieldOfView) -> np.ndarray:
    from medfm.modalities.fundus_field import crop_field

    return crop_field(picture, 0 if step.surround == "black" else None)[0]


def _stained(picture: np.ndarray, step: NormaliseStain) -> np.ndarray:
    from medfm.modalities import stain

    if step.mean is None or step.std is None:
        return stain.macenko(picture)
    return stain.reinhard(picture, stain.ColourStatistics(np.asarray(step.mean), np.asarray(step.std)))


def _resize(picture: np.ndarray, step: Resize) -> np.ndarray:
    height, width = step.size
    if step.mode == "shorter_side":
        rows, columns = picture.shape[:2]
        # torchvision's rule: the longer side is cut off to a whole pixel, not rounded.
        if rows <= columns:
            width = int(step.size[0] * columns / rows)
        else:
            height = int(step.size[0] * rows / columns)
    if picture.shape[:2] == (height, width):
        return picture
    # Pillow needs rows without gaps; a crop of a smear is a view with gaps.
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), _FILTERS[step.resampler]))


def _resize_float(numbers: np.ndarray, step: ResizeFloat) -> np.ndarray:
    import torch

    rows, columns = numbers.shape[1:]
    scale = max(rows, columns) / step.size
    # A line of pixels would be cut off to nothing.
    size = (max(1, int(rows / scale)), max(1, int(columns / scale)))
    if size == (rows, columns):
        return numbers
    resized: np.ndarray = torch.nn.functional.interpolate(
        torch.from_numpy(numbers)[None], size=size, mode="bilinear", align_corners=False, antialias=step.antialias
    )[0].numpy()
    return resized


def _center_crop(picture: np.ndarray, step: CenterCrop) -> np.ndarray:
    height, width = step.size
    rows, columns = picture.shape[:2]
    if rows < height or columns < width:
        down, right = max(height - rows, 0), max(width - columns, 0)
        picture = np.pad(picture, ((down // 2, (down + 1) // 2), (right // 2, (right + 1) // 2), (0, 0)))
        rows, columns = picture.shape[:2]
    top, left = round((rows - height) / 2.0), round((columns - width) / 2.0)
    return picture[top : top + height, left : left + width]
