"""The machine report of MIMIC-IV-ECG as MERL turned it into one sentence.

Written from the published notebook (cheliu-computation/MERL-ICML2024 at 38799b7, pretrain/preprocess.ipynb);
nine worked cases of that function are goldens in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable

# Reports of fewer words are dropped.
FEWEST_WORDS = 4
EMPTY = "empty"
_BLANKS = str.maketrans("\n\r\t", "   ")


def clean_report(lines: Iterable[str | None]) -> tuple[str, int]:
    """(sentence, words) of the report lines ``report_0`` ... in order, absent ones ``None``.

    Joined by ``". "``; EKG becomes ECG; asterisks, then dashes and equal signs are stripped from both
    ends (a blank behind them stays, inner ones too); lower case; line breaks and tabs become blanks; one
    full stop is added even behind another. Words are counted before the last two steps. A report
    without words is ``"empty"``.
    """
    report = ". ".join(line for line in lines if line is not None)
    report = report.replace("EKG", "ECG").replace("ekg", "ecg")
    report = report.strip(" *").strip("=-").strip("=").lower()
    words = len(report.split())
    return (f"{report.translate(_BLANKS)}." if words else EMPTY), words
