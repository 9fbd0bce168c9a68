"""The cache of text embeddings: one call per text and tower, bounded memory, damage repaired, bad towers refused."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.core.progress import Silent
from medfm.embeddings import texts as module
from medfm.embeddings.store import EncoderStore, Maker
from medfm.embeddings.texts import TextCache

DIM = 8


class Tower:
    """A vector of its own for every text (and, asked as a group, for every group); remembers its calls."""

    def __init__(self, seed: str = "") -> None:
        self.seed = seed
        self.calls: list[list[str]] = []

    def vector(self, text: str, beside: str = "") -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed}|{beside}|{text}".encode()).digest()
        return np.frombuffer(digest[:DIM], np.uint8).astype(np.float32)

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.calls.append(list(texts))
        return np.stack([self.vector(text) for text in texts])

    def group(self, texts: list[str]) -> np.ndarray:
        self.calls.append(list(texts))
        return np.stack([self.vector(text, beside=str(sorted(texts))) for text in texts])


def kept(tower: Tower, folder: Path, fingerprint: str = "one", **settings: object) -> TextCache:
    store = EncoderStore.open(Maker(fingerprint, "fp32", DIM), folder)
    return TextCache(tower, fingerprint, store=store, **settings)  # type: ignore[arg-type]


def test_each_text_is_encoded_once_in_batches() -> None:
    tower = Tower()
    cache = TextCache(tower, "one", batch=2)
    first = cache.vectors(["circle", "square", "circle", "ellipse"])
    assert tower.calls == [["circle", "square"], ["ellipse"]]
    assert first.shape == (4, DIM) and first.dtype == np.float32
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(cache.vectors(["ellipse"])[0], first[3])
    assert len(tower.calls) == 2


def test_a_store_keeps_them_per_tower(tmp_path: Path) -> None:
    first, second, other = Tower(), Tower("1"), Tower("2")
    vectors = kept(first, tmp_path).vectors(["circle"])
    np.testing.assert_array_equal(kept(second, tmp_path).vectors(["circle"]), vectors)
    assert second.calls == []
    assert not np.array_equal(kept(other, tmp_path, "two").vectors(["circle"]), vectors)
    assert other.calls == [["circle"]]


def test_a_store_of_another_tower_is_refused(tmp_path: Path) -> None:
    store = EncoderStore.open(Maker("one", "fp32", DIM), tmp_path)
    with pytest.raises(EvaluationError, match="another tower"):
        TextCache(Tower(), "two", store=store)


@pytest.mark.parametrize("damage", ["cut", "text", "flip", "gone"])
def test_a_damaged_shard_is_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    vectors = kept(Tower(), tmp_path).vectors(["circle", "square"])
    (file,) = tmp_path.rglob("*.parquet")
    data = bytearray(file.read_bytes())
    reader = Tower()
    cache = kept(reader, tmp_path)
    if damage == "gone":  # removed by another process after this one had looked
        file.unlink()
    elif damage == "text":
        file.write_text("no shard")
    else:
        data[len(data) // 3] ^= 255
        file.write_bytes(data[:-9] if damage == "cut" else data)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cache.vectors(["circle", "square"]), vectors)
    assert reader.calls == [["circle", "square"]] and caplog.text
    again = Tower()
    np.testing.assert_array_equal(kept(again, tmp_path).vectors(["square"]), vectors[1:])
    assert again.calls == []


def test_memory_does_not_grow_with_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 10)
    monkeypatch.setattr(module, "_SHARD", 64)
    tower = Tower()
    cache = kept(tower, tmp_path, batch=16)
    texts = [f"text {i}" for i in range(300)]
    cache.fill(texts)
    assert len(cache._held) <= 10 and cache._new == {}
    asked = sum(map(len, tower.calls))
    np.testing.assert_array_equal(cache.vectors(texts[::7]), np.stack([tower.vector(t) for t in texts[::7]]))
    assert len(cache._held) <= 10 and sum(map(len, tower.calls)) == asked == 300
    # Without a store there is nowhere else to keep them.
    memory = TextCache(Tower(), "f")
    memory.fill(texts)
    assert len(memory._held) == 300


def test_many_calls_make_one_shard_each_and_a_fill_only_one(tmp_path: Path) -> None:
    kept(Tower(), tmp_path, batch=3).fill([f"t{i}" for i in range(50)])
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_what_was_computed_before_a_stop_is_kept(tmp_path: Path) -> None:
    tower = Tower()

    def stops(texts: list[str]) -> np.ndarray:
        if "c" in texts:
            raise KeyboardInterrupt
        return tower(texts)

    cache = kept(tower, tmp_path, batch=1)
    cache._encode = stops
    with pytest.raises(KeyboardInterrupt):
        cache.fill(["a", "b", "c", "d"])
    tower.calls.clear()
    with Silent("texts", 4) as shown:
        kept(tower, tmp_path).fill(["a", "b", "c", "d", "a"], shown)
        assert shown.done == 4
    assert tower.calls == [["c", "d"]]


def test_groups_are_kept_by_all_their_texts(tmp_path: Path) -> None:
    tower = Tower()
    cache = kept(tower, tmp_path, encode_group=tower.group)
    together = cache.together(["a", "b", "a"])
    assert tower.calls == [["a", "b"]]
    np.testing.assert_array_equal(together, np.stack([tower.vector(t, "['a', 'b']") for t in ("a", "b", "a")]))
    np.testing.assert_array_equal(cache.together(["b", "a"]), together[[1, 0]])  # the order does not matter
    assert not np.array_equal(cache.together(["a", "c"])[0], together[0])
    assert not np.array_equal(cache.vectors(["a"])[0], together[0])
    assert tower.calls == [["a", "b"], ["a", "c"], ["a"]]
    again = Tower()
    later = kept(again, tmp_path, encode_group=again.group)
    with Silent("texts", 4) as shown:
        later.fill_groups([["a", "b"], ["a", "c"]], shown)
        assert shown.done == 4
    np.testing.assert_array_equal(later.together(["a", "b"]), together[:2])
    assert again.calls == []


def test_a_group_of_one_and_a_tower_without_groups_are_texts() -> None:
    tower = Tower()
    mixing, plain = TextCache(tower, "f", encode_group=tower.group), TextCache(tower, "f")
    np.testing.assert_array_equal(mixing.together(["a", "a"]), mixing.vectors(["a", "a"]))
    np.testing.assert_array_equal(plain.together(["a", "b"]), plain.vectors(["a", "b"]))
    assert mixing.mixes(["a", "b"]) and not mixing.mixes(["a", "a"]) and not plain.mixes(["a", "b"])


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
        TextCache(Tower(), "f").vectors([])
    with pytest.raises(EvaluationError, match="fingerprint"):
        TextCache(Tower(), "")


def test_the_row_kept_does_not_follow_the_towers_buffer_nor_the_caller() -> None:
    buffer = np.ones((1, 3), dtype=np.float32)
    cache = TextCache(lambda _: buffer, "f")
    cache.vectors(["a"])[:] = 7.0
    buffer[:] = 5.0
    np.testing.assert_array_equal(cache.vectors(["a"])[0], 1.0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8), min_size=1, max_size=5),
    batch=st.integers(1, 5),
    fresh=st.booleans(),
)
def test_any_requests_give_what_the_tower_gives(
    tmp_path_factory: pytest.TempPathFactory, requests: list[list[str]], batch: int, fresh: bool
) -> None:
    folder, tower = tmp_path_factory.mktemp("cache"), Tower()
    cache = kept(tower, folder, batch=batch)
    for texts in requests:
        np.testing.assert_array_equal(cache.vectors(texts), np.stack([tower.vector(t) for t in texts]))
        cache = kept(tower, folder, batch=batch) if fresh else cache
    asked = [text for call in tower.calls for text in call]
    assert sorted(asked) == sorted({text for texts in requests for text in texts})
