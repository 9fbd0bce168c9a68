"""HDF5 (and MATLAB 7.3) files: one two-dimensional data set of numbers; the cohort states the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.orient import leads_first
from medfm.io.ecg.raw import MAX_BYTES, Options, RawECG


def read_hdf5(path: Path, options: Options, where: str) -> RawECG:
    """Read the data set named by the option ``dataset``, or the only two-dimensional one.

    Raises:
        ReadError: Damaged file; no or several candidates; data stored outside the file.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            array = np.asarray(_choose(file, options.get("dataset"), where)[()])
    except ReadError:
        raise
    except Exception as error:
        raise ReadError(
            f"The HDF5 file is damaged or cut off ({type(error).__name__}).",
            where=where,
            fix="copy or download the file again",
        ) from None
    values = leads_first(array, options, where)
    return RawECG("hdf5", values, [], [None] * len(values), None)


def _choose(file: Any, wanted: str | None, where: str) -> Any:
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        # Visiting follows hard links only, so nothing outside this file is opened.
        if isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind in "iuf":
            found[name] = item

    file.visititems(visit)
    if wanted is not None:
        chosen = found.get(str(wanted).strip("/"))
        if chosen is None:
            raise ReadError("The HDF5 file has no such data set of two axes.", where=where, fix="correct 'dataset'")
    elif len(found) != 1:
        raise ReadError(
            f"The HDF5 file has {len(found)} data sets of two axes.",
            where=where,
            expected="one, or its path in a 'dataset' column of the cohort",
        )
    else:
        chosen = next(iter(found.values()))
    if chosen.external or chosen.is_virtual:
        raise ReadError("The data set lies outside the HDF5 file.", where=where, expected="data inside the file")
    if chosen.size * 8 > MAX_BYTES:
        raise ReadError("The data set is too large for an ECG.", where=where)
    return chosen
