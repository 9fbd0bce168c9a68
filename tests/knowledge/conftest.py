"""Makes the helpers of this folder importable; the real ECG data where present."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="session")
def ecg_codes() -> Path:
    """The table of SNOMED CT codes; tests that need it skip only where it is absent."""
    table = SHARED / "data" / "ecg" / "dx_snomed_names.csv"
    if not table.is_file():
        pytest.skip("the ECG data beside the repository are absent")
    return table
