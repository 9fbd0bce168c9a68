"""Units of voltage, and whether the numbers of a recording fit the unit they claim."""

from __future__ import annotations

_MILLIVOLTS = {
    "v": 1e3, "volt": 1e3, "volts": 1e3,
    "mv": 1.0, "millivolt": 1.0, "millivolts": 1.0,
    "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mcv": 1e-3, "microvolt": 1e-3, "microvolts": 1e-3,
    "nv": 1e-6, "nanovolt": 1e-6, "nanovolts": 1e-6,
}  # fmt: skip

# Median over the leads of the standard deviation, in mV. Resting ECGs lie between about 0.02 and 1;
# a factor of 1000 in either direction leaves these bounds whatever the heart does.
SMALLEST_SPREAD = 0.002
LARGEST_SPREAD = 10.0

_BEGINNING = "The signal varies by "


def millivolts_per(unit: str) -> float | None:
    """How many millivolts one `unit` is (``"uV"``, ``"µV"``, ``"nV"``, ``"V"``, ``"mV"``); ``None`` for no voltage.

    Case is ignored (files write ``mv``, ``MV`` and ``mV``): nobody stores an ECG in megavolts.
    """
    return _MILLIVOLTS.get(unit.strip().casefold().replace("\N{GREEK SMALL LETTER MU}", "\N{MICRO SIGN}").strip("[]()"))


def implausible(spread: float) -> str | None:
    """A sentence when a record of this `spread` (median standard deviation, mV) cannot be an ECG in mV."""
    if spread > LARGEST_SPREAD:
        return f"{_BEGINNING}{spread:.3g} mV, a thousand times an ECG: probably uV were taken for mV, or mV for V."
    if 0 < spread < SMALLEST_SPREAD:
        return f"{_BEGINNING}{spread:.2g} mV, a thousandth of an ECG: probably mV were taken for uV, or V for mV."
    return None


def blames_unit(sentence: str) -> bool:
    """Whether `sentence` is one of :func:`implausible`: the error of a record that was refused for its unit."""
    return sentence.startswith(_BEGINNING)
