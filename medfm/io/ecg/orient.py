"""Which axis of a bare array is the leads."""

from __future__ import annotations

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import Options


def leads_first(array: np.ndarray, options: Options, where: str) -> np.ndarray:
    """`array` as (leads, samples), turned where the file holds (samples, leads).

    The axis as long as the list of leads stated in the cohort is that of the leads; without a list the
    shorter axis is, which must be clearly shorter.

    Raises:
        ReadError: Not two axes of numbers, or the axes cannot be told apart.
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype.kind not in "iuf" or 0 in array.shape:
        raise ReadError(
            f"The array has the shape {array.shape} and type {array.dtype}.",
            where=where,
            expected="numbers of shape (leads, samples) or (samples, leads)",
        )
    rows, columns = array.shape
    stated = options.get("leads")
    count = len(stated) if stated is not None else min(rows, columns)
    fits = (rows == count, columns == count)
    if fits == (True, True) or not any(fits) or (stated is None and max(rows, columns) < 4 * count):
        raise ReadError(
            f"Which axis of the array {rows} x {columns} holds the leads cannot be told.",
            where=where,
            expected=f"one axis of {count} leads" if stated is not None else "far more samples than leads",
            fix="state the leads in a 'leads' column of the cohort, in the order of the file",
        )
    return np.asarray(array if fits[0] else array.T, np.float64)
