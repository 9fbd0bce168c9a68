"""The adapter ``image-text`` on webdataset shards: what becomes a row, and what becomes a reason."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_files import picture, pixels, sample, write_members, write_shard

import medfm
from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.base import Prepared
from medfm.cohorts.adapters.pair_rows import PairRows
from medfm.cohorts.adapters.shard_samples import split_by_name
from medfm.core.errors import CohortError, ConfigError, StoreError, UnknownNameError


def made(source: Path, modality: str | None = "histopathology", **keywords: Any) -> Prepared:
    return prepare("image-text", source, source.parent / "out", modality=modality, **keywords)


def rows_of(done: Prepared) -> list[dict[str, str]]:
    with done.table.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def reasons(done: Prepared) -> dict[str, str]:
    with (done.table.parent / "left_out.csv").open(encoding="utf-8", newline="") as handle:
        return {row["where"]: row["reason"] for row in csv.DictReader(handle)}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    write_shard(folder / "000000.tar", [sample(i, cls=str(i % 2)) for i in range(3)])
    write_shard(folder / "000001.tar", [sample(i, cls=str(i % 2)) for i in range(3, 5)])
    return folder


class TestShards:
    def test_one_row_per_picture_with_shard_member_text_and_label(self, shards: Path) -> None:
        done = made(shards)
        rows = rows_of(done)
        assert [row["record_id"] for row in rows] == [f"00000{i // 3}/{i:04d}" for i in range(5)]
        assert [row["text"] for row in rows] == [f"caption {i}" for i in range(5)]
        assert [row["label"] for row in rows] == [str(i % 2) for i in range(5)]
        assert {row["path"] for row in rows} == {"000000.tar", "000001.tar"}
        assert done.complete
        assert done.counts == {"pictures": 5, "with text": 5, "0": 3, "1": 2}
        assert not (done.table.parent / "left_out.csv").exists()

    def test_the_cohort_reads_the_very_pixels(self, shards: Path) -> None:
        cohort = medfm.load_cohort(made(shards).table)
        assert cohort.modality == "histopathology"
        for row in range(5):
            assert np.array_equal(cohort.read(row).array, pixels(row))

    def test_offsets_are_those_of_the_standard_library(self, shards: Path) -> None:
        for row in rows_of(made(shards)):
            with tarfile.open(shards / row["path"]) as tar:
                assert tar.getmember(row["member"]).offset_data == int(row["member_offset"])

    def test_a_single_shard_and_the_other_modality(self, shards: Path) -> None:
        done = prepare("image-text", shards / "000001.tar", shards.parent / "one", modality="retina")
        cohort = medfm.load_cohort(done.table)
        assert (cohort.modality, len(cohort)) == ("retina", 2)

    def test_without_patients_every_picture_is_its_own_and_the_yaml_says_so(self, shards: Path) -> None:
        done = made(shards)
        cohort = medfm.load_cohort(done.table)
        assert not cohort.patients_known
        assert "patients are unknown: every picture counts as its own patient" in cohort.info["notes"]

    def test_patients_from_the_json_under_another_key(self, tmp_path: Path) -> None:
        samples = [sample(i, json={"case": f"p{i // 2}", "nested": {"a": 1}}) for i in range(4)]
        write_shard(tmp_path / "s" / "0.tar", samples)
        cohort = medfm.load_cohort(made(tmp_path / "s", columns={"patient_id": "case"}).table)
        assert cohort.patients_known
        assert list(cohort.table["patient_id"]) == ["p0", "p0", "p1", "p1"]

    def test_a_patient_for_some_rows_only_is_not_used(self, tmp_path: Path) -> None:
        write_shard(tmp_path / "s" / "0.tar", [sample(0, json={"patient_id": "p"}), sample(1)])
        cohort = medfm.load_cohort(made(tmp_path / "s").table)
        assert not cohort.patients_known
        assert any("1 of 2 rows name one" in note for note in cohort.info["notes"])

    def test_several_captions_are_several_rows_of_one_picture_and_patient(self, tmp_path: Path) -> None:
        parts = {"png": picture(0), "json": {"captions": ["one", "two", "one", " ", "three"]}}
        write_shard(tmp_path / "s" / "0.tar", [("a", parts), sample(1)])
        done = made(tmp_path / "s")
        assert [(r["record_id"], r["text"]) for r in rows_of(done)][1:] == [
            ("0/a", "one"),
            ("0/a#2", "two"),
            ("0/a#3", "three"),
        ]
        cohort = medfm.load_cohort(done.table)
        assert list(cohort.table["patient_id"])[1:] == ["0/a"] * 3
        assert not cohort.patients_known
        assert "1 pictures have several captions" in cohort.info["notes"]

    def test_equal_captions_in_txt_and_json_are_one(self, tmp_path: Path) -> None:
        write_shard(tmp_path / "s" / "0.tar", [sample(0, json={"caption": " caption  0\n", "other": 1})])
        assert [row["text"] for row in rows_of(made(tmp_path / "s"))] == ["caption 0"]

    def test_a_mapped_caption_counts_alone(self, tmp_path: Path) -> None:
        write_shard(tmp_path / "s" / "0.tar", [sample(0, json={"report": "a report", "caption": "another"})])
        assert rows_of(made(tmp_path / "s", columns={"text": "report"}))[0]["text"] == "a report"

    def test_keys_with_folders_and_dots(self, tmp_path: Path) -> None:
        members = [
            ("x/a.left.png", picture(0)),
            ("x/a.txt", b"left"),
            ("./b.JPG", picture(1, "jpg")),
            ("./b.Txt", b"b"),
        ]
        write_members(tmp_path / "s" / "0.tar", members)
        rows = rows_of(made(tmp_path / "s"))
        assert [(r["record_id"], r["member"], r["text"]) for r in rows] == [
            ("0/b", "./b.JPG", "b"),
            ("0/x/a", "x/a.left.png", "left"),
        ]
        assert np.array_equal(medfm.load_cohort(tmp_path / "out" / "labels.csv").read(1).array, pixels(0))

    def test_equal_keys_in_two_shards_are_two_pictures(self, tmp_path: Path) -> None:
        for name in ("a.tar", "sub/a.tar"):
            write_shard(tmp_path / "s" / name, [sample(0)])
        assert [row["record_id"] for row in rows_of(made(tmp_path / "s"))] == ["a/0000", "sub/a/0000"]

    def test_the_same_as_the_webdataset_package_reads(self, shards: Path) -> None:
        wds = pytest.importorskip("webdataset")
        urls = [str(path) for path in sorted(shards.glob("*.tar"))]
        theirs = [
            (part["__key__"], part["txt"].decode(), part["png"]) for part in wds.WebDataset(urls, shardshuffle=False)
        ]
        cohort = medfm.load_cohort(made(shards).table)
        assert [(row.split("/")[-1]) for row in cohort.record_ids] == [key for key, _, _ in theirs]
        assert list(cohort.table["text"]) == [text for _, text, _ in theirs]
        for row, (_, _, data) in enumerate(theirs):
            place = cohort.table.iloc[row]
            with (shards / place["path"]).open("rb") as handle:
                handle.seek(place["member_offset"])
                assert handle.read(len(data)) == data


class TestSplits:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["train/0.tar", "val/0.tar", "test/0.tar"], ["train", "val", "test"]),
            (["quilt-train-0.tar", "quilt-valid-0.tar"], ["train", "val"]),
            (["train_0.tar", "validation.tar"], ["train", "val"]),
            (["train/0.tar", "more/0.tar"], []),
            (["trainees/0.tar", "latest/0.tar"], []),
        ],
    )
    def test_by_words_in_the_path(self, names: list[str], expected: list[str]) -> None:
        assert list(split_by_name(names).values()) == expected

    def test_in_the_table_and_the_json_wins(self, tmp_path: Path) -> None:
        write_shard(tmp_path / "s" / "train" / "0.tar", [sample(0), sample(1, json={"split": "validation"})])
        write_shard(tmp_path / "s" / "test" / "0.tar", [sample(2)])
        rows = {row["text"]: row["split"] for row in rows_of(made(tmp_path / "s"))}
        assert rows == {"caption 0": "train", "caption 1": "val", "caption 2": "test"}

    def test_another_word_is_refused(self, tmp_path: Path) -> None:
        write_shard(tmp_path / "s" / "0.tar", [sample(0, json={"split": "holdout"})])
        with pytest.raises(CohortError, match="'holdout' is not known"):
            made(tmp_path / "s")
        assert not (tmp_path / "out").exists()


class TestMalformed:
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            ([("bad.txt", b"no picture")], "no picture"),
            ([("bad.png", picture(1)), ("bad.jpg", picture(2, "jpg"))], "several pictures"),
            ([("bad.png", b"plain words")], "a text file"),
            ([("bad.png", b"")], "empty"),
            ([("bad.png", b"\x93NUMPY" + bytes(100))], "a NumPy file"),
            ([("bad.png", picture(1)), ("bad.txt", b"\xff\xfe\x00")], "not UTF-8"),
            ([("bad.png", picture(1)), ("bad.json", b"{broken")], "json cannot be read"),
            ([("bad.png", picture(1)), ("bad.json", b"[1, 2]")], "no object"),
            ([("bad.png", picture(1)), ("bad.txt", b"one"), ("bad.json", b'{"caption": "two"}')], "two captions"),
            ([("bad.png", picture(1)), ("bad.txt", b"one"), ("bad.caption", b"two")], "two captions"),
            ([("bad.png", picture(1)), ("bad.cls", b"1"), ("bad.json", b'{"label": 2}')], "two labels"),
            ([("bad.png", picture(1)), ("bad.PNG", picture(2))], "one ending"),
            ([("bad.png", picture(1)), ("./bad.png", picture(2))], "one ending"),
            ([("bad.png", picture(1)), ("bad.json", b"[" * 5000 + b"]" * 5000)], "json"),
        ],
    )
    def test_a_sample_is_left_out_with_its_reason(
        self, tmp_path: Path, bad: list[tuple[str, bytes]], words: str
    ) -> None:
        good = [("good.png", picture(9)), ("good.txt", b"fine")]
        write_members(tmp_path / "s" / "0.tar", [*bad, *good])
        done = made(tmp_path / "s")
        assert [row["record_id"] for row in rows_of(done)] == ["0/good"]
        assert not done.complete
        assert list(reasons(done)) == ["0.tar: bad"]
        assert words in reasons(done)["0.tar: bad"]
        assert words in " ".join(medfm.load_cohort(done.table).info["notes"])

    def test_links_doubled_and_escaping_members(self, tmp_path: Path) -> None:
        members = [
            ("a.png", picture(0)),
            ("a.png", picture(1)),
            ("../b.png", picture(2)),
            ("nokey", b"x"),
            ("c.png", picture(3)),
        ]
        write_members(tmp_path / "s" / "0.tar", members, **{"d.png": (tarfile.SYMTYPE, "/etc/passwd")})
        done = made(tmp_path / "s")
        assert [row["record_id"] for row in rows_of(done)] == ["0/c"]
        found = reasons(done)
        assert "occurs twice" in found["0.tar: a.png"]
        assert "leaves the folder" in found["0.tar: ../b.png"]
        assert "link" in found["0.tar: d.png"]
        assert "no key and ending" in found["0.tar: nokey"]

    def test_a_picture_without_a_caption_stays_and_is_counted(self, tmp_path: Path) -> None:
        write_shard(tmp_path / "s" / "0.tar", [sample(0), ("b", {"png": picture(1)}), sample(2, txt="  NA ")])
        done = made(tmp_path / "s")
        assert [row["text"] for row in rows_of(done)] == ["caption 0", "", ""]
        assert done.counts["with text"] == 1
        assert "2 pictures have no caption" in medfm.load_cohort(done.table).info["notes"]

    def test_a_shard_that_is_cut_off_needs_the_word(self, shards: Path) -> None:
        data = (shards / "000001.tar").read_bytes()
        (shards / "000001.tar").write_bytes(data[: len(data) // 2 // 512 * 512 - 200])
        with pytest.raises(CohortError, match=r"000001\.tar") as caught:
            made(shards)
        assert "--allow-partial" in str(caught.value)
        assert not (shards.parent / "out").exists()
        done = made(shards, allow_partial=True)
        assert not done.complete
        assert [row["text"] for row in rows_of(done)][:3] == [f"caption {i}" for i in range(3)]
        assert any("incomplete: 000001.tar" in note for note in medfm.load_cohort(done.table).info["notes"])
        assert all(len(medfm.load_cohort(done.table).read(i).array) == 24 for i in range(done.records))

    @pytest.mark.parametrize("name", ["0.tar.gz", "0.tgz", "sub/0.tar.zst"])
    def test_packed_shards_are_refused_by_name(self, shards: Path, name: str) -> None:
        (shards / name).parent.mkdir(exist_ok=True)
        (shards / name).write_bytes(b"\x1f\x8b")
        with pytest.raises(CohortError, match="packed"):
            made(shards)

    def test_packed_and_foreign_content_under_a_plain_name(self, shards: Path) -> None:
        (shards / "000001.tar").write_bytes(b"\x1f\x8b123456789")
        with pytest.raises(CohortError, match=r"packed \(gzip\)") as caught:
            made(shards)
        assert caught.value.where == "000001.tar"
        (shards / "000001.tar").write_bytes(b"hello")
        with pytest.raises(CohortError, match="no tar file"):
            made(shards)

    def test_when_nothing_is_left_the_reasons_are_told(self, tmp_path: Path) -> None:
        write_members(tmp_path / "s" / "0.tar", [("a.txt", b"x"), ("b.txt", b"y")])
        with pytest.raises(CohortError, match="No picture is left") as caught:
            made(tmp_path / "s")
        assert "2 left out: the sample has no picture" in str(caught.value)
        assert not (tmp_path / "out").exists()


class TestCalls:
    def test_the_modality_is_needed_and_known(self, shards: Path) -> None:
        with pytest.raises(ConfigError, match="not said") as caught:
            made(shards, None)
        assert "histopathology or retina" in str(caught.value)
        with pytest.raises(UnknownNameError, match="retina"):
            made(shards, "retna")

    def test_only_columns_of_a_cohort_are_mapped(self, shards: Path) -> None:
        with pytest.raises(UnknownNameError, match="patient_id"):
            made(shards, columns={"patientid": "case"})

    def test_other_sets_keep_their_modality_and_columns(self, tmp_path: Path) -> None:
        for keywords in ({"modality": "retina"}, {"columns": {"text": "x"}}):
            with pytest.raises(ConfigError, match="own modality"):
                prepare("bach", tmp_path, tmp_path / "out", **keywords)  # type: ignore[arg-type]
        assert get_adapter("bach").configured(None, {}) is get_adapter("bach")

    def test_split_files_are_not_taken(self, shards: Path, tmp_path: Path) -> None:
        with pytest.raises(CohortError, match="--splits"):
            made(shards, splits=tmp_path)

    @pytest.mark.parametrize("content", [[], ["a.csv", "b.csv"], ["x.zip"]])
    def test_a_folder_of_neither_shards_nor_one_table(self, tmp_path: Path, content: list[str]) -> None:
        (tmp_path / "s").mkdir()
        for name in content:
            (tmp_path / "s" / name).write_text("path,text\n")
        with pytest.raises(CohortError, match="no shards and"):
            made(tmp_path / "s")
        with pytest.raises(CohortError, match="does not exist"):
            made(tmp_path / "none")
        (tmp_path / "x.zip").write_bytes(b"PK")
        with pytest.raises(CohortError, match="none of a table or a shard"):
            made(tmp_path / "x.zip")

    def test_a_table_of_somebody_else_is_not_replaced(self, shards: Path) -> None:
        out = shards.parent / "out"
        out.mkdir()
        (out / "labels.csv").write_text("mine\n")
        with pytest.raises(StoreError):
            made(shards)
        assert (out / "labels.csv").read_text() == "mine\n"

    def test_again_over_its_own_table_and_an_old_list_goes(self, shards: Path) -> None:
        write_members(shards / "2.tar", [("a.txt", b"x")])
        assert not made(shards).complete
        (shards / "2.tar").unlink()
        done = made(shards)
        assert done.complete
        assert not (done.table.parent / "left_out.csv").exists()
        first = done.table.read_bytes()
        assert made(shards).table.read_bytes() == first

    def test_it_is_listed_with_what_it_expects(self) -> None:
        facts = get_adapter("image-text").info()
        assert "KEY.txt" in facts["layout"]
        assert json.loads(json.dumps(facts))["expected"] == {}
        assert any("no count is enforced" in line for line in facts["unverified"])


def test_a_text_that_looks_like_a_list_but_is_none(tmp_path: Path) -> None:
    write_shard(tmp_path / "s" / "0.tar", [sample(0, txt='["open'), sample(1, txt="[not a list]")])
    assert [row["text"] for row in rows_of(made(tmp_path / "s"))] == ['["open', "[not a list]"]


def test_adding_pairs_in_any_order_gives_the_same_pairs() -> None:
    from medfm.cohorts.adapters.pair_rows import LeftOut, Picture

    captions = ["a", "b", "c", "b"]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        pairs = PairRows(LeftOut())
        for i in order:
            pairs.add(Picture("x.png", {"path": "x.png"}, (captions[i],), {}, f"line {i}"))
        assert {row["text"] for row in pairs.rows} == {"a", "b", "c"}
        assert len({row["record_id"] for row in pairs.rows}) == 3
        assert len(pairs.left_out.lines) == 1
        assert (pairs.pictures, pairs.several) == (1, 1)
