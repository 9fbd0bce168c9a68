"""The parts that every result has: what was predicted, settings, provenance, the map of what was tested."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.summarise import summarise
from medfm.evaluation.target import Target
from medfm.workflows import result_parts
from medfm.workflows.result_parts import (
    batch_effect_of,
    map_of,
    provenance_of,
    resolved_settings,
    summarised,
    target_settings,
)
from tests.tiny_results import tiny_result

PLAN = load_protocol("linear-probe@1", overrides=("statistics.resamples=20",))


def embedded(ids: list[str], **provenance: Any) -> Embeddings:
    values = np.random.default_rng(0).normal(size=(len(ids), 5)).astype(np.float32)
    return Embeddings(values, tuple(ids), {"encoder": "e", "fingerprint": "f", "cohort": "old", **provenance})


def cohort_of(ids: list[str], sites: list[Any] | None = None, known: bool = True) -> Any:
    table = pd.DataFrame(
        {"record_id": ids, "patient_id": [f"p{i[-1]}" for i in ids], "site": sites or [None] * len(ids)}
    )
    return SimpleNamespace(
        table=table, record_ids=ids, patients_known=known, name="clinic", modality="ecg", synthetic=True,
        info={"licence": "CC0-1.0"}, digest=lambda: "d" * 8,
    )  # fmt: skip


def done_of(ids: list[str]) -> Any:
    table = pd.DataFrame({"record_id": ids})
    return SimpleNamespace(predictions=SimpleNamespace(of_variant=lambda name: SimpleNamespace(table=table)))


@pytest.mark.parametrize(
    ("columns", "task", "classes", "expected"),
    [
        ("label", "binary", ("n", "y"), {"target": "label", "task": "binary", "positive": "y"}),
        ("label", "multiclass", ("a", "b", "c"), {"target": "label", "task": "multiclass", "positive": None}),
        (("A", "B"), "multilabel", ("A", "B"), {"target": ["A", "B"], "task": "multilabel", "positive": None}),
    ],
)
def test_what_was_predicted(columns: Any, task: Any, classes: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert target_settings(columns, Target("label", task, classes, np.zeros(2))) == expected


def test_settings_say_encoder_cohort_seeds_and_the_whole_protocol() -> None:
    found = resolved_settings(embedded(["a1"], precision="fp32"), cohort_of(["a1"]), PLAN)
    assert found["encoder"] == {"encoder": "e", "weights_kind": None, "fingerprint": "f", "precision": "fp32"}
    assert found["cohort"] == {"name": "clinic", "modality": "ecg", "digest": "d" * 8}
    assert found["seeds"] == {"folds": PLAN.scheme.seed, "resampling": PLAN.statistics.seed}
    assert found["protocol"] == PLAN.to_dict()


def test_provenance_is_of_this_cohort_and_plain_data() -> None:
    found = provenance_of(embedded(["a1"]), cohort_of(["a1"]), PLAN)
    assert (found["card"], found["cohort"], found["cohort_licence"], found["synthetic"]) == (
        "e",
        "clinic",
        "CC0-1.0",
        True,
    )
    assert found["failures"] == [] and found["software"] and json.dumps(found)


def test_the_site_shows_only_where_there_are_two() -> None:
    ids = [f"r{i:02d}" for i in range(24)]
    for sites in ([None] * 24, ["n"] * 24, ["n"] * 12 + [None] * 12):
        assert batch_effect_of(embedded(ids), cohort_of(ids, list(sites)), PLAN) is None
    assert batch_effect_of(embedded(ids), cohort_of(ids, ["n", "s"] * 12), PLAN) is not None


def test_the_map_holds_what_was_tested_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"r{i:02d}" for i in range(12)]
    tested = ids[3:9]
    found = map_of(embedded(ids), cohort_of(ids), done_of([*tested, *tested]), PLAN, "pca")
    assert list(found["record_id"]) == tested
    assert map_of(embedded(ids), cohort_of(ids), done_of(tested), PLAN, "none") is None
    assert map_of(embedded(ids), cohort_of(ids), done_of(tested[:1]), PLAN, "pca") is None
    monkeypatch.setattr(result_parts, "_MOST_MAPPED", 4)
    few = map_of(embedded(ids), cohort_of(ids), done_of(tested), PLAN, "pca")
    assert len(few) == 4 and list(few["record_id"]) == sorted(few["record_id"]) and set(few["record_id"]) < set(tested)


def test_bags_are_mapped_by_their_mean() -> None:
    ids = ["a1", "b1", "a2", "b2", "a3", "b3"]
    vectors, cohort = embedded(ids), cohort_of(ids)
    plan = load_protocol("mil@1")
    found = map_of(vectors, cohort, done_of(["p1", "p2", "p3"]), plan, "pca")
    means = Embeddings(vectors.values.reshape(3, 2, 5).mean(axis=1), ("p1", "p2", "p3"))
    own = map_of(means, cohort_of(["p1", "p2", "p3"]), done_of(["p1", "p2", "p3"]), PLAN, "pca")
    pd.testing.assert_frame_equal(found, own)


def test_statistics_are_the_protocols_with_a_display() -> None:
    predictions = tiny_result().predictions
    asked: list[Any] = []

    class Shown:
        def __enter__(self) -> Shown:
            return self

        def __exit__(self, *_: object) -> None: ...

        def advance(self, steps: int = 1) -> None:
            asked.append(steps)

    def display(*titles: Any) -> Any:
        asked.append(titles)
        return Shown()

    found = summarised(predictions, PLAN, ("auroc",), patients_known=True, progress=display)
    assert asked[0] == ("resampling", 20, "resamples") and sum(asked[1:]) == 20
    assert found == summarise(predictions, PLAN.statistics, metrics=("auroc",), patients_known=True)
