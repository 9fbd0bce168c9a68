"""Fundus photographs and OCT volumes as drawings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from medfm.modalities.record import Record
from medfm.reporting.show import shower
from medfm.reporting.show_retina import FundusSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modalities"))
from fundus_pictures import fundus


def record(**facts: object) -> Record:
    return Record("eye 1", "retina", fundus(), {"kind": "photograph", "format": "png", "source_bits": 8, **facts})


@pytest.mark.parametrize(
    ("facts", "words"),
    [({"laterality": "R"}, "right eye (OD)"), ({"laterality": "L"}, "left eye (OS)"), ({}, "eye not known")],
)
def test_the_eye_is_written_below(facts: dict, words: str) -> None:
    svg = shower("retina").draw(record(**facts), FundusSettings()).svg()
    assert words in svg and "eye 1" in svg and "300 x 200 pixels" in svg


def test_the_field_is_drawn_on_request() -> None:
    plain = shower("retina").draw(record(), FundusSettings()).svg()
    lined = shower("retina").draw(record(), FundusSettings(field=True)).svg()
    assert "#1a73e8" in lined and "#1a73e8" not in plain


def test_a_synthetic_one_says_so() -> None:
    assert "SYNTHETIC" in shower("retina").draw(record(), FundusSettings(), synthetic=True).svg()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_a_volume_the_middle_scan_is_shown(dtype: type) -> None:
    volume = np.zeros((5, 20, 30), dtype)
    volume[2] = 100
    oct_record = Record("v", "retina", volume, {"kind": "oct"})
    drawing = shower("retina").draw(oct_record, FundusSettings(field=True))
    assert "OCT, B-scan 3 of 5" in drawing.svg()
    assert all(small[:3] == b"\xff\xd8\xff" for small in shower("retina").in_report([oct_record, record()]))
