from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medfm.core.errors import ReadError, StoreError
from medfm.reporting.thumbnails import EDGE, SHOWN, confident_errors, thumbnail, thumbnails


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_the_surest_errors_come_first(result):
    rows = confident_errors(result)
    assert 0 < len(rows) <= SHOWN
    assert (rows["truth"] != rows["predicted"]).all()
    assert rows["score"].is_monotonic_decreasing
    main = result.predictions.of_variant().table
    wrong = main[main["truth"] != main["predicted"]]
    best = wrong[[c for c in main if c.startswith("score:")]].max(axis=1).max()
    assert rows["score"].iloc[0] == pytest.approx(best)


def test_classes_take_turns_among_equally_sure_errors(make, result):
    table = result.predictions.of_variant().table
    classes = result.predictions.classes
    wrong = {name: classes[(i + 1) % len(classes)] for i, name in enumerate(classes)}
    table = table.assign(predicted=table["truth"].map(wrong))
    table = table.assign(**{f"score:{c}": (table["predicted"] == c).astype(float) for c in classes})
    made = make(summary=result.summary)
    object.__setattr__(made, "predictions", type(result.predictions)(table, "multiclass", classes, "t"))
    assert set(confident_errors(made, 3)["truth"]) == set(classes)


def test_only_the_headline_is_shown_and_each_record_once(make, result):
    table = result.predictions.table
    doubled = type(result.predictions)(
        table.assign(variant="main"), "multiclass", result.predictions.classes, "cell_type"
    )
    assert confident_errors(make(doubled))["record_id"].is_unique


def test_errors_of_labels_say_which_label(make, tasks):
    rows = confident_errors(make(tasks["multilabel"]))
    assert len(rows)
    for row in rows.itertuples():
        label, _, state = str(row.truth).partition(": ")
        assert label in ("smudged", "granules", "vacuoles")
        assert str(row.predicted) == f"{label}: {'absent' if state == 'present' else 'present'}"
        assert 0.5 <= row.score <= 1.0


def test_unknown_labels_are_no_errors(make, tasks):
    predictions = tasks["multilabel"]
    table = predictions.table.assign(**{f"truth:{c}": np.nan for c in predictions.classes})
    blank = type(predictions)(table, "multilabel", predictions.classes)
    made = make(predictions)
    object.__setattr__(made, "predictions", blank)
    assert confident_errors(made).empty


def test_regression_shows_the_largest_misses(make, tasks):
    table = tasks["regression"].table
    rows = confident_errors(make(tasks["regression"]))
    assert rows["score"].iloc[0] == pytest.approx((table["predicted"] - table["truth"]).abs().max())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((300, 200, 3), np.uint8),
        np.zeros((20, 20), np.uint8),
        np.ones((64, 64, 3), np.float32),
        np.full((64, 64), 65535, np.uint16),
    ],
)
def test_a_thumbnail_is_a_small_jpeg(array):
    image = opened(thumbnail(array))
    assert image.format == "JPEG" and image.mode == "RGB"
    assert max(image.size) == min(EDGE, max(array.shape[:2]))


def test_the_shape_is_kept():
    assert opened(thumbnail(np.zeros((300, 150, 3), np.uint8))).size == (EDGE // 2, EDGE)


def test_depth_is_scaled_to_eight_bits():
    assert np.asarray(opened(thumbnail(np.full((9, 9), 65535, np.uint16)))).min() > 250
    assert np.asarray(opened(thumbnail(np.ones((9, 9, 3), np.float64)))).min() > 250


@pytest.mark.parametrize("shape", [(5,), (5, 5, 4), (2, 5, 5, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(StoreError, match="not a picture"):
        thumbnail(np.zeros(shape, np.uint8))


def test_pictures_come_from_a_mapping_a_function_or_a_cohort(result, images):
    shown = list(confident_errors(result)["record_id"])

    class Record:
        array = np.zeros((8, 8, 3), np.uint8)

    class Cohort:
        record_ids = shown[:2]

        def read(self, row: int) -> Record:
            return Record()

    assert list(thumbnails(result, images)) == shown
    assert list(thumbnails(result, {shown[1]: np.zeros((8, 8, 3), np.uint8)})) == [shown[1]]
    assert list(thumbnails(result, Cohort())) == shown[:2]
    with pytest.raises(StoreError, match="cannot be taken from a int"):
        thumbnails(result, 7)


def test_an_unreadable_picture_is_left_out_and_logged(result, images, caplog):
    shown = list(confident_errors(result)["record_id"])

    def broken(record_id: str) -> np.ndarray:
        if record_id == shown[0]:
            raise ReadError("truncated")
        return images(record_id)

    assert list(thumbnails(result, broken)) == shown[1:]
    assert shown[0] in caplog.text and "truncated" in caplog.text
