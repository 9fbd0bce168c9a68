"""The gate after fine-tuning: from which rows, what is said, and where it is not made."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medfm.core.progress import Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.score_intervals import clustered_wilson
from medfm.training.gate_file import load_gate
from medfm.workflows import embed as embedding
from medfm.workflows.finetune_data import Parts
from medfm.workflows.finetune_gate import add_gate

VALUES = np.random.default_rng(0).normal(size=(200, 4))


class Rows:
    """Stands for a cohort: remembers which rows were asked for."""

    patients_known = False
    table = pd.DataFrame({"record_id": [f"r{i}" for i in range(200)], "patient_id": [f"p{i // 4}" for i in range(200)]})

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def subset(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(rows)
        return rows


def taken(values: np.ndarray) -> Embeddings:
    return Embeddings(values, tuple(f"r{i}" for i in range(len(values))))


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(embedding, "embed", lambda encoder, part, **_: taken(VALUES[part]))
    return Rows()


def made(folder: Path, rows: Rows, parts: Parts, tested: np.ndarray) -> str:
    encoder = SimpleNamespace(fingerprint="ff")
    return add_gate(folder, encoder, rows, parts, taken(tested), {}, Silent)  # type: ignore[arg-type]


def test_train_and_validation_rows_make_it_and_tested_ones_measure_it(rows, tmp_path):
    parts = Parts(np.arange(100), np.arange(100, 160), np.arange(160, 200))
    tested = np.concatenate([VALUES[160:199], VALUES[199:] + 50])
    said = made(tmp_path, rows, parts, tested)
    assert [list(r) for r in rows.asked] == [list(parts.train), list(parts.validation)]  # never a tested row
    gate = load_gate(tmp_path, "ff")
    assert gate is not None and len(gate.known) == 60
    alarms = int(gate.unusual(tested).sum())
    assert f"{alarms} of 40 tested" in said and "planned false alarms 5 %" in said and gate.unusual(tested)[-1]


def test_the_rate_has_an_interval_over_patients_and_stands_in_the_models_card(rows, tmp_path, monkeypatch):
    card = "---\nsteps:\n- a\n---\n\n# Model\n\n- Predicts: x\n- Threshold: 0.5\n\nLast words.\n"
    (tmp_path / "card.md").write_text(card, encoding="utf-8")
    parts = Parts(np.arange(100), np.arange(100, 160), np.arange(160, 200))
    tested = VALUES[160:].copy()
    tested[:4] += 50  # the four records of one patient
    monkeypatch.setattr(rows, "patients_known", True, raising=False)
    said = made(tmp_path, rows, parts, tested)
    alarms = load_gate(tmp_path, "ff").unusual(tested)
    share, low, high = clustered_wilson(alarms, np.arange(40) // 4)
    assert f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %, clustered by patient)" in said
    assert high > clustered_wilson(alarms)[2]
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert text == card.replace("- Threshold: 0.5\n", f"- Threshold: 0.5\n- {said}\n")


@pytest.mark.parametrize("bare", ["no front matter", "---\nsteps:\n- a\n---\n\n# Model"])
def test_a_card_without_a_list_of_facts_gets_the_sentence_at_its_end(rows, tmp_path, bare):
    (tmp_path / "card.md").write_text(bare, encoding="utf-8")
    said = made(tmp_path, rows, Parts(np.arange(100), np.arange(100, 160), np.arange(160, 200)), VALUES[160:])
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == f"{bare}\n- {said}\n"


@pytest.mark.parametrize("validation", [0, 18])
def test_too_few_validation_records_make_none_and_say_so(rows, tmp_path, validation):
    said = made(
        tmp_path, rows, Parts(np.arange(100), np.arange(100, 100 + validation), np.arange(160, 200)), VALUES[160:]
    )
    assert f"No gate for unusual records: {validation} validation records" in said and "need 19" in said
    assert not list(tmp_path.iterdir()) and not rows.asked


def test_what_cannot_be_fitted_is_a_sentence_not_an_error(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "embed", lambda encoder, part, **_: taken(np.ones((len(part), 4))))
    said = made(tmp_path, rows, Parts(np.arange(100), np.arange(100, 160), np.arange(160, 200)), VALUES[160:])
    assert "No gate" in said and "equal" in said and not list(tmp_path.iterdir())
