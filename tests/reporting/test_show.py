from __future__ import annotations

import numpy as np
import pytest
import torch
from sheet_records import SVG, ecg_record, parsed, texts

from medfm.core.config import StrictConfig
from medfm.core.errors import CardError, ConfigError
from medfm.modalities.record import Record
from medfm.modalities.registry import list_modalities
from medfm.reporting.show import facts_table, shower


def cell(height: int = 40, width: int = 80) -> Record:
    array = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Record("cell-1", "blood_cell", array, {"format": "png", "source_bits": 8, "notes": [], "page": None})


EXAMPLES = {"blood_cell": cell(), "ecg": ecg_record()}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_shower_keeps_the_contract(name):
    artist, record = shower(name), EXAMPLES[name]
    assert issubclass(artist.settings, StrictConfig) and artist.columns >= 1
    drawing = artist.draw(record, artist.settings(), synthetic=True)
    assert record.record_id in " ".join(texts(drawing.svg()))
    assert any("SYNTHETIC" in text for text in texts(drawing.svg()))
    assert not any("SYNTHETIC" in text for text in texts(artist.draw(record, artist.settings()).svg()))
    (small,) = artist.in_report([record])
    assert small.startswith((b"\xff\xd8", b"<svg"))
    assert artist.in_report([]) == []


def test_every_modality_of_this_version_can_be_shown():
    for name in list_modalities():
        assert shower(name)


def test_an_unknown_modality_says_which_there_are():
    with pytest.raises(
        ConfigError,
        match=r"'ecgs' cannot be drawn.*\n.*blood_cell, brain_mri, chest_xray, ecg, histopathology, retina\n.*did you mean 'ecg'",
    ):
        shower("ecgs")


def test_a_picture_keeps_its_shape():
    image = parsed(shower("blood_cell").draw(cell(), shower("blood_cell").settings()).svg()).find(f"{SVG}image")
    assert image is not None
    assert (image.get("width"), image.get("height")) == ("1600", "800")  # 80 x 40 mm
    high = parsed(shower("blood_cell").draw(cell(80, 40), shower("blood_cell").settings()).svg()).find(f"{SVG}image")
    assert high is not None and (high.get("width"), high.get("height")) == ("800", "1600")


def test_encoders_that_cannot_look_are_refused():
    class Other:
        id, modality, has_attention = "other", "blood_cell", False
        input_shape, weights_kind, module = (3, 8, 8), "random", torch.nn.Conv2d(3, 4, 3)

    for name in EXAMPLES:
        with pytest.raises(CardError, match="'other'"):
            shower(name).draw(EXAMPLES[name], shower(name).settings(), Other())


def test_facts_are_words():
    record = ecg_record(
        missing=[("V1", 0, 5), ("II", 7, 9)], absent_leads=["V1"], filter=None, rates={"a": 1.5}, length=10.000001
    )
    rows = dict(facts_table(record))
    assert rows["record"] == "rec-1" and rows["shape"] == "12 x 5000, float32"
    assert rows["missing"] == "V1 0 5, II 7 9" and rows["length"] == "10" and rows["rates"] == "a 1.5"
    assert "filter" not in rows and "derived leads" not in rows, "what is empty is left out"
    many = dict(facts_table(ecg_record(missing=[("I", i, i + 1) for i in range(0, 200, 2)])))
    assert many["missing"].endswith("I 22 23 and 88 more")
