"""What was seen at a glance, kept beside the vectors: by key, merged, and harmless where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedding_fakes import TinyEncoder, make_cohort
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.progress import Silent
from medfm.embeddings.glances import PREFIX, Glances
from medfm.embeddings.index import key_array
from medfm.embeddings.pipeline import Plan, extract
from medfm.embeddings.store import EncoderStore, Maker
from medfm.modalities.registry import get_modality


def key(number: int) -> bytes:
    return number.to_bytes(4, "big") * 8


def kept(folder: Path, numbers: list[int], bits: int) -> None:
    glances = Glances(folder)
    for number in numbers:
        glances.add(key(number), bits)
    glances.save()


def of(folder: Path, *numbers: int) -> list[int]:
    return Glances(folder).of(key_array([key(n) for n in numbers])).tolist()


def test_nothing_seen_is_nothing_written(tmp_path: Path) -> None:
    Glances(tmp_path / "absent").save()
    assert not (tmp_path / "absent").exists() and of(tmp_path / "absent", 1, 2) == [0, 0]


def test_what_was_seen_comes_back_by_key(tmp_path: Path) -> None:
    kept(tmp_path, [3, 1], 5)
    kept(tmp_path, [2], 65535)
    assert of(tmp_path, 1, 2, 3, 4, 1) == [5, 65535, 5, 0, 5]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_same_again_is_the_same_file(tmp_path: Path) -> None:
    kept(tmp_path, [1, 2], 5)
    kept(tmp_path, [2, 1], 5)
    assert len(list(tmp_path.iterdir())) == 1


def test_many_small_files_become_one(tmp_path: Path) -> None:
    for number in range(8):
        kept(tmp_path, [number], number + 1)
    assert len(list(tmp_path.iterdir())) == 8
    kept(tmp_path, [100], 9)
    assert len(list(tmp_path.iterdir())) == 1
    assert of(tmp_path, *range(8), 100) == [*range(1, 9), 9]


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_says_nothing(tmp_path: Path, content: bytes) -> None:
    kept(tmp_path, [1], 5)
    (tmp_path / f"{PREFIX}0.npy").write_bytes(content)
    assert of(tmp_path, 1, 2) == [5, 0]


def test_an_array_of_another_kind_and_pickles_are_passed_over(tmp_path: Path) -> None:
    np.save(tmp_path / f"{PREFIX}1.npy", np.zeros(3))
    np.save(tmp_path / f"{PREFIX}2.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert of(tmp_path, 1) == [0]


def test_a_folder_that_cannot_be_written_loses_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept(tmp_path / "file", [1], 5)
    assert "could not be kept" in caplog.text


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 30), st.integers(1, 2047), min_size=1, max_size=6), max_size=12))
def test_against_a_dictionary(tmp_path_factory: pytest.TempPathFactory, runs: list[dict[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("glances")
    known: dict[int, set[int]] = {}
    for run in runs:
        glances = Glances(folder)
        for number, bits in run.items():
            glances.add(key(number), bits)
            known.setdefault(number, set()).add(bits)
        glances.save()
    for number, bits in zip(range(32), of(folder, *range(32)), strict=True):
        assert bits in known.get(number, {0})


class Looking:
    """The cells' reader, that also looks."""

    def __init__(self) -> None:
        self.real = get_modality("blood_cell")

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def glance(self, record: object) -> int:
        return 1 + int(record.array[0, 0, 0]) % 7


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_keeps_what_its_reader_saw_and_a_second_run_has_it(tmp_path: Path, workers: int) -> None:
    cohort, encoder, modality = make_cohort(tmp_path / "images", 9), TinyEncoder(), Looking()
    store = EncoderStore.open(Maker("ab" * 32, "fp32", 6), tmp_path / "cache")
    plan = Plan(batch_size=4, workers=workers, streams=1)
    done = extract(encoder, cohort.refs(), modality, store, plan, Silent("x", 9))
    expected = [modality.glance(cohort.read(i)) for i in range(9)]
    assert Glances(store.folder).of(done.keys).tolist() == expected
    again = EncoderStore.open(Maker("ab" * 32, "fp32", 6), tmp_path / "cache")
    second = extract(encoder, cohort.refs(), modality, again, plan, Silent("x", 9))
    assert second.cached == 9 and Glances(again.folder).of(second.keys).tolist() == expected


def test_a_run_that_is_stopped_keeps_what_was_seen(tmp_path: Path) -> None:
    cohort, modality = make_cohort(tmp_path / "images", 9), Looking()
    (tmp_path / "images" / "cell_008.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    store = EncoderStore.open(Maker("ab" * 32, "fp32", 6), tmp_path / "cache")
    plan = Plan(batch_size=4, workers=0, streams=1, stop_on_error=True)
    with pytest.raises(Exception, match="cannot be embedded"):
        extract(TinyEncoder(), cohort.refs(), modality, store, plan, Silent("x", 9))
    assert list(store.folder.glob(f"{PREFIX}*"))


def test_a_modality_that_does_not_look_leaves_no_file(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "images", 3)
    store = EncoderStore.open(Maker("ab" * 32, "fp32", 6), tmp_path / "cache")
    extract(TinyEncoder(), cohort.refs(), get_modality("blood_cell"), store, Plan(4, 0, 1), Silent("x", 3))
    assert not list(store.folder.glob(f"{PREFIX}*"))
