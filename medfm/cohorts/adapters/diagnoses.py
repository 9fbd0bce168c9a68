"""The diagnoses of the brain MRI sets, each set's words mapped to CN, MCI and AD in this one place.

CN is cognitively normal, MCI mild cognitive impairment, AD dementia due to Alzheimer's disease (in ADNI and AIBL the
enrolled kind of dementia). What is none of these has no label.
"""

from __future__ import annotations

from collections.abc import Mapping

CN, MCI, AD = "CN", "MCI", "AD"
CLASSES = (CN, MCI, AD)

# ADNIMERGE: DX is CN, MCI or Dementia; older releases have NL and "MCI to Dementia". DX_bl has SMC, EMCI, LMCI, AD.
_ADNI = {
    "cn": CN,
    "nl": CN,
    "smc": CN,
    "mci": MCI,
    "emci": MCI,
    "lmci": MCI,
    "ad": AD,
    "dementia": AD,
}
# aibl_pdxconv, DXCURREN; other numbers (other dementia) have no label.
_AIBL = {"1": CN, "2": MCI, "3": AD}
# OASIS3_UDSd1_diagnoses: kinds of mild cognitive impairment, of which one set says MCI.
_MCI_FLAGS = ("mciamem", "mciaplus", "mcinon1", "mcinon2")
_AD_FLAGS = ("probad", "possad", "alzdis")


def adni_diagnosis(text: str) -> str | None:
    """The state at the visit; of a change (``"MCI to Dementia"``) the state it ends in."""
    return _ADNI.get(text.strip().lower().rpartition(" to ")[2])


def aibl_diagnosis(code: str) -> str | None:
    """The class of a code of DXCURREN."""
    return _AIBL.get(code.strip().removesuffix(".0"))


def cdr_diagnosis(rating: float | None) -> str | None:
    """OASIS-1 and -2: a Clinical Dementia Rating of 0 is CN, above 0 very mild to moderate Alzheimer's disease."""
    return None if rating is None else CN if rating == 0 else AD


def uds_diagnosis(cells: Mapping[str, str]) -> str | None:
    """The class of a row of form D1 of the Uniform Data Set (columns in lower case, 1 where a box is ticked).

    AD needs ``demented`` and probable, possible or (form 3) any Alzheimer's disease.
    """
    ticked = {name for name, value in cells.items() if value.removesuffix(".0") == "1"}
    if "normcog" in ticked:
        return CN if "demented" not in ticked else None
    if "demented" in ticked:
        return AD if ticked & set(_AD_FLAGS) else None
    return MCI if ticked & set(_MCI_FLAGS) else None


def dx1_diagnosis(text: str) -> str | None:
    """The class of OASIS-3's `dx1` in words, where they leave no doubt: normal, or Alzheimer's dementia as the cause.

    MCI has no word of its own there ("uncertain dementia", "0.5 in memory only" ...), so it is never given.
    """
    words = text.strip().lower()
    if words == "cognitively normal":
        return CN
    if words.startswith(("ad dem", "dat")) and "cannot be primary" not in words:
        return AD
    return None
