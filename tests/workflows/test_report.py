from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.core.errors import StoreError
from medfm.core.progress import Progress
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import KNN, Protocol, StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.reporting.result import Result
from medfm.workflows.report import rebuild_reports


def tiny_result(folds: int = 2, seed: int = 0, **changes: Any) -> Result:
    """A small kNN result: k=1 is the headline, k=5 a variant."""
    rng = np.random.default_rng(seed)
    parts = []
    for variant, skill in (("main", 1.0), ("k=5", 2.0)):
        truth = np.arange(40) % 2
        score = 1 / (1 + np.exp(-(skill * (2 * truth - 1) + rng.normal(size=40))))
        parts.append(
            pd.DataFrame(
                {
                    "record_id": [f"r{i}" for i in range(40)],
                    "patient_id": [f"P{i // 2}" for i in range(40)],
                    "site": None,
                    "variant": variant,
                    "repeat": 0,
                    "fold": (np.arange(40) // 2) % folds,
                    "truth": np.where(truth == 1, "blast", "healthy"),
                    "predicted": np.where(score >= 0.5, "blast", "healthy"),
                    "score:healthy": 1 - score,
                    "score:blast": score,
                }
            )
        )
    predictions = Predictions(pd.concat(parts, ignore_index=True), "binary", ("healthy", "blast"), "label")
    protocol = Protocol(
        id="tiny-knn@1",
        title="Tiny",
        method=KNN(k=(1, 5)),
        statistics=StatisticsPlan(resamples=20),
        **changes.pop("protocol", {}),
    )
    settings: dict[str, Any] = {
        "kind": "knn",
        "protocol": protocol,
        "summary": summarise(predictions, protocol.statistics),
        "predictions": predictions,
        "provenance": {"encoder": "tiny", "weights_kind": "local file", "fingerprint": "ff"},
    }
    return Result(**(settings | changes))


@pytest.fixture
def saved_result(tmp_path: Path) -> Path:
    return tiny_result().save(tmp_path / "saved")


def test_reports_come_back_the_same(saved_result):
    before = {name: (saved_result / name).read_bytes() for name in ("report.html", "card.md")}
    for name in before:
        (saved_result / name).unlink()
    (done,) = rebuild_reports([saved_result])
    assert done.error is None
    assert done.report is not None and done.report.read_bytes() == before["report.html"]
    assert done.card is not None and done.card.read_bytes() == before["card.md"]
    assert sorted(p.name for p in saved_result.iterdir())[-1] == "result.json"


def test_a_bad_folder_does_not_stop_the_others(saved_result, tmp_path):
    done = rebuild_reports([tmp_path / "nowhere", saved_result])
    assert isinstance(done[0].error, StoreError) and done[0].report is None
    assert done[1].error is None


def test_no_folder_no_work():
    assert rebuild_reports([]) == []


def test_progress_counts_every_folder(saved_result, tmp_path):
    progress = Progress("reports", 2)
    rebuild_reports([saved_result, tmp_path / "nowhere"], progress)
    assert progress.done == 2


def test_a_report_that_cannot_be_written_is_an_error(saved_result, monkeypatch):
    def refused(self: Path, target: object) -> None:
        raise PermissionError(13, "Permission denied")

    before = (saved_result / "report.html").read_bytes()
    monkeypatch.setattr(Path, "replace", refused)
    (done,) = rebuild_reports([saved_result])
    assert isinstance(done.error, StoreError) and "cannot be written to" in str(done.error)
    assert (saved_result / "report.html").read_bytes() == before
    assert not [p for p in saved_result.iterdir() if p.name.endswith(".tmp")]


@pytest.mark.parametrize("kind", ["file", "empty"])
def test_what_is_no_result_folder_is_refused_and_left_alone(tmp_path, kind):
    place = tmp_path / "x"
    place.write_text("mine") if kind == "file" else place.mkdir()
    (done,) = rebuild_reports([place])
    assert isinstance(done.error, StoreError)
    assert place.read_text() == "mine" if kind == "file" else list(place.iterdir()) == []
