"""A table of predictions read back from its file says what the classifier said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medfm.training.finetune_labels import Labels
from medfm.training.tuned import TunedClassifier, load_classifier, save_classifier
from medfm.workflows.predict import Predicted, _table

IDS = ["007", "a,b", 'say "x"', "two\nlines", "ä-9"]
VALUES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
AWKWARD = ("mild, early", 'so-called "severe"', "żółty")
KINDS = [
    Labels("binary", "binary", AWKWARD[:2], "state"),
    Labels("multiclass", "multiclass", AWKWARD, "kind"),
    Labels("multiclass", "ordinal", ("0", "1", "2"), "grade"),
    Labels("multilabel", "multilabel", AWKWARD, "a+b+c"),
    Labels("regression", "regression", (), "age", 61.5, 12.25),
]


def classifier(labels: Labels) -> TunedClassifier:
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(labels.outputs, 3, generator=source)
    if labels.kind == "ordinal":
        weight = weight[:1].expand(labels.outputs, -1)
    return TunedClassifier(labels, weight.contiguous(), torch.arange(labels.outputs, 0, -1).float(), 0.42, "by hand")


@pytest.mark.parametrize("labels", KINDS, ids=lambda k: k.kind)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_number_and_name_comes_back(tmp_path: Path, labels: Labels, suffix: str) -> None:
    made = classifier(labels)
    table = _table(made, VALUES, IDS)
    out = Predicted(table, made, "e", (), ()).save(tmp_path / f"p{suffix}")
    if suffix == ".csv":
        kinds = {name: table[name].dtype for name in ("record_id", "predicted") if name in table}
        back = pd.read_csv(out, dtype=kinds, float_precision="round_trip")
    else:
        back = pd.read_parquet(out)
    assert back["record_id"].tolist() == IDS and list(back.columns) == list(table.columns)
    for column in table.columns:
        assert back[column].tolist() == table[column].tolist(), column
    scores = made.scores(VALUES)
    if labels.task != "regression":
        found = back[[f"probability:{name}" for name in labels.classes]].to_numpy()
        assert np.array_equal(found, scores)
    about = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert tuple(about["classes"]) == labels.classes and about["task"] == labels.task


@pytest.mark.parametrize("labels", KINDS, ids=lambda k: k.kind)
def test_a_classifier_from_its_files_gives_the_same_table(tmp_path: Path, labels: Labels) -> None:
    made = classifier(labels)
    save_classifier(tmp_path, made, "f")
    pd.testing.assert_frame_equal(_table(load_classifier(tmp_path), VALUES, IDS), _table(made, VALUES, IDS))


def test_no_records_make_an_empty_table_with_its_columns() -> None:
    for labels in KINDS:
        table = _table(classifier(labels), VALUES[:0], [])
        assert len(table) == 0 and list(table.columns) == list(_table(classifier(labels), VALUES, IDS).columns)
