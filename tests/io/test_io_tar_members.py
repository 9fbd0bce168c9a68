"""Members of tar files by byte offset: against the standard library, and every way a shard can be wrong."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_files import write_members

from medfm.core.errors import ReadError
from medfm.io.tar_members import BLOCK, index_tar, read_member, unsafe_name

THREE = [("a.png", b"first"), ("b.png", b""), ("sub/c.txt", b"third" * 300)]
FORMATS = [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]


def names(path: Path) -> list[str]:
    return list(index_tar(path).members)


@pytest.mark.parametrize("format", FORMATS)
def test_members_are_where_the_standard_library_says(tmp_path: Path, format: int) -> None:
    path = write_members(tmp_path / "s.tar", THREE, format)
    index = index_tar(path)
    assert index.damage is None
    assert index.refused == ()
    with tarfile.open(path) as tar:
        expected = {m.name: (m.offset_data, m.size) for m in tar.getmembers()}
    assert {name: (m.offset, m.size) for name, m in index.members.items()} == expected
    for name, data in THREE:
        assert read_member(path, name, index.members[name].offset) == data == read_member(path, name)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["d/" * 70 + "long.png", "x" * 150 + ".png", "bösartig-é.png", "组织.png"])
def test_long_and_foreign_names(tmp_path: Path, format: int, name: str) -> None:
    path = write_members(tmp_path / "s.tar", [("a.png", b"1"), (name, b"two"), ("z.png", b"3")], format)
    place = index_tar(path).members[name]
    assert read_member(path, name, place.offset) == b"two"
    assert read_member(path, name) == b"two"
    with pytest.raises(ReadError, match="has changed"):
        read_member(path, name, place.offset + BLOCK)


@settings(max_examples=25, deadline=None)
@given(contents=st.lists(st.binary(max_size=1500), min_size=1, max_size=12), format=st.sampled_from(FORMATS))
def test_any_contents_come_back(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], format: int) -> None:
    members = [(f"{i:03d}.bin", data) for i, data in enumerate(contents)]
    path = write_members(tmp_path_factory.mktemp("tar") / "s.tar", members, format)
    index = index_tar(path)
    assert index.damage is None
    assert [read_member(path, name, index.members[name].offset) for name, _ in members] == contents


class TestWrongOffsets:
    @pytest.mark.parametrize("offset", [0, 1, 511, 513, 10**9, BLOCK * 3])
    def test_an_offset_of_nothing_or_of_another_member(self, tmp_path: Path, offset: int) -> None:
        path = write_members(tmp_path / "s.tar", THREE)
        with pytest.raises(ReadError, match="has changed"):
            read_member(path, "a.png", offset)

    def test_a_shard_that_was_written_again_in_another_order(self, tmp_path: Path) -> None:
        path = write_members(tmp_path / "s.tar", THREE)
        offsets = {name: m.offset for name, m in index_tar(path).members.items()}
        write_members(path, THREE[::-1])
        with pytest.raises(ReadError, match="has changed") as caught:
            read_member(path, "a.png", offsets["a.png"])
        assert "prepare image-text" in str(caught.value)

    def test_data_that_look_like_a_header_are_not_taken_for_another_member(self, tmp_path: Path) -> None:
        inner = write_members(tmp_path / "inner.tar", [("a.png", b"planted")]).read_bytes()
        path = write_members(tmp_path / "s.tar", [("x.bin", inner), ("a.png", b"own")])
        assert read_member(path, "a.png") == b"own"
        assert names(path) == ["x.bin", "a.png"]


class TestCutOff:
    @pytest.mark.parametrize("keep", [BLOCK * 2, BLOCK * 3, BLOCK * 3 + 100, BLOCK * 4 + 10, BLOCK * 5])
    def test_a_cut_anywhere_is_damage_and_what_is_before_it_stays(self, tmp_path: Path, keep: int) -> None:
        whole = write_members(tmp_path / "s.tar", THREE)
        path = tmp_path / "cut.tar"
        path.write_bytes(whole.read_bytes()[:keep])
        index = index_tar(path)
        assert index.damage is not None
        assert "a.png" in index.members
        assert read_member(path, "a.png", index.members["a.png"].offset) == b"first"
        assert "sub/c.txt" not in index.members
        with pytest.raises(ReadError, match=r"no 'sub/c\.txt'"):
            read_member(path, "sub/c.txt")

    def test_every_cut_is_seen(self, tmp_path: Path) -> None:
        data = write_members(tmp_path / "s.tar", THREE).read_bytes()
        end = index_tar(tmp_path / "s.tar").members["sub/c.txt"].offset + BLOCK * 3
        for keep in range(BLOCK + 1, end, 173):
            (tmp_path / "cut.tar").write_bytes(data[:keep])
            try:
                assert index_tar(tmp_path / "cut.tar").damage is not None, keep
            except ReadError:
                assert keep < 2 * BLOCK

    def test_only_the_end_mark_is_missing(self, tmp_path: Path) -> None:
        path = write_members(tmp_path / "s.tar", THREE)
        place = index_tar(path).members["sub/c.txt"]
        path.write_bytes(path.read_bytes()[: place.offset + 3 * BLOCK])
        index = index_tar(path)
        assert index.damage == "it is cut off: its end mark is missing"
        assert list(index.members) == [name for name, _ in THREE]

    def test_a_damaged_header_in_the_middle(self, tmp_path: Path) -> None:
        path = write_members(tmp_path / "s.tar", THREE)
        data = bytearray(path.read_bytes())
        data[2 * BLOCK + 148 : 2 * BLOCK + 152] = b"9999"  # the checksum of the second header
        path.write_bytes(bytes(data))
        index = index_tar(path)
        assert list(index.members) == ["a.png"]
        assert index.damage == "it is damaged at byte 1,024"

    def test_reading_past_the_end(self, tmp_path: Path) -> None:
        path = write_members(tmp_path / "s.tar", THREE)
        place = index_tar(path).members["sub/c.txt"]
        path.write_bytes(path.read_bytes()[: place.offset + 10])
        with pytest.raises(ReadError, match=r"cut off inside 'sub/c\.txt'"):
            read_member(path, "sub/c.txt", place.offset)


class TestRefused:
    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
    def test_links(self, tmp_path: Path, kind: bytes) -> None:
        secret = tmp_path / "secret.png"
        secret.write_bytes(b"secret")
        path = write_members(tmp_path / "s.tar", THREE, link=(kind, str(secret)))
        index = index_tar(path)
        assert index.refused == (("link", "it is a link"),)
        with pytest.raises(ReadError, match="it is a link"):
            read_member(path, "link")

    def test_devices_and_folders(self, tmp_path: Path) -> None:
        path = write_members(tmp_path / "s.tar", [], fifo=(tarfile.FIFOTYPE, ""), folder=(tarfile.DIRTYPE, ""))
        assert index_tar(path).refused == (("fifo", "it is no regular file"),)

    @pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/etc/a.png", "..\\a.png", "C:/a.png", "a\nb.png"])
    def test_names_that_leave_the_folder(self, tmp_path: Path, name: str) -> None:
        path = write_members(tmp_path / "s.tar", [(name, b"x"), ("ok.png", b"y")])
        index = index_tar(path)
        assert list(index.members) == ["ok.png"]
        assert len(index.refused) == 1
        assert unsafe_name(name) == index.refused[0][1]

    def test_plain_names_are_safe(self) -> None:
        assert not any(map(unsafe_name, ["a.png", "x/y.png", "./a.png", "a..b.png", "组织.png", "...png"]))

    def test_a_name_that_occurs_twice_or_more(self, tmp_path: Path) -> None:
        path = write_members(tmp_path / "s.tar", [("a.png", b"1"), ("b.png", b"2"), ("a.png", b"3"), ("a.png", b"4")])
        index = index_tar(path)
        assert list(index.members) == ["b.png"]
        assert [name for name, _ in index.refused] == ["a.png"] * 3
        with pytest.raises(ReadError, match="occurs twice"):
            read_member(path, "a.png")


class TestOtherFiles:
    @pytest.mark.parametrize("magic", [b"BZh9xxxxx", b"\xfd7zXZ\x00\x00", b"\x28\xb5\x2f\xfd1234"])
    def test_packed_by_its_first_bytes(self, tmp_path: Path, magic: bytes) -> None:
        path = tmp_path / "s.tar"
        path.write_bytes(magic)
        for call in (lambda: index_tar(path), lambda: read_member(path, "a.png", 512)):
            with pytest.raises(ReadError, match="is packed"):
                call()

    def test_gzip_under_a_plain_name(self, tmp_path: Path) -> None:
        whole = write_members(tmp_path / "s.tar", THREE)
        (tmp_path / "g.tar").write_bytes(gzip.compress(whole.read_bytes()))
        with pytest.raises(ReadError, match=r"packed \(gzip\)") as caught:
            index_tar(tmp_path / "g.tar")
        assert "gunzip" in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"no tar at all", b"\x89PNG\r\n\x1a\n" * 200])
    def test_no_tar(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "s.tar"
        path.write_bytes(content)
        with pytest.raises(ReadError, match="no tar file"):
            index_tar(path)

    def test_an_empty_archive_is_whole_and_empty(self, tmp_path: Path) -> None:
        index = index_tar(write_members(tmp_path / "s.tar", []))
        assert (index.damage, dict(index.members)) == (None, {})

    def test_absent_folder_and_unreadable(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="does not exist"):
            index_tar(tmp_path / "none.tar")
        with pytest.raises(ReadError, match="is a folder"):
            read_member(tmp_path, "a.png", 512)
        path = write_members(tmp_path / "s.tar", THREE)
        path.chmod(0)
        if not os.access(path, os.R_OK):
            with pytest.raises(ReadError, match="cannot be read"):
                read_member(path, "a.png", 512)

    def test_a_member_that_is_not_there_names_what_to_do(self, tmp_path: Path) -> None:
        path = write_members(tmp_path / "s.tar", THREE)
        with pytest.raises(ReadError, match=r"no member 'q.png'") as caught:
            read_member(path, "q.png", where="record 7")
        assert caught.value.where == "record 7"


def test_the_index_follows_a_shard_that_changes(tmp_path: Path) -> None:
    path = write_members(tmp_path / "s.tar", THREE)
    assert read_member(path, "a.png") == b"first"
    write_members(path, [("q.png", b"pad" * 999), ("a.png", b"second")])
    assert read_member(path, "a.png") == b"second"


def test_reading_one_member_of_a_large_shard_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    with tarfile.open(path, "w") as tar:
        for name, size in (("big.bin", 60_000_000), ("small.png", 1000)):
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(bytes(size)))
    tracemalloc.start()
    place = index_tar(path).members["small.png"]
    assert len(read_member(path, "small.png", place.offset)) == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
