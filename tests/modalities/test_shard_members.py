"""Pictures in shards as records: equal to files in pixels, facts and content keys, through the whole pipeline."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shard_files import picture, pixels, sample, write_members, write_shard

import medfm
from medfm.cohorts.checks import run_checks
from medfm.core.errors import CohortError, ReadError
from medfm.embeddings.copies import content_keys
from medfm.embeddings.lookup import Hasher, Item, Unreadable
from medfm.io.tar_members import index_tar
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, read_record
from medfm.modalities.shard_members import member_options

MODALITIES = ["histopathology", "retina"]


def files(folder: Path, count: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


def table(shard: Path, with_offset: bool = True) -> pd.DataFrame:
    rows = [
        {"record_id": f"r{i}", "path": shard.name, "member": name, "member_offset": place.offset}
        for i, (name, place) in enumerate(index_tar(shard).members.items())
        if name.endswith("png")
    ]
    frame = pd.DataFrame(rows)
    return frame if with_offset else frame.drop(columns="member_offset")


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_members(tmp_path / "s.tar", [(f"{i:04d}.png", picture(i)) for i in range(6)])


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp"])
def test_a_member_is_read_as_its_file_is(tmp_path: Path, modality: str, ending: str) -> None:
    data = picture(3, ending)
    (tmp_path / f"x.{ending}").write_bytes(data)
    path = write_members(tmp_path / "s.tar", [("other.png", picture(1)), (f"x.{ending}", data)])
    own = read_record(tmp_path / f"x.{ending}", modality)
    inside = read_record(path, modality, member=f"x.{ending}")
    assert np.array_equal(own.array, inside.array)
    assert dict(own.facts) == dict(inside.facts)
    assert inside.record_id == "s.tar"


@pytest.mark.parametrize("modality", MODALITIES)
def test_content_keys_are_those_of_the_same_bytes_in_a_file(tmp_path: Path, modality: str, shard: Path) -> None:
    folder = files(tmp_path / "files")
    reader = get_modality(modality)
    loose = [RecordRef(f"f{i}", folder / f"{i}.png").content_key() for i in range(6)]
    for with_offset in (True, False):
        cohort = medfm.load_cohort(table(shard, with_offset), modality, tmp_path)
        assert [item.key.hex() for item in Hasher(reader).items(cohort.refs()) if isinstance(item, Item)] == loose


def test_other_options_are_part_of_the_key(shard: Path) -> None:
    reader = get_modality("histopathology")
    plain = RecordRef("a", shard, {"member": "0001.png"})
    told = RecordRef("a", shard, {"member": "0001.png", "member_offset": index_tar(shard).members["0001.png"].offset})
    placed = RecordRef("a", shard, {"member": "0001.png", "mpp": 0.5})
    keys = [reader.content_key(ref) for ref in (plain, told, placed)]  # type: ignore[attr-defined]
    assert keys[0] == keys[1] != keys[2]
    file = RecordRef("a", shard.parent / "f.png", {"mpp": 0.5})
    file.path.write_bytes(picture(1))
    assert keys[2] == file.content_key()


def test_embedding_a_shard_after_its_files_computes_nothing(tmp_path: Path, shard: Path) -> None:
    folder = files(tmp_path / "files")
    loose = medfm.load_cohort(pd.DataFrame({"path": [f"{i}.png" for i in range(6)]}), "histopathology", folder)
    first = medfm.embed("color-histogram", loose, cache=tmp_path / "cache")
    packed = medfm.load_cohort(table(shard), "histopathology", tmp_path)
    second = medfm.embed("color-histogram", packed, cache=tmp_path / "cache")
    assert np.array_equal(first.values, second.values)
    assert second.provenance["run"]["computed"] == 0
    assert second.record_ids == tuple(f"r{i}" for i in range(6))


def test_one_and_several_workers_and_any_order_agree(tmp_path: Path, shard: Path) -> None:
    frame = table(shard)
    one = medfm.embed("color-histogram", medfm.load_cohort(frame, "retina", tmp_path), cache=tmp_path / "a", workers=0)
    turned = medfm.load_cohort(frame.iloc[::-1], "retina", tmp_path)
    two = medfm.embed("color-histogram", turned, cache=tmp_path / "b", workers=2)
    assert np.array_equal(one.values, two.values[two.rows(list(one.record_ids))])


def test_bad_members_become_failures_with_their_reason(tmp_path: Path) -> None:
    members = [
        ("ok.png", picture(0)),
        ("text.png", b"not a picture at all"),
        ("empty.png", b""),
        ("cut.png", picture(1)[:200]),
    ]
    path = write_members(tmp_path / "s.tar", members, link=(tarfile.SYMTYPE, "ok.png"))
    named = ["ok.png", "text.png", "empty.png", "cut.png", "link", "none.png"]
    frame = pd.DataFrame({"record_id": named, "path": "s.tar", "member": named})
    cohort = medfm.load_cohort(frame, "histopathology", tmp_path)
    made = medfm.embed("color-histogram", cohort, cache=tmp_path / "c", on_error="skip")
    assert list(made.record_ids) == ["ok.png"]
    reasons = {failure.record_id: failure.reason for failure in made.failures}
    assert "a text file" in reasons["text.png"]
    assert "0 bytes" in reasons["empty.png"]
    assert "cut off" in reasons["cut.png"]
    assert "link" in reasons["link"]
    assert "no member" in reasons["none.png"]
    assert path.is_file()


def test_a_shard_that_vanished_or_changed(tmp_path: Path, shard: Path) -> None:
    cohort = medfm.load_cohort(table(shard), "histopathology", tmp_path)
    reader = get_modality("histopathology")
    write_members(shard, [("0000.png", picture(0)), ("0001.png", picture(1))])
    found = list(Hasher(reader).items(cohort.refs()))
    assert isinstance(found[0], Item)
    assert isinstance(found[2], Unreadable)
    assert "has changed" in found[2].reason or "no member" in found[2].reason
    shard.unlink()
    assert {entry.reason for entry in Hasher(reader).items(cohort.refs()) if isinstance(entry, Unreadable)} == {
        "The file does not exist."
    }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"member": "../x.png"}, "leaves the folder"),
        ({"member": "/x.png"}, "absolute"),
        ({"member": "a\nb.png"}, "cannot be printed"),
        ({"member": "a.png", "member_offset": "far"}, "whole number"),
        ({"member": "a.png", "member_offset": -512}, "negative"),
    ],
)
def test_rows_that_name_no_member(tmp_path: Path, row: dict[str, object], words: str) -> None:
    with pytest.raises(ReadError, match=words):
        member_options(row)
    write_members(tmp_path / "s.tar", [("a.png", picture())])
    frame = pd.DataFrame([{"record_id": "a", "path": "s.tar", **row}])
    with pytest.raises(CohortError, match=words):
        medfm.load_cohort(frame, "histopathology", tmp_path)


def test_rows_without_a_member_are_files() -> None:
    assert member_options({}) == member_options({"member": None}) == member_options({"member": float("nan")}) == {}
    assert member_options({"member": "a.png", "member_offset": 512.0}) == {"member": "a.png", "member_offset": 512}


def test_a_cohort_may_mix_files_and_members(tmp_path: Path, shard: Path) -> None:
    (tmp_path / "own.png").write_bytes(picture(0))
    frame = pd.concat([table(shard), pd.DataFrame([{"record_id": "own", "path": "own.png"}])], ignore_index=True)
    cohort = medfm.load_cohort(frame, "histopathology", tmp_path)
    assert np.array_equal(cohort.read(6).array, pixels(0))
    assert np.array_equal(cohort.read(0).array, pixels(0))
    made = medfm.embed("color-histogram", cohort, cache=tmp_path / "c")
    keys = content_keys(made, cohort)
    assert keys[0] == keys[6] is not None
    assert keys[1:6] == [None] * 5


def test_deep_checks_find_copies_across_splits_in_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [sample(i) for i in range(3)])
    write_shard(tmp_path / "b.tar", [sample(i) for i in range(2, 5)])
    rows = pd.concat([table(tmp_path / "a.tar").assign(split="train"), table(tmp_path / "b.tar").assign(split="test")])
    rows["record_id"] = [f"x{i}" for i in range(6)]
    cohort = medfm.load_cohort(rows.reset_index(drop=True), "retina", tmp_path)
    found = {finding.code: finding for finding in run_checks(cohort, deep=True)}
    assert found["L002"].severity == "error"
    assert set(found["L002"].records) == {"x2", "x3"}


def test_readers_refuse_what_does_not_belong_to_members(shard: Path) -> None:
    with pytest.raises(ReadError, match="Only DICOM files have frames"):
        read_record(shard, "retina", member="0001.png", frame=1)
    with pytest.raises(ReadError, match="There is no page 3"):
        read_record(shard, "histopathology", member="0001.png", page=3)
    with pytest.raises(ReadError, match="no option 'member'"):
        read_record(shard, "blood_cell", member="0001.png")


def test_a_shard_without_a_member_named_is_no_picture(shard: Path) -> None:
    with pytest.raises(ReadError, match="not an image"):
        read_record(shard, "histopathology")


def test_laterality_and_place_stay_facts(shard: Path) -> None:
    eye = read_record(shard, "retina", member="0002.png", laterality="R")
    assert (eye.facts["laterality"], eye.facts["kind"]) == ("R", "photograph")
    patch = read_record(shard, "histopathology", member="0002.png", patch_x=1, patch_y=2, mpp=0.5)
    assert (patch.facts["place"], patch.facts["mpp"]) == ([1, 2], 0.5)


def test_a_renamed_shard_costs_nothing(tmp_path: Path, shard: Path) -> None:
    frame = table(shard)
    medfm.embed("color-histogram", medfm.load_cohort(frame, "retina", tmp_path), cache=tmp_path / "c")
    shutil.move(shard, tmp_path / "new.tar")
    moved = medfm.load_cohort(frame.assign(path="new.tar"), "retina", tmp_path)
    keys = [item.key for item in Hasher(get_modality("retina")).items(moved.refs()) if isinstance(item, Item)]
    assert len(set(keys)) == 6
    again = medfm.embed("color-histogram", moved, cache=tmp_path / "c")
    assert again.provenance["run"]["from_cache"] == 6
