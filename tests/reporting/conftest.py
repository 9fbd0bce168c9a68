"""A realistic evaluation, made of generated predictions and the real statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.findings import Finding
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import LinearProbe, Protocol, Scheme, StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.evaluation.summary import BatchEffect, Estimate, Summary
from medfm.reporting import html
from medfm.reporting.result import Result

CELLS = ("basophil", "lymphocyte", "neutrophil")


def class_predictions(
    classes: tuple[str, ...] = CELLS, records: int = 120, patients: int = 40, seed: int = 0, skill: float = 2.0
) -> Predictions:
    """Predictions of `classes` with sites, folds, a sex column and two smaller training fractions."""
    rng = np.random.default_rng(seed)
    parts = []
    for variant, power in (("main", skill), ("fraction=0.01", 0.4 * skill), ("fraction=0.1", 0.7 * skill)):
        truth = np.concatenate([np.arange(len(classes)), rng.integers(0, len(classes), records - len(classes))])
        logits = rng.normal(size=(records, len(classes)))
        logits[np.arange(records), truth] += power
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        patient = np.arange(records) % patients
        table = pd.DataFrame(
            {
                "record_id": [f"cell_{i:04d}" for i in range(records)],
                "patient_id": [f"P{p:03d}" for p in patient],
                "site": np.where(patient < 3, "Lab C", np.where(patient % 2 == 0, "Lab A", "Lab B")),
                "variant": variant,
                "repeat": 0,
                "fold": patient % 5,
                "truth": [classes[t] for t in truth],
                "predicted": [classes[p] for p in scores.argmax(axis=1)],
                "sex": np.where(patient % 3 == 0, "f", "m"),
            }
        )
        parts.append(table.assign(**{f"score:{c}": scores[:, k] for k, c in enumerate(classes)}))
    task = "binary" if len(classes) == 2 else "multiclass"
    return Predictions(pd.concat(parts, ignore_index=True), task, classes, "cell_type")


def multilabel_predictions(records: int = 160) -> Predictions:
    rng = np.random.default_rng(1)
    labels = ("smudged", "granules", "vacuoles")
    truth = (rng.random((records, 3)) < 0.35).astype(float)
    scores = 1 / (1 + np.exp(-(3 * truth - 1.5 + rng.normal(size=truth.shape))))
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(records)],
            "patient_id": [f"P{i % 32}" for i in range(records)],
            "site": None,
            "variant": "main",
            "repeat": 0,
            "fold": 0,
        }
    )
    truth[3, 1] = np.nan
    for k, name in enumerate(labels):
        table[f"truth:{name}"], table[f"score:{name}"] = truth[:, k], scores[:, k]
    return Predictions(table, "multilabel", labels, "findings")


def regression_predictions(records: int = 120) -> Predictions:
    rng = np.random.default_rng(2)
    truth = rng.normal(90, 8, records)
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(records)],
            "patient_id": [f"P{i % 30}" for i in range(records)],
            "site": "one",
            "variant": "main",
            "repeat": 0,
            "fold": 0,
            "truth": truth,
            "predicted": truth + rng.normal(0, 4, records),
        }
    )
    return Predictions(table, "regression", (), "mcv_fl")


PROVENANCE = {
    "encoder": "dinobloom-s",
    "fingerprint": "ab" * 32,
    "weights_kind": "random",
    "weights_note": "Published weights could not be had; seed 0.",
    "card": "dinobloom-s",
    "licence": "apache-2.0",
    "cohort": "synthetic blood cells",
    "cohort_digest": "cd" * 32,
    "modality": "blood_cell",
    "synthetic": True,
    "precision": "float32",
    "seeds": {"protocol": 0, "statistics": 0},
    "software": {"python": "3.11.2", "medfm": "0.1.0"},
    "hardware": {"machine": "x86_64", "cores": 2},
    "created": "2025-01-31T12:00:00+00:00",
    "failures": [{"record_id": "cell_9999", "reason": "the file is truncated"}],
}

FINDINGS = (
    Finding(code="L001", severity="passed", title="No patient is in two splits"),
    Finding(
        code="L004",
        severity="error",
        title="Near-duplicate images across splits",
        detail="2 pairs.",
        records=("cell_0001", "cell_0002"),
        fix="remove one of each pair",
        allowed=True,
    ),
    Finding(code="S002", severity="warning", title="Small classes", detail="erythroblast has 31 records."),
)


def protocol(**changes: Any) -> Protocol:
    settings: dict[str, Any] = {
        "id": "lab-linear@1",
        "title": "Linear probe of the DinoBloom paper",
        "source": "Koch et al. 2024, section 3",
        "method": LinearProbe(),
        "scheme": Scheme(kind="kfold"),
        "fractions": (0.01, 0.1, 1.0),
        "statistics": StatisticsPlan(resamples=40, subgroups=("sex",)),
        "deviations": ("The paper shares patients between folds.",),
    }
    return Protocol(**(settings | changes))


def _summary(predictions: Predictions, plan: StatisticsPlan) -> Summary:
    """The statistics, computed once for equal predictions."""
    key = predictions.table.to_csv()
    if key not in _SUMMARIES:
        _SUMMARIES[key] = summarise(predictions, plan)
    return _SUMMARIES[key]


_SUMMARIES: dict[str, Summary] = {}


def make_result(predictions: Predictions | None = None, **changes: Any) -> Result:
    """A result as a probe would give it; `changes` replace its parts."""
    predictions = predictions if predictions is not None else class_predictions()
    subgroups = ("sex",) if "sex" in predictions.table.columns else ()
    plan = StatisticsPlan(resamples=40, subgroups=subgroups)
    ids = list(dict.fromkeys(predictions.table["record_id"]))
    rng = np.random.default_rng(3)
    places = pd.DataFrame(
        {"record_id": ids, "x": rng.normal(size=len(ids)), "y": rng.normal(size=len(ids)), "method": "UMAP"}
    )
    settings: dict[str, Any] = {
        "kind": "linear_probe",
        "protocol": protocol(statistics=plan),
        "summary": changes.get("summary") or _summary(predictions, plan),
        "predictions": predictions,
        "provenance": PROVENANCE,
        "findings": FINDINGS,
        "config": {"target": predictions.target, "batch_size": 16, "tolerance": 1e-05},
        "batch_effect": BatchEffect(
            column="site",
            sites=("Lab A", "Lab B"),
            balanced_accuracy=Estimate(
                metric="balanced_accuracy", value=0.71, low=0.64, high=0.78, n_records=240, n_patients=40
            ),
            chance=0.5,
            knn_mixing=0.83,
            k=20,
        ),
        "embedding_map": places,
        "extras": {"C": [0.1, 1.0, 0.1, 0.1, 10.0]},
        "name": "first probe",
    }
    return Result(**(settings | changes))


def picture(record_id: str) -> np.ndarray:
    """A cell-like picture, different for each record."""
    rng = np.random.default_rng(sum(map(ord, record_id)))
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    disc = ((x**2 + y**2) < 0.5)[..., None]
    colours = rng.integers(60, 220, 3)
    return np.where(disc, colours, [235, 220, 225]).astype(np.uint8)


@pytest.fixture(scope="session")
def result() -> Result:
    return make_result()


@pytest.fixture
def make() -> Callable[..., Result]:
    return make_result


@pytest.fixture(scope="session")
def images() -> Callable[[str], np.ndarray]:
    return picture


@pytest.fixture(scope="session")
def tasks() -> dict[str, Predictions]:
    """Predictions of every kind of task."""
    return {
        "binary": class_predictions(("healthy", "leukaemia"), records=120, patients=24),
        "multiclass": class_predictions(records=120, patients=24),
        "multilabel": multilabel_predictions(),
        "regression": regression_predictions(),
    }


@pytest.fixture
def quick_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each distinct report is drawn once: for tests that are not about its looks."""

    def remembered(made: Result) -> str:
        key = f"{made.id} {made.name} {sorted(made.thumbnails)} {made.summary.digest()}"
        if key not in _DRAWN:
            _DRAWN[key] = _render(made)
        return _DRAWN[key]

    monkeypatch.setattr(html, "render_report", remembered)


_DRAWN: dict[str, str] = {}
_render = html.render_report
