"""Text embeddings in the store: once per tower and text, in few files, damage mended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medfm.core.errors import CardError, EvaluationError
from medfm.core.progress import Silent
from medfm.embeddings import texts as module
from medfm.embeddings.texts import embed_texts


class Tower:
    id, modality, embedding_dim, weights_kind = "tower", "ecg", 4, "random"

    def __init__(self, fingerprint: str | None = "a" * 64) -> None:
        self.text_fingerprint = fingerprint
        self.asked: list[str] = []

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += list(texts)
        return np.stack([np.array([len(t), ord(t[0]) if t else 0, 1, 2], np.float32) for t in texts])


def test_each_text_once_and_in_order(tmp_path: Path) -> None:
    tower = Tower()
    with Silent("texts", 3) as shown:
        rows = embed_texts(tower, ["b", "aa", "b", "ccc"], cache=tmp_path, progress=shown)
        assert shown.done == 3
    assert rows[:, 0].tolist() == [1, 2, 1, 3] and rows.dtype == np.float32
    assert tower.asked == ["b", "aa", "ccc"]
    again = Tower()
    np.testing.assert_array_equal(embed_texts(again, ["ccc", "b", "new"], cache=tmp_path)[:, 0], [3, 1, 3])
    assert again.asked == ["new"]
    other = Tower("b" * 64)
    embed_texts(other, ["b"], cache=tmp_path)
    assert other.asked == ["b"]


def test_many_texts_make_few_files_without_their_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARD", 50)
    monkeypatch.setattr(module, "_BATCH", 50)
    embed_texts(Tower(), [f"Mister Secret {i}" for i in range(120)], cache=tmp_path)
    files = list(tmp_path.rglob("*.parquet"))
    assert len(files) == 3
    assert not any(b"Secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    texts = ["a", "b", "c", "d"]

    class Stopped(Tower):
        def encode_text(self, texts: Sequence[str]) -> np.ndarray:
            if "c" in texts:
                raise KeyboardInterrupt
            return super().encode_text(texts)

    with pytest.raises(KeyboardInterrupt):
        embed_texts(Stopped(), texts, cache=tmp_path)
    tower = Tower()
    embed_texts(tower, texts, cache=tmp_path)
    assert tower.asked == ["c", "d"]


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damage_is_mended(tmp_path: Path, damage: str) -> None:
    first = embed_texts(Tower(), ["a", "bb"], cache=tmp_path)
    (file,) = tmp_path.rglob("*.parquet")
    data = bytearray(file.read_bytes())
    data = data[:-20] if damage == "cut" else data
    if damage == "flip":
        data[len(data) // 3] ^= 255
    file.write_bytes(data)
    np.testing.assert_array_equal(embed_texts(Tower(), ["a", "bb"], cache=tmp_path), first)


def test_bad_towers(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no texts"):
        embed_texts(Tower(), [], cache=tmp_path)
    with pytest.raises(CardError, match="no text tower"):
        embed_texts(Tower(None), ["a"], cache=tmp_path)
    for answer in (np.ones((1, 3)), np.ones((2, 4)), np.full((1, 4), np.nan)):
        tower = Tower()
        tower.encode_text = lambda texts, answer=answer: answer  # type: ignore[method-assign, misc]
        with pytest.raises(EvaluationError, match=r"gave (an array|values that are not finite)"):
            embed_texts(tower, ["a"], cache=tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))
