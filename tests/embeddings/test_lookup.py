from __future__ import annotations

import hashlib

from embedding_fakes import picture

from medfm.embeddings import lookup
from medfm.embeddings.lookup import Hasher, Item, Unreadable, chunks, record_files
from medfm.modalities.blood_cell import BLOOD_CELL
from medfm.modalities.record import RecordRef


def test_keys_are_those_of_the_contract_and_keep_the_order(tmp_path):
    refs = [RecordRef(f"r{i}", picture(tmp_path / f"{i}.png", i)) for i in range(150)]
    items = list(Hasher(BLOOD_CELL).items(refs))
    assert [item.ref.record_id for item in items] == [ref.record_id for ref in refs]
    assert all(item.key.hex() == ref.content_key() for item, ref in zip(items, refs, strict=True))


def test_options_are_part_of_the_key_and_the_file_is_hashed_once(tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(lookup, "sha256_file", lambda p: hashed.append(p) or hashlib.sha256(p.read_bytes()).hexdigest())
    monkeypatch.setattr(lookup, "_THREADS", 1)
    path = picture(tmp_path / "smear.png", 1)
    refs = [RecordRef(f"r{i}", path, {"box": [0, 0, i + 1, 4]}) for i in range(5)]
    items = list(Hasher(BLOOD_CELL).items(refs))
    assert len({item.key for item in items}) == 5
    assert hashed == [path]


def test_a_changed_file_is_hashed_again(tmp_path):
    hasher = Hasher(BLOOD_CELL)
    ref = RecordRef("r", picture(tmp_path / "a.png", 1))
    (first,) = hasher.items([ref])
    picture(tmp_path / "a.png", 2, side=9)
    (second,) = hasher.items([ref])
    assert isinstance(first, Item) and isinstance(second, Item)
    assert first.key != second.key and first.stamp != second.stamp


def test_missing_files_and_folders_become_reasons_without_the_path(tmp_path):
    refs = [RecordRef("gone", tmp_path / "gone.png"), RecordRef("folder", tmp_path)]
    gone, folder = Hasher(BLOOD_CELL).items(refs)
    assert isinstance(gone, Unreadable) and gone.reason == "The file does not exist."
    assert isinstance(folder, Unreadable) and "folder" in folder.reason
    assert str(tmp_path) not in gone.reason + folder.reason


def test_a_modality_of_several_files_hashes_them_all(tmp_path):
    class Pair:
        def files(self, ref):
            return [ref.path, ref.path.with_suffix(".dat")]

    (tmp_path / "a.hea").write_text("header")
    (tmp_path / "a.dat").write_text("one")
    ref = RecordRef("a", tmp_path / "a.hea")
    assert len(record_files(Pair(), ref)) == 2
    (before,) = Hasher(Pair()).items([ref])
    (tmp_path / "a.dat").write_text("two!")
    (after,) = Hasher(Pair()).items([ref])
    assert before.key != after.key


def test_references_are_taken_lazily(tmp_path):
    taken = []

    def refs():
        for i in range(1000):
            taken.append(i)
            yield RecordRef(str(i), tmp_path / "none.png")

    entries = Hasher(BLOOD_CELL).items(refs())
    next(entries)
    assert len(taken) <= 64


def test_chunks():
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunks([], 2)) == []
