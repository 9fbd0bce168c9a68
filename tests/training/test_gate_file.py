"""The gate's files: read back exactly, refused when damaged or of another encoder."""

import json
from pathlib import Path

import numpy as np
import pytest

from medfm.core.errors import WeightsError
from medfm.evaluation.unusual import UnusualGate, fit_gate
from medfm.training.gate_file import ABOUT, WEIGHTS, load_gate, save_gate


@pytest.fixture
def gate(tmp_path: Path) -> UnusualGate:
    rng = np.random.default_rng(0)
    made = fit_gate(rng.normal(size=(40, 5)), rng.normal(size=(25, 5)), 0.1)
    save_gate(tmp_path, made, "ff")
    return made


def test_it_comes_back_exactly(gate, tmp_path):
    found = load_gate(tmp_path, "ff")
    values = np.random.default_rng(1).normal(size=(9, 5))
    assert found is not None and (found.distances(values) == gate.distances(values)).all()
    assert (found.threshold, found.alarm_rate) == (gate.threshold, 0.1)
    about = json.loads((tmp_path / ABOUT).read_text())
    assert about["validation_records"] == 25 and about["threshold"] == gate.threshold


def test_a_model_without_a_gate_has_none(tmp_path):
    assert load_gate(tmp_path, "ff") is None


def test_it_holds_no_embedding(gate, tmp_path):
    # A mean, a matrix and distances: 5 + 25 + 25 numbers, whatever the number of training records.
    assert (tmp_path / WEIGHTS).stat().st_size < 8 * (5 + 25 + 25) + 400


def changed(folder: Path, **values: object) -> None:
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | values))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1]),
        lambda f: (f / WEIGHTS).unlink(),
        lambda f: (f / ABOUT).write_text("{"),
        lambda f: (f / ABOUT).write_text("{}"),
        lambda f: changed(f, format="other"),
        lambda f: changed(f, threshold=1.0),
        lambda f: changed(f, alarm_rate=1e-9),
        lambda f: changed(f, encoder_fingerprint="aa"),
    ],
    ids=["cut", "gone", "no json", "empty", "format", "threshold", "rate", "encoder"],
)
def test_damage_is_found(gate, tmp_path, damage):
    damage(tmp_path)
    with pytest.raises(WeightsError, match="gate"):
        load_gate(tmp_path, "ff")
