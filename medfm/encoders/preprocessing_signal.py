"""From a signal record to the array a network takes; see :mod:`medfm.encoders.preprocessing`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing_signal_steps import (
    CropSamples,
    LeadOrder,
    MinMax,
    PadSamples,
    Quantise,
    RepairMissing,
    Resample,
    SignalStep,
)
from medfm.modalities.record import Record

# Order of the leads in a record of modality ecg, unless its facts name another ("leads").
CANONICAL_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_READ = "read the file with medfm.read_record, which brings every format to this form"


class SignalSteps:
    """The steps of a card on a record (leads, samples) in mV; the record's array is not changed."""

    def __init__(self, steps: Sequence[SignalStep]) -> None:
        self.steps = tuple(steps)
        self._repairs = any(isinstance(step, RepairMissing) for step in steps)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (leads, samples) of every result."""
        samples = next(step.samples for step in self.steps if isinstance(step, PadSamples))
        leads = next(len(step.leads) for step in self.steps if isinstance(step, LeadOrder))
        return leads, samples

    def run(self, item: Record | np.ndarray) -> np.ndarray:
        """The preprocessed array, float32 (or float64 where the record is), maybe a view.

        Raises:
            ReadError: Another kind of array, rate or leads not known, nothing measured.
        """
        if not isinstance(item, Record):
            raise ReadError(
                "A bare array was given for a signal: its sampling rate is not known.",
                expected="a record of modality ecg, whose facts hold sampling_hz",
                fix=f"{_READ}; or make one: Record(name, 'ecg', array, {{'sampling_hz': 500}})",
            )
        where = item.record_id
        signal = _checked(item)
        leads = _lead_names(item, len(signal))
        if not self._repairs and not np.isfinite(signal).all():
            raise ReadError(
                "The record has missing samples.", where=where, fix="add repair_missing to the card's steps"
            )
        for step in self.steps:
            if isinstance(step, RepairMissing):
                signal = _repair(signal, leads, step, where)
            elif isinstance(step, Resample):
                signal = _resample(signal, _rate(item), step.hz)
            elif isinstance(step, CropSamples):
                signal = signal[:, : step.samples]
            elif isinstance(step, PadSamples):
                signal = _pad(signal, step.samples, where)
            elif isinstance(step, MinMax):
                signal = _min_max(signal, step.epsilon, where)
            elif isinstance(step, Quantise):
                signal = np.trunc(signal * step.levels) / step.levels
            else:
                signal = signal[_rows(leads, step, where)]
        return signal


def _checked(item: Record) -> np.ndarray:
    array = np.asarray(item.array)
    if array.ndim != 2 or not array.size or array.dtype not in (np.float32, np.float64):
        raise ReadError(
            f"A signal of shape {array.shape} and type {array.dtype} cannot be preprocessed.",
            where=item.record_id,
            expected="float32, leads x samples, in mV, at least one sample",
            fix=_READ,
        )
    if np.isinf(array).any():
        raise ReadError("The record has infinite values.", where=item.record_id, expected="mV, NaN where missing")
    return array


def _lead_names(item: Record, rows: int) -> list[str]:
    given = item.facts.get("leads")
    names = [str(name) for name in (CANONICAL_LEADS if given is None else given)]
    if len(names) != rows:
        raise ReadError(
            f"The record has {rows} rows but {len(names)} lead names.",
            where=item.record_id,
            expected=f"the leads {', '.join(CANONICAL_LEADS)}, or other names in the fact 'leads'",
            fix=_READ,
        )
    return names


def _rate(item: Record) -> float:
    value = item.facts.get("sampling_hz")
    if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ReadError(
            "The sampling rate of the record is not known.",
            where=item.record_id,
            expected="the fact sampling_hz",
            fix=_READ,
        )
    return float(value)


def _repair(signal: np.ndarray, leads: list[str], step: RepairMissing, where: str) -> np.ndarray:
    missing = np.isnan(signal)
    if not missing.any():
        return signal
    share = missing.mean(axis=1)
    if share.max() > step.max_share:
        worst = int(share.argmax())
        raise ReadError(
            f"Lead {leads[worst]} lacks {share[worst]:.0%} of its samples.",
            where=where,
            expected=f"at most {step.max_share:.0%} missing in any lead",
        )
    signal = signal.copy()
    at = np.arange(signal.shape[1])
    for row, gaps in zip(signal, missing, strict=True):
        if gaps.any():
            row[gaps] = np.interp(at[gaps], at[~gaps], row[~gaps])
    return signal


def _resample(signal: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    if rate == wanted:
        return signal
    from scipy.signal import resample_poly

    ratio = (Fraction(wanted) / Fraction(rate)).limit_denominator(1000)
    # Straight continuation at both ends: zeros beyond them would ring where the baseline is off zero.
    result: np.ndarray = resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return result.astype(signal.dtype, copy=False)


def _pad(signal: np.ndarray, samples: int, where: str) -> np.ndarray:
    lacking = samples - signal.shape[1]
    if lacking < 0:
        raise ReadError(f"The record has {signal.shape[1]} samples, more than {samples}.", where=where)
    return np.pad(signal, ((0, 0), (0, lacking))) if lacking else signal


def _min_max(signal: np.ndarray, epsilon: float, where: str) -> np.ndarray:
    low, high = float(signal.min()), float(signal.max())
    if low == high:
        raise ReadError("The record is constant: there is no signal in it.", where=where)
    scaled: np.ndarray = signal - signal.dtype.type(low)
    scaled /= signal.dtype.type(high - low + epsilon)
    return scaled


def _rows(leads: list[str], step: LeadOrder, where: str) -> list[int]:
    places = {name.lower(): row for row, name in enumerate(leads)}
    lacking = [name for name in step.leads if name.lower() not in places]
    if lacking:
        raise ReadError(
            f"The record lacks the leads {', '.join(lacking)}.", where=where, expected=", ".join(step.leads)
        )
    return [places[name.lower()] for name in step.leads]
