"""How often the ECG checks are right, measured on real recordings; the page must show the figures measured here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data" / "ecg"


@pytest.fixture(scope="module")
def rates() -> ModuleType:
    if not DATA.is_dir():
        pytest.skip("the real ECGs beside the repository are absent")
    specification = importlib.util.spec_from_file_location("ecg_checks_rates", ROOT / "scripts" / "ecg_checks_rates.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    __import__("sys").modules["ecg_checks_rates"] = module
    specification.loader.exec_module(module)
    return module


def test_rates_on_real_recordings_and_on_the_page(rates: ModuleType) -> None:
    rows = rates.measured(DATA / "labels.csv", DATA, {"task": "ecg_rhythm"})
    found = {(row.code, row.fault): (row.found / row.of, row.alarms / row.alarms_of) for row in rows}
    assert all(row.of >= 150 for row in rows)
    # code -> least share found, largest share of alarms on the recordings as they are
    bands = {
        "E001": (0.9, 0.03), "E002": (0.45, 0.03), "E003": (0.99, 0.0), "E004": (1.0, 0.02),
        "E005": (0.95, 0.01), "E006": (0.95, 0.05), "E007": (0.95, 0.01),
    }  # fmt: skip
    for (code, fault), (share, alarms) in found.items():
        assert share >= bands[code][0], fault
        assert alarms <= bands[code][1], fault
    page = (ROOT / "docs" / "ecg.md").read_text(encoding="utf-8")
    for row in rows:
        assert row.line() in page, row.line()
