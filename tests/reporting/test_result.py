from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import medfm
from medfm.core.errors import EvaluationError, StoreError
from medfm.reporting.result import Result, load_result


def same(first: Result, second: Result) -> None:
    assert_frame_equal(first.predictions.table, second.predictions.table)
    assert first.predictions.task == second.predictions.task
    assert first.predictions.classes == second.predictions.classes
    assert first.predictions.target == second.predictions.target
    for name in ("kind", "protocol", "summary", "provenance", "findings", "config", "batch_effect", "extras", "name"):
        assert getattr(first, name) == getattr(second, name), name
    assert first.thumbnails == second.thumbnails
    assert (first.embedding_map is None) == (second.embedding_map is None)
    if first.embedding_map is not None and second.embedding_map is not None:
        assert_frame_equal(first.embedding_map, second.embedding_map)
    assert first.id == second.id


def test_the_public_names_are_these(result):
    assert medfm.Result is Result
    assert medfm.load_result is load_result
    assert isinstance(result, medfm.Result)


def test_a_saved_result_comes_back_exactly(result, tmp_path):
    folder = result.save(tmp_path / "first")
    same(load_result(folder), result)
    assert sorted(p.name for p in folder.iterdir()) == [
        "card.md",
        "config.yaml",
        "predictions.parquet",
        "report.html",
        "result.json",
    ]


def test_every_task_comes_back_exactly(make, tasks, tmp_path):
    for name, predictions in tasks.items():
        made = make(predictions, batch_effect=None)
        same(load_result(made.save(tmp_path / name)), made)


def test_thumbnails_and_missing_sites_come_back(make, images, tmp_path):
    made = make()
    made.predictions.table.loc[:9, "site"] = None
    saved = load_result(made.save(tmp_path / "a", images=images))
    assert saved.thumbnails
    assert all(data[:2] == b"\xff\xd8" for data in saved.thumbnails.values())
    again = load_result(saved.save(tmp_path / "b"))
    same(again, saved)


def test_the_json_is_strict(result, tmp_path):
    def refuse(text: str) -> float:
        raise AssertionError(text)

    text = (result.save(tmp_path / "r") / "result.json").read_text()
    head = json.loads(text, parse_constant=refuse)
    assert head["schema_version"] == 1
    assert head["id"] == result.id


def test_nan_in_extras_becomes_null_and_arrays_become_lists(make):
    made = make(extras={"attention": np.array([1.0, np.nan]), "fold": np.int64(3), 5: (1, 2)})
    assert made.extras == {"attention": [1.0, None], "fold": 3, "5": [1, 2]}


def test_the_id_follows_what_made_the_result(make, result):
    assert make().id == result.id
    assert make(config={"target": "other"}).id != result.id
    assert make(provenance=result.provenance | {"fingerprint": "00"}).id != result.id
    assert make(provenance=result.provenance | {"cohort_digest": "00"}).id != result.id
    changed = result.predictions.table.copy()
    changed.loc[0, "score:basophil"] += 1e-9
    other = type(result.predictions)(changed, "multiclass", result.predictions.classes, "cell_type")
    assert make(other).id != result.id
    # Name and date are not part of what was computed.
    assert make(name="other", provenance=result.provenance | {"created": "2030"}).id == result.id


def test_the_map_keeps_predicted_records_only_in_their_order(make, result):
    ids = list(dict.fromkeys(result.predictions.table["record_id"]))
    shuffled = [ids[2], "a training record", ids[0], ids[2]]
    places = pd.DataFrame({"record_id": shuffled, "x": [2, 9, 0, 7], "y": 1, "method": "PCA"})
    kept = make(embedding_map=places).embedding_map
    assert list(kept["record_id"]) == [ids[0], ids[2]]
    assert list(kept["x"]) == [0.0, 2.0]


def test_a_map_without_its_columns_is_refused(make):
    with pytest.raises(EvaluationError, match="method"):
        make(embedding_map=pd.DataFrame({"record_id": ["a"], "x": [0.0], "y": [0.0]}))


def test_columns_of_the_folder_may_not_be_in_the_predictions(make, result):
    table = result.predictions.table.assign(map_x=0.0)
    predictions = type(result.predictions)(table, "multiclass", result.predictions.classes)
    with pytest.raises(EvaluationError, match="map_x"):
        Result("knn", result.protocol, result.summary, predictions)


def test_something_without_a_plain_form_is_refused(make):
    with pytest.raises(StoreError, match="object"):
        make(extras={"x": object()})


def test_title_from_the_parts_where_no_name_was_given(make):
    assert make(name="").title == "dinobloom-s: linear probe on synthetic blood cells"
    assert make().title == "first probe"
