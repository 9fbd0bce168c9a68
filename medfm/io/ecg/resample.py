"""Change of the sampling rate: polyphase, anti-aliased, with missing stretches kept apart."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from medfm.core.errors import ReadError


def resample(array: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """`array` (..., samples) at `from_hz` brought to `to_hz`.

    A polyphase FIR filter (:func:`scipy.signal.resample_poly`, Kaiser window) removes what lies
    above half the lower rate. Each row is extended along the line through its ends, so that a
    baseline offset does not ring at the edges. Where a row is NaN the gap is bridged by a straight
    line for the filter and is NaN again in the result, widened to whole samples; a row of NaN only
    stays so.

    Returns:
        float32 of shape (..., ceil(samples * to_hz / from_hz)); a copy where the rates are equal.

    Raises:
        ReadError: A rate is not a positive number, or the two have no ratio below 1 : 10 000.
    """
    if not (from_hz > 0 and to_hz > 0 and math.isfinite(from_hz) and math.isfinite(to_hz)):
        raise ReadError(f"The rates {from_hz} and {to_hz} Hz are no sampling rates.", expected="numbers above 0")
    ratio = (Fraction(to_hz) / Fraction(from_hz)).limit_denominator(10_000)
    if ratio == 0 or ratio > 10_000:
        raise ReadError(f"{from_hz:g} Hz cannot be brought to {to_hz:g} Hz.", expected="rates of the same order")
    if ratio == 1:
        return np.array(array, np.float32)
    if array.shape[-1] == 0:
        raise ReadError("A recording without samples cannot be resampled.", expected="at least one sample")
    from scipy.signal import resample_poly

    rows = np.array(array, np.float64).reshape(-1, array.shape[-1])
    gaps = [(row, start, stop) for row in range(len(rows)) for start, stop in runs(~np.isfinite(rows[row]))]
    for row in {row for row, _, _ in gaps}:
        rows[row] = _bridged(rows[row])
    # The phases of the filter differ a little in gain, which would turn an offset into a ripple.
    offset = rows.mean(axis=1, keepdims=True)
    filtered = resample_poly(rows - offset, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    out = (filtered + offset).astype(np.float32)
    for row, start, stop in gaps:
        first = math.floor((start - 1) * ratio) + 1
        # The sample before a gap and the one after it are real, all output samples between them are not.
        last = out.shape[1] if stop == rows.shape[1] else math.ceil(stop * ratio)
        out[row, max(first, 0) : last] = np.nan
    return out.reshape(*array.shape[:-1], -1)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """The stretches (start, stop) in which the 1-d boolean `mask` is true."""
    if not mask.any():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _bridged(row: np.ndarray) -> np.ndarray:
    good = np.flatnonzero(np.isfinite(row))
    if len(good) == 0:
        return np.zeros_like(row)
    return np.interp(np.arange(len(row)), good, row[good])
