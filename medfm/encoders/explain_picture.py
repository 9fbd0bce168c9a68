"""A heat map of an encoder, laid over the preprocessed picture and back over the original one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from medfm.core.errors import CardError, ConfigError
from medfm.encoders.encoder import Encoder
from medfm.encoders.explain import attention_rollout, grad_cam, has_attention, last_map
from medfm.encoders.foreground import foreground_box
from medfm.encoders.preprocessing_steps import (
    Canvas,
    CenterCrop,
    CropFieldOfView,
    CropForeground,
    NormaliseStain,
    Resize,
    ResizeFloat,
    Step,
)
from medfm.modalities.record import Record

Method = Literal["auto", "grad_cam", "attention_rollout"]


@dataclass(frozen=True)
class Frame:
    """Where the preprocessed picture lies in the original one.

    Pixel edges count: position u of the input (0 to its width) is position ``scale * u + start`` of
    the original, down and across.

    Attributes:
        shape: Height and width of the original in pixels.
        size: Height and width of the preprocessed picture.
        scale: Original pixels per input pixel, down and across.
        start: Where the input begins in the original; negative where it was padded.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, float]
    start: tuple[float, float]


@dataclass(frozen=True)
class HeatMap:
    """Where a network looks in one picture.

    Attributes:
        values: float32 (rows, columns), 0 or more: one value per place of the last map, or per patch.
        method: ``grad_cam`` or ``attention_rollout``.
        frame: Where the input lies in the original.
    """

    values: np.ndarray
    method: str
    frame: Frame

    def on_input(self) -> np.ndarray:
        """float32 (height, width) over the preprocessed picture, bilinear between the middles of the places."""
        rows, columns = self.frame.size
        return _sampled(self.values, np.arange(rows) + 0.5, np.arange(columns) + 0.5, self.frame.size)

    def on_original(self) -> np.ndarray:
        """float32 (height, width) over the original picture; NaN where the network saw nothing of it."""
        return self.on_scaled(self.frame.shape)

    def on_scaled(self, shape: tuple[int, int]) -> np.ndarray:
        """As :meth:`on_original`, over the original picture brought to `shape`, (height, width)."""
        frame = self.frame
        places = [
            ((np.arange(side) + 0.5) * whole / side - start) / scale
            for side, whole, start, scale in zip(shape, frame.shape, frame.start, frame.scale, strict=True)
        ]
        heat = _sampled(self.values, places[0], places[1], frame.size)
        unseen = [(at < 0) | (at > side) for at, side in zip(places, frame.size, strict=True)]
        heat[unseen[0]] = np.nan
        heat[:, unseen[1]] = np.nan
        return heat


def method_for(encoder: Encoder) -> Literal["grad_cam", "attention_rollout"]:
    """How this encoder is explained.

    Raises:
        CardError: It cannot be; the error says why.
    """
    if len(encoder.input_shape) != 3:
        raise CardError(f"'{encoder.id}' takes no pictures.", fix="for signals see medfm.encoders.attention")
    if encoder.weights_kind == "no weights":
        raise CardError(f"'{encoder.id}' is a fixed formula without layers, so there is nothing to look into.")
    if last_map(encoder.module) is not None:
        return "grad_cam"
    if has_attention(encoder.module):
        return "attention_rollout"
    raise CardError(
        f"'{encoder.id}' is neither a ResNet nor a vision transformer of a known kind, so it cannot be explained.",
        expected="a ResNet of torchvision (Grad-CAM), or a vision transformer of timm or open_clip (attention roll-out)",
    )


def heat_map(
    encoder: Encoder,
    record: Record | np.ndarray,
    toward: np.ndarray | torch.Tensor | None = None,
    method: Method = "auto",
    *,
    cosine: bool = False,
) -> HeatMap:
    """Explain the embedding of one picture.

    Args:
        encoder: An encoder of pictures.
        record: The picture, as for ``encoder.preprocess``.
        toward: Grad-CAM only: direction float (d,) in the space of the embeddings, such as the
            embedding of a text, or one class's weights of a linear probe on raw embeddings. The map shows what raises
            the product of embedding and direction. Needed, as without a question there is no gradient.
        method: Grad-CAM for convolutional networks and roll-out for transformers by default.
        cosine: Grad-CAM only: what raises the cosine of embedding and direction, as zero-shot scoring compares
            them, not their product.

    Raises:
        CardError: The encoder is for signals, or has neither a last map nor attention.
        ConfigError: The direction is missing, of another length, zero or not finite, or was given to roll-out.
        ReadError: The picture cannot be preprocessed.
    """
    usual = method_for(encoder)
    layer = last_map(encoder.module)
    if method == "auto":
        method = usual
    batch = encoder.preprocess(record)[None].to(encoder.device)
    array = np.asarray(record.array if isinstance(record, Record) else record)
    where = frame_of(encoder.preprocess.steps, array)
    if method == "attention_rollout":
        if toward is not None:
            raise ConfigError(
                "Attention roll-out answers no question: it is the same whatever the direction.",
                fix="leave out 'toward'",
            )
        values = attention_rollout(encoder.module, batch)
    else:
        if layer is None:
            raise CardError(
                f"'{encoder.id}' has no last map for Grad-CAM.", fix="use method='attention_rollout' for transformers"
            )
        direction = _direction(toward, encoder)
        if cosine:
            values = grad_cam(
                encoder.module, layer, batch, lambda e: torch.nn.functional.cosine_similarity(e, direction[None], dim=1)
            )
        else:
            values = grad_cam(encoder.module, layer, batch, lambda e: e @ direction)
    return HeatMap(values[0].cpu().numpy(), method, where)


def _direction(toward: np.ndarray | torch.Tensor | None, encoder: Encoder) -> torch.Tensor:
    expected = f"{encoder.embedding_dim} finite numbers, not all 0: a text's embedding, or a probe's weights"
    if toward is None:
        raise ConfigError("Grad-CAM needs a direction.", where="toward", expected=expected)
    direction = torch.as_tensor(toward, dtype=torch.float32, device=encoder.device).detach().clone()
    usable = direction.shape == (encoder.embedding_dim,) and bool(torch.isfinite(direction).all())
    if not usable or not bool(direction.any()):
        raise ConfigError(
            f"The direction of shape {tuple(direction.shape)} cannot be used.", where="toward", expected=expected
        )
    return direction


# Behind these the part that a crop keeps is no longer found in the picture as it was.
_CHANGES = (Resize, CenterCrop, CropForeground, CropFieldOfView, NormaliseStain)


def frame_of(steps: Sequence[Step], picture: np.ndarray) -> Frame:
    """Where the result of the picture steps of a card lies in `picture`, uint8 (H, W, 3) or (H, W)."""
    original = (int(picture.shape[0]), int(picture.shape[1]))
    size, scale, start = original, (1.0, 1.0), (0.0, 0.0)
    for number, step in enumerate(steps):
        offset, new = (0, 0), size
        if isinstance(step, (Resize, ResizeFloat)):
            new = _resized(step, size)
            scale = (scale[0] * size[0] / new[0], scale[1] * size[1] / new[1])
        elif isinstance(step, CenterCrop):
            offset, new = _cropped(step, size), step.size
        elif isinstance(step, (CropForeground, CropFieldOfView)):
            if any(isinstance(before, _CHANGES) for before in steps[:number]):
                raise CardError("A crop to the foreground behind another change of the picture cannot be traced back.")
            top, bottom, left, right = _content(step, picture)
            offset, new = (top, left), (bottom - top, right - left)
        elif isinstance(step, Canvas):
            new = step.size
        start = (start[0] + scale[0] * offset[0], start[1] + scale[1] * offset[1])
        size = new
    return Frame(original, size, scale, start)


def _content(step: CropForeground | CropFieldOfView, picture: np.ndarray) -> tuple[int, int, int, int]:
    """First and last-plus-one row and column of what the crop keeps."""
    if isinstance(step, CropForeground):
        rows, columns = foreground_box(picture[:, :, 0] if picture.ndim == 3 else picture)
        return rows.start, rows.stop, columns.start, columns.stop
    from medfm.modalities.fundus_field import field_of_view

    return field_of_view(picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)).box


def _resized(step: Resize | ResizeFloat, size: tuple[int, int]) -> tuple[int, int]:
    rows, columns = size
    if isinstance(step, ResizeFloat):
        ratio = max(rows, columns) / step.size
        return max(1, int(rows / ratio)), max(1, int(columns / ratio))
    height, width = step.size
    if step.mode == "shorter_side":
        if rows <= columns:
            return height, int(height * columns / rows)
        return int(height * rows / columns), width
    return height, width


def _cropped(step: CenterCrop, size: tuple[int, int]) -> tuple[int, int]:
    """Row and column of `size` at which the crop begins; negative where black was added."""
    offsets = []
    for side, wanted in zip(size, step.size, strict=True):
        padded = max(side, wanted)
        offsets.append(round((padded - wanted) / 2.0) - (padded - side) // 2)
    return offsets[0], offsets[1]


def _sampled(values: np.ndarray, down: np.ndarray, across: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear values float32 at positions of an input of `size`; constant beyond the outer middles."""

    def weights(at: np.ndarray, side: int, cells: int) -> np.ndarray:
        place = np.clip(at * cells / side - 0.5, 0, cells - 1)
        return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(cells)))

    rows = weights(down, size[0], values.shape[0])
    columns = weights(across, size[1], values.shape[1])
    return (rows @ values.astype(np.float64) @ columns.T).astype(np.float32)
