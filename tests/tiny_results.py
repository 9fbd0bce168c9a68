"""A small result that several test folders save, rebuild and judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import KNN, Protocol, StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.reporting.result import Result


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
