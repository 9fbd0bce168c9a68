"""ECG: twelve leads in millivolts, in one order, from any of the carriers a hospital has."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.detect import SUFFIXES, is_wfdb, read_raw
from medfm.io.ecg.leads import LEADS
from medfm.io.ecg.resample import resample
from medfm.io.ecg.wfdb import wfdb_files
from medfm.modalities.ecg_canonical import canonical
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.row_options import missing

if TYPE_CHECKING:
    from medfm.modalities.ecg_quality import Quality

__all__ = ["ECG", "LEADS", "ElectroCardiogram", "resample"]

_OPTIONS = ("sampling_hz", "units", "leads", "dataset")


class ElectroCardiogram:
    """Resting and ambulatory electrocardiograms.

    The canonical array is float32 of shape (12, samples) in millivolts, at the rate of the file,
    in the order I, II, III, aVR, aVL, aVF, V1 to V6. It is NaN inside the stretches listed in
    ``facts["missing"]`` as (lead, start, stop) and nowhere else; whoever needs numbers there repairs
    them explicitly. Limb leads that the file lacks are derived from two that it has
    (``facts["derived_leads"]``); a chest lead that is absent is missing over its whole length
    (``facts["absent_leads"]``).

    The facts: ``format, sampling_hz, sampling_source, leads, samples, seconds, units, units_source,
    leads_source, derived_leads, absent_leads, missing, flat_leads``, and where they apply
    ``extra_leads, other_channels`` and facts of the format. No text of a header is among them.
    """

    name = "ecg"
    title = "ECGs"
    contract = (
        "float32 (12, samples) in mV at the file's own rate, leads I, II, III, aVR, aVL, aVF, V1-V6; "
        "NaN only inside the stretches of facts['missing']"
    )
    suffixes: tuple[str, ...] = SUFFIXES
    option_columns: tuple[str, ...] = _OPTIONS

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one cohort row, where given.

        ``sampling_hz`` (number), ``units`` (``uV``, ``mV``, ``V``), ``leads`` (names in the order of
        the file, separated by commas, semicolons or spaces) and ``dataset`` (path inside an HDF5 file
        or name of a MATLAB variable).

        Raises:
            ReadError: The rate is not a positive number.
        """
        options: dict[str, Any] = {}
        if not missing(row.get("sampling_hz")):
            options["sampling_hz"] = _rate(row["sampling_hz"])
        if not missing(row.get("leads")):
            options["leads"] = _lead_list(row["leads"])
        for key in ("units", "dataset"):
            if not missing(row.get(key)):
                options[key] = str(row[key]).strip()
        return options

    def locate(self, path: Path) -> Path:
        """The file that `path` of a cohort means: a WFDB record may be named without the ending of its header."""
        if not path.name or path.exists():
            return path
        header = path.with_name(path.name + ".hea")
        return header if header.is_file() else path

    def files(self, ref: RecordRef) -> tuple[Path, ...]:
        """All files whose bytes make up the record: the content key covers header and signals."""
        return wfdb_files(ref.path, ref.record_id) if is_wfdb(ref.path) else (ref.path,)

    def read(self, ref: RecordRef) -> Record:
        """Read one recording.

        Raises:
            ReadError: The file is missing, damaged, cut off, of another kind; leads, rate or units
                are unknown; the amplitudes cannot be those of an ECG in the unit claimed.
        """
        unknown = [key for key in ref.options if key not in _OPTIONS]
        if unknown:
            raise ReadError(
                f"There is no option '{unknown[0]}' for ECGs.", where=ref.record_id, expected=", ".join(_OPTIONS)
            )
        options = dict(ref.options)
        if "sampling_hz" in options:
            options["sampling_hz"] = _rate(options["sampling_hz"])
        if "leads" in options:
            options["leads"] = _lead_list(options["leads"])
        array, facts = canonical(read_raw(ref.path, options, ref.record_id), options, ref.record_id)
        return Record(ref.record_id, self.name, array, facts)

    def measure(self, record: Record) -> Quality:
        """What the deep checks of a cohort need to know of a record, in about a millisecond."""
        from medfm.modalities.ecg_quality import measure

        return measure(record.array, record.facts)


ECG = ElectroCardiogram()


def _rate(value: Any) -> float:
    try:
        rate = float(value)
    except (TypeError, ValueError) as error:
        raise ReadError("The sampling_hz of the cohort is not a number.", expected="samples per second") from error
    if not (math.isfinite(rate) and rate > 0):
        raise ReadError(f"The sampling_hz of the cohort is {rate:g}.", expected="a number above 0")
    return rate


def _lead_list(value: str | Sequence[str] | np.ndarray) -> list[str]:
    if isinstance(value, str):
        return [name for name in re.split(r"[,;\s]+", value) if name]
    return [str(name) for name in value]
