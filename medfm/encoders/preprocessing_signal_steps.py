"""The named preprocessing steps for signals, in the only order that has a meaning.

``repair_missing``, ``resample``, ``crop_samples``, ``pad_samples``, ``min_max``, ``quantise``,
``lead_order``; each at most once, and crop, pad and lead order always.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from medfm.core.config import StrictConfig


class RepairMissing(StrictConfig):
    """Missing samples are joined by straight lines, lead by lead; ends repeat the nearest sample."""

    step: Literal["repair_missing"] = "repair_missing"
    method: Literal["interpolate"] = "interpolate"
    max_share: float = Field(0.1, gt=0, lt=1, description="a lead that lacks a larger share is refused")


class Resample(StrictConfig):
    """To another sampling rate, polyphase with an anti-aliasing filter; nothing at the same rate."""

    step: Literal["resample"] = "resample"
    hz: float = Field(gt=0, description="samples per second that the network expects")


class CropSamples(StrictConfig):
    """Keep the first samples; a shorter record stays as it is."""

    step: Literal["crop_samples"] = "crop_samples"
    samples: int = Field(ge=1)


class PadSamples(StrictConfig):
    """Zeros (0 mV) behind a shorter record, before any scaling; a longer one is an error."""

    step: Literal["pad_samples"] = "pad_samples"
    samples: int = Field(ge=1)


class MinMax(StrictConfig):
    """(value - smallest) / (largest - smallest + epsilon) over the whole array, all leads together."""

    step: Literal["min_max"] = "min_max"
    epsilon: float = Field(1e-8, ge=0)


class Quantise(StrictConfig):
    """Cut values in 0..1 down to whole multiples of 1 / levels, as 16-bit storage does."""

    step: Literal["quantise"] = "quantise"
    levels: int = Field(1000, ge=1)


class LeadOrder(StrictConfig):
    """The leads that the network takes, by name, in its order."""

    step: Literal["lead_order"] = "lead_order"
    leads: tuple[str, ...] = Field(min_length=1)

    @field_validator("leads")
    @classmethod
    def _unique(cls, leads: tuple[str, ...]) -> tuple[str, ...]:
        if len({lead.lower() for lead in leads}) != len(leads):
            raise ValueError("a lead is named twice")
        return leads


SignalStep = RepairMissing | Resample | CropSamples | PadSamples | MinMax | Quantise | LeadOrder
ON_SIGNAL = ("repair_missing", "resample", "crop_samples", "pad_samples", "min_max", "quantise", "lead_order")


def check_signal_order(names: Sequence[str]) -> None:
    """Refuse an order of signal steps that has no meaning (raises ValueError, for pydantic)."""
    foreign = [name for name in names if name not in ON_SIGNAL]
    if foreign:
        raise ValueError(f"steps on pictures and on signals cannot be mixed: {', '.join(foreign)}")
    if list(names) != [name for name in ON_SIGNAL if name in names]:
        raise ValueError(f"steps on signals come in the order {', '.join(ON_SIGNAL)}, each at most once")
    lacking = [name for name in ("crop_samples", "pad_samples", "lead_order") if name not in names]
    if lacking:
        raise ValueError(f"steps on signals must hold {', '.join(lacking)}")
