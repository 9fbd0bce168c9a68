"""The cache of text embeddings: one call per text and encoder, damage repaired, bad towers refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from planted_text import PlantedTower

from medfm.core.errors import EvaluationError
from medfm.evaluation.zero_shot_text import TextCache


def test_each_text_is_encoded_once_in_batches() -> None:
    tower = PlantedTower()
    cache = TextCache(tower, "one", batch=2)
    first = cache.vectors(["circle", "square", "circle", "ellipse"])
    assert tower.calls == [["circle", "square"], ["ellipse"]]
    assert first.shape[0] == 4
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(cache.vectors(["ellipse"])[0], first[3])
    assert len(tower.calls) == 2


def test_a_folder_keeps_them_per_encoder(tmp_path: Path) -> None:
    first, second, other = PlantedTower(), PlantedTower(1), PlantedTower(2)
    kept = TextCache(first, "one", folder=tmp_path).vectors(["circle"])
    np.testing.assert_array_equal(TextCache(second, "one", folder=tmp_path).vectors(["circle"]), kept)
    assert second.calls == []
    assert not np.array_equal(TextCache(other, "two", folder=tmp_path).vectors(["circle"]), kept)
    assert other.calls == [["circle"]]


@pytest.mark.parametrize("damage", ["cut", "text", "shape", "nan", "type"])
def test_a_damaged_file_is_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    kept = TextCache(PlantedTower(), "one", folder=tmp_path).vectors(["circle"])
    (file,) = tmp_path.glob("*.npy")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "text":
        file.write_text("not an array")
    else:
        bad = {"shape": np.ones((2, 2), np.float32), "nan": np.full(4, np.nan, np.float32), "type": np.ones(4)}
        np.save(file, bad[damage])
    tower = PlantedTower()
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(TextCache(tower, "one", folder=tmp_path).vectors(["circle"]), kept)
    assert tower.calls == [["circle"]]
    assert "damaged" in caplog.text
    again = PlantedTower()
    TextCache(again, "one", folder=tmp_path).vectors(["circle"])
    assert again.calls == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.ones((1, 4)), "shape"),
        (np.ones(2), "shape"),
        (np.ones((2, 0)), "shape"),
        (np.array([[1.0, 2.0], [np.inf, 0.0]]), "not finite"),
    ],
)
def test_a_tower_that_answers_badly(answer: np.ndarray, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        TextCache(lambda _: answer, "f").vectors(["a", "b"])


def test_widths_must_agree() -> None:
    cache = TextCache(lambda texts: np.ones((len(texts), len(texts[0]))), "f", batch=1)
    with pytest.raises(EvaluationError, match="different widths"):
        cache.vectors(["a", "bb"])


def test_no_texts_and_no_fingerprint() -> None:
    with pytest.raises(EvaluationError, match="no texts"):
        TextCache(PlantedTower(), "f").vectors([])
    with pytest.raises(EvaluationError, match="fingerprint"):
        TextCache(PlantedTower(), "")


def test_the_row_kept_does_not_follow_the_towers_buffer() -> None:
    buffer = np.ones((1, 3), dtype=np.float32)
    cache = TextCache(lambda _: buffer, "f")
    cache.vectors(["a"])
    buffer[:] = 5.0
    np.testing.assert_array_equal(cache.vectors(["a"])[0], 1.0)
