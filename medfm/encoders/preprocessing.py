"""From a record to the tensor an encoder expects, exactly as its model card says.

The steps belong to the card, so a model loaded by id and one from a bare local file receive
bit-identical input. Steps on pictures are in :mod:`medfm.encoders.preprocessing_picture`,
steps on signals in :mod:`medfm.encoders.preprocessing_signal`, steps on volumes in
:mod:`medfm.encoders.preprocessing_volume`, steps on radiographs in :mod:`medfm.encoders.preprocessing_radiograph`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from medfm.core.hashing import sha256_json
from medfm.encoders.preprocessing_picture import PictureSteps, fitting
from medfm.encoders.preprocessing_radiograph import RadiographSteps
from medfm.encoders.preprocessing_signal import SignalSteps
from medfm.encoders.preprocessing_steps import STEPS, Step, check_order, on_radiographs, on_signals, on_volumes
from medfm.encoders.preprocessing_volume import VolumeSteps
from medfm.modalities.record import Record

if TYPE_CHECKING:
    import torch


class Preprocessing:
    """Callable on a :class:`Record` (or an 8-bit picture); picklable, comparable, hashable.

    Args:
        steps: The steps of a model card (models or plain mappings).

    Attributes:
        steps: The steps, validated.
        digest: SHA-256 of the steps with all their arguments.
    """

    def __init__(self, steps: Sequence[Step] | Sequence[dict[str, Any]]) -> None:
        plain = [step if isinstance(step, dict) else step.to_dict() for step in steps]
        self.steps = STEPS.validate_python(plain)
        check_order(self.steps)
        self.digest = sha256_json([step.to_dict() for step in self.steps])
        self._does: PictureSteps | SignalSteps | VolumeSteps | RadiographSteps
        if on_signals(self.steps):
            self._does = SignalSteps(cast(Any, self.steps))
        elif on_volumes(self.steps):
            self._does = VolumeSteps(cast(Any, self.steps))
        elif on_radiographs(self.steps):
            self._does = RadiographSteps(cast(Any, self.steps))
        else:
            self._does = PictureSteps(cast(Any, self.steps))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of every result: (3, height, width), (leads, samples) of a signal, (1, ...) of a volume or radiograph.

        Raises:
            ReadError: The steps keep the proportions of pictures.
        """
        return self._does.shape

    def __call__(self, item: Record | np.ndarray) -> torch.Tensor:
        """The float32 tensor of one record or 8-bit picture."""
        import torch

        return torch.from_numpy(self.array(item))

    def array(self, item: Record | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """As calling, but a numpy array; written into `out` (float32, C order) when given.

        Args:
            item: A record. For pictures also uint8 (H, W, 3) in RGB order; (H, W) and (H, W, 1)
                where the card has ``to_rgb``.
            out: Where to write, such as one row of a batch.

        Raises:
            ReadError: The picture, signal or volume is of another kind, or holds nothing.
        """
        if isinstance(self._does, PictureSteps):
            return self._does.run(item, out)
        values = self._does.run(item)
        if out is None and values.dtype == np.float32 and values.base is None and values.flags.c_contiguous:
            return values  # an array of its own already: the order of the leads is the last step
        result = fitting(values.shape, out)
        result[...] = values
        return result

    def to_list(self) -> list[dict[str, Any]]:
        """The steps as plain data, as in the card."""
        return [step.to_dict() for step in self.steps]

    def __reduce__(self) -> tuple[Any, ...]:
        return (Preprocessing, (self.to_list(),))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preprocessing) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Preprocessing({' > '.join(step.step for step in self.steps)})"
