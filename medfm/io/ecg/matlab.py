"""MATLAB files: ``val`` of the PhysioNet challenges, and the struct ``ECG`` of CPSC2018.

A ``.mat`` with a WFDB header beside it is read as WFDB. Without one, ``val`` says neither rate nor
units nor leads; the cohort states them. The struct of CPSC2018 has one published layout (500 Hz, mV,
I, II, III, aVR, aVL, aVF, V1 to V6), which fills what the cohort leaves open.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import LEADS
from medfm.io.ecg.orient import leads_first
from medfm.io.ecg.raw import Options, RawECG


def read_matlab(path: Path, options: Options, where: str) -> RawECG:
    """Read ``val`` (or the variable named by the option ``dataset``), or ``ECG.data``.

    Raises:
        ReadError: Damaged file; no such variable; not a two-dimensional array of numbers.
    """
    from scipy.io import loadmat

    wanted = options.get("dataset")
    variables = [str(wanted)] if wanted else ["val", "ECG"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = loadmat(str(path), variable_names=variables)
    except Exception as error:
        # scipy raises nearly anything on damaged files.
        raise ReadError(
            f"The MATLAB file is damaged or cut off ({type(error).__name__}).",
            where=where,
            fix="copy or download the file again",
        ) from None
    found = next((content[name] for name in variables if name in content), None)
    if found is None:
        raise ReadError(
            f"The MATLAB file has no variable {' or '.join(variables)}.",
            where=where,
            fix="name the variable in a 'dataset' column of the cohort",
        )
    if found.dtype.names is None:
        values = leads_first(found, options, where)
        return RawECG("matlab", values, [], [None] * len(values), None)
    if found.size != 1 or "data" not in found.dtype.names:
        raise ReadError("The MATLAB struct has no field 'data'.", where=where, expected="ECG.data as in CPSC2018")
    values = leads_first(np.asarray(found.reshape(-1)[0]["data"]), options, where)
    if len(values) != 12:
        return RawECG("matlab-cpsc2018", values, [], [None] * len(values), None)
    return RawECG("matlab-cpsc2018", values, list(LEADS), ["mV"] * 12, 500.0, "CPSC2018 layout (mV)")
