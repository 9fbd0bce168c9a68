"""Attention of a pool, laid back onto the time of the recording it was computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfm.core.errors import CardError
from medfm.encoders.encoder import Encoder
from medfm.encoders.preprocessing_signal_steps import CropSamples, PadSamples, Resample
from medfm.modalities.record import Record


@dataclass(frozen=True)
class TimeAttention:
    """Where in a recording an attention pool looks.

    Attributes:
        edges: Seconds of the recording, float64 (steps + 1,), increasing: step i lies between
            edges i and i + 1. Only what the encoder saw, and of that only what was recorded.
        values: Attention relative to an even spread over these steps, float64 (steps,): 1 is an
            even share, and the mean is 1.
        beyond: Share of the attention that fell on the zeros behind a recording that is shorter
            than the input, 0 to 1.
    """

    edges: np.ndarray
    values: np.ndarray
    beyond: float

    @property
    def seconds(self) -> float:
        """Length of the stretch that the encoder saw."""
        return float(self.edges[-1])


def time_attention(encoder: Encoder, records: Sequence[Record]) -> list[TimeAttention]:
    """Run the encoder on signal records and put its attention onto their time.

    The network halves the time several times, so position i of the pool belongs to the input
    samples around i times the stride. It sees more than these (its receptive field is wider),
    so this says where the pool took its values from, not which samples decided.

    Raises:
        CardError: The encoder does not pool by attention.
        ReadError: A record cannot be preprocessed.
    """
    import torch

    if not encoder.has_attention:
        raise CardError(f"The encoder '{encoder.id}' does not pool by attention.")
    if not records:
        return []
    batch = torch.stack([encoder.preprocess(record) for record in records])
    weights = encoder.attention(batch).double().cpu().numpy()
    return [_on_time(encoder, row, record) for row, record in zip(weights, records, strict=True)]


def _on_time(encoder: Encoder, weights: np.ndarray, record: Record) -> TimeAttention:
    steps = encoder.preprocess.steps
    recorded = float(record.facts["sampling_hz"])
    hz = next((float(step.hz) for step in steps if isinstance(step, Resample)), recorded)
    length = next(step.samples for step in steps if isinstance(step, PadSamples))
    crop = min((step.samples for step in steps if isinstance(step, CropSamples)), default=length)
    # The stride is a power of two, and the number of steps its quotient rounded up.
    stride = 2 ** round(math.log2(length / len(weights)))
    seen = min(math.ceil(record.array.shape[1] * hz / recorded), crop, length) / hz
    # Where a step has its middle decides to what it belongs: the recording or the zeros behind it.
    count = max(int(np.count_nonzero(np.arange(len(weights)) * stride / hz < seen)), 1)
    inside, everywhere = float(weights[:count].sum()), float(weights.sum())
    edges = np.clip((np.arange(count + 1) - 0.5) * stride / hz, 0.0, seen)
    edges[-1] = seen
    return TimeAttention(
        edges,
        weights[:count] * (count / inside) if inside > 0 else np.zeros(count),
        1.0 - inside / everywhere if everywhere > 0 else 0.0,
    )
