"""From channels as stored to twelve leads in millivolts: names, units, derived leads, gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import EXTRA_LEADS, LEADS, lead_name
from medfm.io.ecg.raw import Options, RawECG
from medfm.io.ecg.resample import runs
from medfm.io.ecg.units import implausible, millivolts_per

_ROW = {name: row for row, name in enumerate(LEADS)}
_IN_ORDER = list(range(12))
# Einthoven and Goldberger: each limb lead as a share of I and of II. Any two of the six determine the others.
_LIMBS = {
    "I": (1.0, 0.0), "II": (0.0, 1.0), "III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0),
}  # fmt: skip


def canonical(raw: RawECG, options: Options, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    """The canonical array (12, samples), float32 mV, and the facts of the record.

    Args:
        raw: What a reader found in the file.
        options: What the cohort states: ``sampling_hz``, ``units``, ``leads``.
        where: How errors name the record.

    Raises:
        ReadError: No samples; fewer than two limb leads; rate or units are unknown;
            amplitudes that no ECG has in the unit claimed; nothing but constant or missing values.
    """
    values = raw.values
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] == 0:
        raise ReadError("The recording has no samples.", where=where)
    names, by_cohort = _names(raw, options, where)
    rows, extras, others = _match(names, where)
    factors, units_source = _factors(raw, options, rows, where)
    rate, rate_source = _rate(raw, options, where)
    if list(rows) == list(LEADS) and list(rows.values()) == _IN_ORDER and factors[:12] == [1.0] * 12:
        array = values[:12].astype(np.float32)  # twelve leads in mV, as most files have them: one pass
    else:
        array = np.full((12, values.shape[1]), np.nan, np.float32)
        for lead, channel in rows.items():
            # Conversion in the precision of the source; the copy rounds once to float32.
            array[_ROW[lead]] = values[channel] if factors[channel] == 1.0 else values[channel] * factors[channel]
    derived = [lead for lead in _LIMBS if lead not in rows]
    if derived:
        basis = [lead for lead in _LIMBS if lead in rows][:2]
        first, second = (values[rows[lead]] * factors[rows[lead]] for lead in basis)
        shares = np.array([_LIMBS[lead] for lead in derived]) @ np.linalg.inv([_LIMBS[lead] for lead in basis])
        for lead, (of_first, of_second) in zip(derived, shares.tolist(), strict=True):
            array[_ROW[lead]] = of_first * first + of_second * second
    missing = _missing(array)
    flat, spread = _spread(array, where)
    strange = implausible(spread)
    if strange is not None:
        raise ReadError(
            strange,
            where=where,
            expected="a resting ECG: leads that vary by about 0.02 to 1 mV",
            fix="state the true unit of the numbers in a 'units' column of the cohort (uV, mV or V)",
        )
    facts: dict[str, Any] = {
        "format": raw.format,
        "sampling_hz": rate,
        "sampling_source": rate_source,
        "leads": list(LEADS),
        "samples": int(array.shape[1]),
        "seconds": array.shape[1] / rate,
        "units": "mV",
        "units_source": units_source,
        "leads_source": "cohort" if by_cohort else "file",
        "derived_leads": derived,
        "absent_leads": [lead for lead in LEADS if lead not in rows and lead not in derived],
        "missing": missing,
        "flat_leads": flat,
    }
    if extras or others:
        facts["extra_leads"] = extras
        facts["other_channels"] = others
    return array, {**facts, **raw.facts}


def _names(raw: RawECG, options: Options, where: str) -> tuple[list[str], bool]:
    stated = options.get("leads")
    if stated is None:
        if not raw.names:
            raise ReadError(
                f"A file of this kind ({raw.format}) does not name its leads.",
                where=where,
                fix="state them in a 'leads' column of the cohort, in the order of the file, such as I,II,III,aVR,...",
            )
        return raw.names, False
    if len(stated) != raw.values.shape[0]:
        raise ReadError(
            f"The cohort states {len(stated)} leads, the file has {raw.values.shape[0]} channels.", where=where
        )
    return list(stated), True


def _match(names: Sequence[str], where: str) -> tuple[dict[str, int], list[str], int]:
    """Channel of each of the twelve leads, known further leads, and the number of all other channels."""
    rows: dict[str, int] = {}
    extras: list[str] = []
    others = 0
    for channel, text in enumerate(names):
        lead = lead_name(text)
        if lead is None:
            others += 1
        elif lead in EXTRA_LEADS:
            extras.append(lead)
        elif lead in rows:
            raise ReadError(
                f"Two channels are named as lead {lead}.", where=where, expected="each lead once in a recording"
            )
        else:
            rows[lead] = channel
    if sum(lead in rows for lead in _LIMBS) < 2:
        found = ", ".join(lead for lead in LEADS if lead in rows) or "none of the twelve"
        raise ReadError(
            f"The file holds fewer than two limb leads; found: {found}.",
            where=where,
            expected="at least two of I, II, III, aVR, aVL and aVF, from which the others follow",
            fix="when the file names its leads otherwise, state them in a 'leads' column of the cohort",
        )
    return rows, extras, others


def _factors(raw: RawECG, options: Options, rows: dict[str, int], where: str) -> tuple[list[float], str]:
    stated = options.get("units")
    if stated is not None:
        factor = millivolts_per(str(stated))
        if factor is None:
            raise ReadError("The unit stated in the cohort is no voltage.", where=where, expected="uV, mV, V or nV")
        return [factor] * raw.values.shape[0], "cohort"
    factors = [1.0] * raw.values.shape[0]
    for lead, channel in rows.items():
        unit = raw.units[channel] if channel < len(raw.units) else None
        if unit is None or not unit.strip():
            raise ReadError(
                f"The file does not say in which unit lead {lead} is.",
                where=where,
                fix="state it in a 'units' column of the cohort (uV, mV or V)",
            )
        factor = millivolts_per(unit)
        if factor is None:
            raise ReadError(
                f"Lead {lead} is in a unit that is no voltage.",
                where=where,
                expected="uV, mV, V or nV",
                fix="state the unit in a 'units' column of the cohort",
            )
        factors[channel] = factor
    return factors, raw.units_source


def _rate(raw: RawECG, options: Options, where: str) -> tuple[float, str]:
    stated = options.get("sampling_hz")
    if raw.sampling_hz is None:
        if stated is None:
            raise ReadError(
                "The file does not say its sampling rate.",
                where=where,
                fix="state it in a 'sampling_hz' column of the cohort",
            )
        return float(stated), "cohort"
    if stated is not None and abs(float(stated) / raw.sampling_hz - 1) > 1e-3:
        raise ReadError(
            f"The cohort states {float(stated):g} Hz, the file {raw.sampling_hz:g} Hz.",
            where=where,
            fix="correct or remove the 'sampling_hz' of this row",
        )
    return raw.sampling_hz, "file"


def _missing(array: np.ndarray) -> list[tuple[str, int, int]]:
    """The stretches without values as (lead, start, stop), which are NaN afterwards."""
    if np.isfinite(array.sum()):
        return []
    bad = ~np.isfinite(array)
    array[bad] = np.nan  # an infinite sample is a missing one
    return [(LEADS[row], start, stop) for row in range(12) for start, stop in runs(bad[row])]


def _spread(array: np.ndarray, where: str) -> tuple[list[str], float]:
    """Leads that never change, and the median standard deviation of those that do."""
    present = [row for row in range(12) if np.isfinite(array[row, 0]) or np.isfinite(array[row]).any()]
    if not present:
        raise ReadError(
            "Every sample of the recording is missing.",
            where=where,
            fix="remove the record from the cohort, or export it again",
        )
    held = array if len(present) == 12 else array[present]
    if np.isfinite(held.sum()):
        low, high = held.min(axis=1), held.max(axis=1)
        # Every fourth sample is ample for an amplitude, and this runs on every record that is read.
        deviation = held[:, ::4].std(axis=1)
    else:
        low, high, deviation = np.nanmin(held, axis=1), np.nanmax(held, axis=1), np.nanstd(held, axis=1)
    flat = [LEADS[row] for row, a, b in zip(present, low, high, strict=True) if a == b]
    moving = [float(d) for d, a, b in zip(deviation, low, high, strict=True) if a != b]
    if not moving:
        raise ReadError(
            "Every lead of the recording is constant: it holds no ECG.",
            where=where,
            fix="remove the record from the cohort, or export it again",
        )
    return flat, float(np.median(moving))
