"""The table of ``medfm predict`` for every kind of label, its files and its words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medfm.core.errors import ConfigError
from medfm.embeddings.embeddings import Failure
from medfm.training.finetune_labels import Labels
from medfm.training.tuned import TunedClassifier
from medfm.workflows.predict import Predicted, _table, check_out

VALUES = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], dtype=np.float32)
IDS = ["a", "b", "c"]


def classifier(labels: Labels, weight: list[list[float]], bias: list[float], **settings) -> TunedClassifier:
    return TunedClassifier(labels, torch.tensor(weight), torch.tensor(bias), **settings)


BINARY = classifier(
    Labels("binary", "binary", ("healthy", "sick"), "state"), [[2.0, 0.0]], [0.0], threshold=0.9, rule="by a test"
)


def test_two_classes_go_by_the_threshold() -> None:
    table = _table(BINARY, VALUES, IDS)
    assert list(table.columns) == ["record_id", "predicted", "probability:healthy", "probability:sick"]
    expected = 1 / (1 + np.exp(-2 * VALUES[:, 0].astype(float)))
    assert table["probability:sick"].to_numpy() == pytest.approx(expected)
    assert table["probability:healthy"].to_numpy() == pytest.approx(1 - expected)
    assert table["predicted"].tolist() == ["healthy"] * 3  # 0.88 at most, under 0.9
    low = classifier(BINARY.labels, [[2.0, 0.0]], [0.0], threshold=0.2)
    assert _table(low, VALUES, IDS)["predicted"].tolist() == ["sick", "sick", "healthy"]


def test_several_classes_go_by_the_highest() -> None:
    labels = Labels("multiclass", "multiclass", ("x", "y", "z"), "kind")
    made = classifier(labels, [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0.0, 0.0, 0.0])
    table = _table(made, VALUES, IDS)
    assert table["predicted"].tolist() == ["x", "y", "z"]
    assert table.filter(like="probability:").sum(axis=1).to_numpy() == pytest.approx([1.0] * 3)


def test_grades_are_never_negative() -> None:
    labels = Labels("multiclass", "ordinal", ("0", "1", "2"), "grade")
    table = _table(classifier(labels, [[3.0, 0.0], [3.0, 0.0]], [1.0, -1.0]), VALUES, IDS)
    shares = table.filter(like="probability:").to_numpy()
    assert shares.min() >= 0 and shares.sum(axis=1) == pytest.approx([1.0] * 3)
    assert table["predicted"].tolist() == ["2", "1", "0"]


def test_many_labels_have_a_column_each() -> None:
    labels = Labels("multilabel", "multilabel", ("af", "mi"), "af+mi")
    table = _table(classifier(labels, [[5.0, 0.0], [0.0, 5.0]], [0.0, 0.0]), VALUES, IDS)
    assert list(table.columns) == ["record_id", "predicted:af", "predicted:mi", "probability:af", "probability:mi"]
    assert table["predicted:af"].tolist() == [1, 1, 0] and table["predicted:mi"].tolist() == [1, 1, 0]


def test_a_measurement_is_one_column_in_its_unit() -> None:
    labels = Labels("regression", "regression", (), "age", 50.0, 10.0)
    table = _table(classifier(labels, [[1.0, 0.0]], [0.5]), VALUES, IDS)
    assert list(table.columns) == ["record_id", "predicted"]
    assert table["predicted"].to_numpy() == pytest.approx([65.0, 55.0, 45.0])


def predicted(**settings) -> Predicted:
    table = _table(BINARY, VALUES, IDS)
    return Predicted(table, BINARY, "my-encoder", settings.get("failures", ()), settings.get("notes", ()))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_file_and_its_description(tmp_path: Path, suffix: str) -> None:
    made = predicted(failures=(Failure("d", "no such file"),), notes=("one",))
    out = made.save(tmp_path / f"p{suffix}")
    back = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    pd.testing.assert_frame_equal(back, made.table, check_dtype=False)
    about = json.loads((tmp_path / "p.json").read_text())
    assert about["threshold"] == {"value": 0.9, "chosen": "by a test"} and about["classes"] == ["healthy", "sick"]
    assert about["failures"] == [{"record_id": "d", "reason": "no such file"}] and about["records"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"p{suffix}", "p.json"])


def test_the_words_count_classes_and_name_what_failed() -> None:
    said = str(predicted(failures=(Failure("d", "no such file"),)))
    assert "3 records, 'state' by my-encoder" in said and "failed: d: no such file" in said
    assert "healthy              3" in said and "positive from 0.9000 on: by a test" in said


@pytest.mark.parametrize("name", ["p.xlsx", "p", "p.json"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        check_out(tmp_path / name)
