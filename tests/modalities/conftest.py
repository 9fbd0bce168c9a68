"""Fixtures of the modalities' tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def ecg() -> Path:
    """The folder of real ECGs; tests that need it skip only where it is absent."""
    folder = SHARED / "data" / "ecg"
    if not folder.is_dir():
        pytest.skip("the real ECGs beside the repository are absent")
    return folder
