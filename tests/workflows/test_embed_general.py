"""General-purpose encoders on several modalities: allowed where the card says so, and kept apart in the cache."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medfm
from medfm.core.errors import ConfigError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for index in range(4):
        name = f"p{index}.png"
        Image.fromarray(random.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(tmp_path / name)
        rows.append({"record_id": f"r{index}", "path": name, "patient_id": f"s{index}", "mpp": 0.5})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def test_one_encoder_on_three_modalities(table):
    encoder = medfm.load_encoder("color-histogram")
    assert encoder.also_for == ("retina", "histopathology", "chest_xray")
    results = {
        modality: medfm.embed(encoder, medfm.load_cohort(table, modality=modality))
        for modality in ("blood_cell", "retina", "histopathology")
    }
    for modality, emb in results.items():
        assert emb.provenance["modality"] == modality
        # Readers of two modalities may treat one file differently, so nothing is shared between them.
        assert emb.provenance["run"]["from_cache"] == 0
        assert np.array_equal(emb.values, results["blood_cell"].values)
    again = medfm.embed(encoder, medfm.load_cohort(table, modality="retina"))
    assert again.provenance["run"]["from_cache"] == 4


def test_a_specialist_stays_with_its_modality(table):
    encoder = medfm.load_encoder("dinov2-tiny", weights="random")
    with pytest.raises(ConfigError, match="is for blood_cell, the cohort 'labels' holds retina"):
        medfm.embed(encoder, medfm.load_cohort(table, modality="retina"))
