"""Bad input through the command line: one clear message or a recorded reason, nothing lost or half-written."""

from __future__ import annotations

import errno
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medfm
from medfm.cli.main import main
from medfm.core.errors import ChecksFailedError, CohortError, MedfmError
from medfm.embeddings.export import load_embeddings

Run = Callable[..., tuple[int, str, str]]
ENCODER = ("--encoder", "color-histogram")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("MEDFM_DEBUG", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out = capsys.readouterr()
        assert "Traceback" not in out.out + out.err
        return int(ended.value.code or 0), out.out, out.err

    return call


def picture(seed: int, side: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG whose header promises `width` x `height` RGB pixels and whose data are `data`."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# name of the file -> part of the reason that must be recorded
BAD = {
    "cut.png": "cut off",
    "cut.jpg": "cut off",
    "zero.png": "empty (0 bytes)",
    "text.png": "text file",
    "bomb.png": "60000 x 60000 pixels, more than the 100 million allowed",
    "hundred.png": "10001 x 10000 pixels, more than the 100 million allowed",
    "absent.png": "does not exist",
    "folder.png": "a folder, not a file",
}


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Eight good pictures, among them one under a wrong ending, and every kind of bad file."""
    for i in range(7):
        picture(i).save(tmp_path / f"good{i}.png")
    jpeg = io.BytesIO()
    picture(7).save(jpeg, "JPEG")
    (tmp_path / "good7.png").write_bytes(jpeg.getvalue())
    whole = (tmp_path / "good0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.jpg").write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])
    (tmp_path / "zero.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, zlib.compress(bytes(100_000))))
    (tmp_path / "hundred.png").write_bytes(png(10001, 10000, zlib.compress(bytes(100_000))))
    (tmp_path / "folder.png").mkdir()
    names = [name for i, bad in enumerate(BAD) for name in (f"good{i}.png", bad)]
    rows = [f"{name},p{i},{'ab'[i // 2 % 2]},{'train' if i // 4 % 2 else 'test'}" for i, name in enumerate(names)]
    table = tmp_path / "labels.csv"
    table.write_text("path,patient_id,label,split\n" + "\n".join(rows) + "\n")
    return table


class TestImages:
    def test_embed_goes_on_lists_every_reason_and_ends_with_1(self, run: Run, cells: Path) -> None:
        out = cells.parent / "out.npz"
        code, text, _ = run("embed", cells, *ENCODER, "--out", out)
        assert code == 1
        lines = {line.split(": ")[1]: line for line in text.splitlines() if line.startswith("failed: ")}
        assert set(lines) == set(BAD)
        for name, reason in BAD.items():
            assert reason in lines[name]
        kept = load_embeddings(out)
        assert kept.record_ids == tuple(f"good{i}.png" for i in range(8))
        assert {f.record_id for f in kept.failures} == set(BAD)

    def test_good_vectors_do_not_depend_on_the_bad_company(self, run: Run, cells: Path) -> None:
        run("embed", cells, *ENCODER, "--out", cells.parent / "mixed.npz", "--cache", cells.parent / "one")
        good = cells.with_name("good.csv")
        good.write_text("path\n" + "\n".join(f"good{i}.png" for i in range(8)) + "\n")
        assert run("embed", good, *ENCODER, "--out", good.with_suffix(".npz"), "--cache", cells.parent / "two")[0] == 0
        one, two = load_embeddings(cells.parent / "mixed.npz"), load_embeddings(good.with_suffix(".npz"))
        assert one.digest() == two.digest()

    def test_json_lists_the_same_failures_and_is_the_only_thing_on_standard_output(self, run: Run, cells: Path) -> None:
        code, text, _ = run("embed", cells, *ENCODER, "--json")
        assert code == 1
        found = {f["record_id"]: f["reason"] for f in json.loads(text)["failures"]}
        assert set(found) == set(BAD)
        assert all(reason in found[name] for name, reason in BAD.items())

    def test_skip_ends_with_0_and_stop_with_2(self, run: Run, cells: Path) -> None:
        assert run("embed", cells, *ENCODER, "--on-error", "skip")[0] == 0
        out = cells.parent / "never.npz"
        code, _, error = run("embed", cells, *ENCODER, "--on-error", "stop", "--out", out)
        assert code == 2
        assert "cannot be embedded" in error
        assert not out.exists()

    def test_a_mended_file_is_embedded_by_the_same_command(self, run: Run, cells: Path) -> None:
        run("embed", cells, *ENCODER)
        picture(99).save(cells.parent / "zero.png")
        facts = json.loads(run("embed", cells, *ENCODER, "--json")[1])
        assert facts["records"] == 9
        assert facts["provenance"]["run"] | {"computed": 1, "from_cache": 8} == facts["provenance"]["run"]
        assert "zero.png" not in {f["record_id"] for f in facts["failures"]}

    def test_check_names_them_all_and_probe_counts_them(self, run: Run, cells: Path) -> None:
        code, text, _ = run("data", "check", cells, "--json")
        assert code == 1
        found = {f["code"]: f for f in json.loads(text)["findings"]}
        assert set(found["F002"]["records"]) == set(BAD)
        assert found["F003"]["records"] == ["zero.png"]
        assert found["F004"]["records"] == ["good7.png"]
        out = cells.parent / "result"
        code, text, _ = run("probe", cells, *ENCODER, "--out", out, "--json")
        assert code == 1
        assert json.loads(text)["failed"] == len(BAD)
        assert (out / "report.html").is_file()

    def test_in_python_the_same(self, cells: Path) -> None:
        emb = medfm.embed("color-histogram", medfm.load_cohort(cells))
        assert {f.record_id for f in emb.failures} == set(BAD)
        assert len(emb) == 8


# what is wrong -> (bytes of the table, words of the message)
TABLES: dict[str, tuple[bytes, str]] = {
    "no path column": (b"file,label\ngood0.png,a\n", "no column 'path'"),
    "capital letter": (b"Path,label\ngood0.png,a\n", "did you mean 'Path'"),
    "doubled ids": (b"record_id,path\n1,good0.png\n1,good1.png\n", "appears more than once, first: 1"),
    "absolute path": (b"path\n/etc/passwd\n", "the path is absolute"),
    "drive letter": (b"path\nC:\\cells\\a.png\n", "the path is absolute"),
    "escaping path": (b"path\nsub/../../x.png\n", "leaves the root folder"),
    "unknown split": (b"path,split\ngood0.png,Train\n", "split 'Train' is not known"),
    "Latin-1": (b"path,label\ngood0.png,\xe9\n", "not UTF-8 text (line 2"),
    "UTF-16": ("path\ngood0.png\n".encode("utf-16"), "zero bytes"),
    "Excel file": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00", "not as Excel"),
    "empty file": (b"", "The table is empty"),
    "only white space": (b" \n \r\n", "The table is empty"),
    "only a header": (b"path,label\n", "no rows"),
    "ragged line": (b"path,label\ngood0.png,a\ngood1.png,a,b\n", "Line 3 has 3 cells"),
    "open quote": (b'path,label\ngood0.png,"a\n', "cannot be read"),
    "doubled column": (b"path,label,label\ngood0.png,a,b\n", "column 'label' appears twice"),
    "unnamed column": (b"path,\ngood0.png,a\n", "Column 2 has no name"),
    "empty path": (b"path,label\ngood0.png,a\n,b\n", "have no path (first: row 2)"),
    "empty patient": (b"path,patient_id\ngood0.png,1\ngood1.png,\n", "have no patient_id (first: row 2)"),
    "line break in an id": (b'path,record_id\ngood0.png,"a\nb"\n', "line break"),
    "escape sequence in an id": (b"path,record_id\ngood0.png,\x1b[31mred\n", "cannot be printed"),
    "zero byte deep in a path": (b"path\n" + b"good0.png\n" * 1 + b"x" * 5000 + b"\x00.png\n", "cannot be printed"),
    "box of words": (b"path,xmin,ymin,xmax,ymax\ngood0.png,1,2,9,9\ngood1.png,a,2,9,9\n", "Row 2: xmin is not"),
    "infinite box": (b"path,xmin,ymin,xmax,ymax\ngood0.png,1e400,2,9,9\n", "Row 1: xmin is not"),
    "half a pixel": (b"path,xmin,ymin,xmax,ymax\ngood0.png,1.5,2,9,9\n", "Row 1: xmin is not"),
    "three corners": (b"path,xmin,ymin,xmax,ymax\ngood0.png,1,2,,9\n", "Row 1: The box lacks xmax"),
    "page of words": (b"path,page\ngood0.png,first\n", "Row 1: page is not"),
    "context of words": (b"path,xmin,ymin,xmax,ymax,context_px\ngood0.png,1,2,9,9,wide\n", "Row 1: context_px"),
}


class TestTables:
    @pytest.mark.parametrize("kind", list(TABLES))
    def test_one_clear_error_and_exit_code_2(self, run: Run, cells: Path, kind: str) -> None:
        content, words = TABLES[kind]
        table = cells.with_name("bad.csv")
        table.write_bytes(content)
        out = cells.parent / "never.npz"
        for command in (("embed", table, *ENCODER, "--out", out), ("data", "check", table)):
            code, text, error = run(*command)
            assert (code, text) == (2, "")
            assert error.startswith("Error: ")
            assert words in error
            assert "bad" in error, "the message names the table"
        assert not out.exists()
        with pytest.raises(CohortError):
            medfm.load_cohort(table)

    @pytest.mark.parametrize(
        "content",
        [
            b"path,label,record_id\r\ngood0.png,a,007\r\ngood1.png,b,7\r\n",
            b"path,label,record_id\rgood0.png,a,007\rgood1.png,b,7\r",
            b"\xef\xbb\xbfpath,label,record_id\ngood0.png,a,007\ngood1.png,b,7",
            b"path;label;record_id\ngood0.png;a;007\ngood1.png;b;7\n",
            b"path\tlabel\trecord_id\ngood0.png\ta\t007\ngood1.png\tb\t7\n",
            b' path , label,record_id\n\n"good0.png",a,"007"\n\n good1.png ,b,7\n\n',
        ],
        ids=["Windows", "old Mac", "byte order mark", "semicolons", "tabs", "spaces and empty lines"],
    )
    def test_ways_of_writing_one_table_give_one_result(self, run: Run, cells: Path, content: bytes) -> None:
        table = cells.with_name("odd.csv")
        table.write_bytes(content)
        assert run("embed", table, *ENCODER, "--out", cells.parent / "odd.npz")[0] == 0
        assert load_embeddings(cells.parent / "odd.npz").record_ids == ("007", "7")
        assert list(medfm.load_cohort(table).table["label"]) == ["a", "b"]

    @pytest.mark.parametrize("suffix", [".npz", ".parquet", ".h5"])
    def test_odd_ids_survive_every_format(self, run: Run, cells: Path, suffix: str) -> None:
        ids = ["007", "1e5", 'a,"b"', "<script>alert(1)</script>", "Zelle-äß-\U0001f600", "x" * 5000, "-1", "True"]
        quoted = ['"' + i.replace('"', '""') + '"' for i in ids]
        table = cells.with_name("odd.csv")
        rows = "\n".join(f"{name},good{i}.png" for i, name in enumerate(quoted))
        table.write_text("record_id,path\n" + rows + "\n", encoding="utf-8")
        assert run("embed", table, *ENCODER, "--out", cells.parent / f"odd{suffix}")[0] == 0
        assert load_embeddings(cells.parent / f"odd{suffix}").record_ids == tuple(ids)

    def test_a_very_long_id_is_shortened_on_the_screen_only(self, run: Run, cells: Path) -> None:
        table = cells.with_name("long.csv")
        table.write_text(f"record_id,path,label\n{'x' * 3000},zero.png,a\nb,good1.png,b\n")
        code, text, _ = run("data", "check", table)
        assert code == 1
        assert max(map(len, text.splitlines())) < 120
        assert "x" * 3000 in run("data", "check", table, "--json")[1]

    def test_labels_with_commas_quotes_emoji_and_html(self, run: Run, cells: Path) -> None:
        names = ['a, "b"', "<b>\U0001f600&amp;</b>"]
        rows = [
            f'good{i}.png,"{names[i % 2].replace(chr(34), chr(34) * 2)}",{"train" if i < 4 else "test"}'
            for i in range(8)
        ]
        table = cells.with_name("odd.csv")
        table.write_text("path,label,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
        out = cells.parent / "odd"
        assert run("probe", table, *ENCODER, "--out", out)[0] == 0
        written = (out / "result.json").read_text(encoding="utf-8")
        assert all(json.dumps(name, ensure_ascii=False) in written for name in names)
        html = (out / "report.html").read_text(encoding="utf-8")
        assert "&lt;b&gt;\U0001f600&amp;amp;&lt;/b&gt;" in html
        assert "<b>\U0001f600" not in html

    @pytest.mark.parametrize(
        ("labels", "words"),
        [("aaaaaaaa", "All 8 records have the label 'a'"), ("ab ab ab", "label"), ("abababaa", None)],
        ids=["single class", "empty labels", "fine"],
    )
    def test_labels_of_a_probe(self, run: Run, cells: Path, labels: str, words: str | None) -> None:
        rows = [f"good{i}.png,{v.strip()},{'train' if i < 4 else 'test'}" for i, v in enumerate(labels)]
        table = cells.with_name("labels2.csv")
        table.write_text("path,label,split\n" + "\n".join(rows) + "\n")
        out = cells.parent / "result"
        code, _, error = run("probe", table, *ENCODER, "--out", out)
        assert code == (2 if words else 0)
        assert (words or "") in error
        assert out.exists() == (words is None), "nothing is half-written"
        assert ("embedding" in error) == (words is None), "wrong labels come out before the work"

    def test_a_patient_in_two_splits(self, run: Run, cells: Path) -> None:
        rows = [f"good{i}.png,p{i % 3},{'ab'[i % 2]},{'train' if i < 4 else 'test'}" for i in range(8)]
        table = cells.with_name("two.csv")
        table.write_text("path,patient_id,label,split\n" + "\n".join(rows) + "\n")
        for command in ("embed", "probe"):
            code, _, error = run(command, table, *ENCODER)
            assert code == 2
            assert "L001" in error
            assert "--allow L001" in error
        assert run("data", "check", table)[0] == 1
        code, text, _ = run("probe", table, *ENCODER, "--allow", "L001")
        assert code == 0
        assert "L001 failed and was allowed" in text
        with pytest.raises(ChecksFailedError):
            medfm.load_cohort(table)

    def test_a_folder_as_table_names_the_table_in_it(self, run: Run, cells: Path) -> None:
        code, _, error = run("embed", cells.parent, *ENCODER)
        assert code == 2
        assert "This is a folder" in error
        assert "labels.csv" in error


class TestOutputs:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("embed", "GOOD", *ENCODER, "--out", "FILE/x.npz"),
            ("embed", "GOOD", *ENCODER, "--out", "FOLDER.npz"),
            ("embed", "GOOD", *ENCODER, "--cache", "FILE"),
            ("probe", "GOOD", *ENCODER, "--out", "FILE"),
            ("probe", "GOOD", *ENCODER, "--out", "FILE/x"),
            ("pretrain", "GOOD", "--recipe", "dinov2-smoke", "--out", "FILE/x", "--set", "split=all"),
            ("demo", "--out", "FILE"),
            ("demo", "--out", "FILE", "--overwrite"),
            ("data", "synthesize", "blood_cell", "--records", "30", "--size", "32", "--out", "FILE"),
            ("data", "synthesize", "blood_cell", "--records", "30", "--size", "32", "--out", "FILE", "--overwrite"),
        ],
        ids=" ".join,
    )
    def test_a_file_where_a_folder_is_needed_and_the_reverse(
        self, run: Run, cells: Path, arguments: tuple[str, ...]
    ) -> None:
        folder = cells.parent
        good = cells.with_name("good.csv")
        rows = [f"good{i}.png,{'ab'[i % 2]},{'train' if i < 4 else 'test'}" for i in range(8)]
        good.write_text("path,label,split\n" + "\n".join(rows) + "\n")
        (folder / "file").write_text("mine")
        (folder / "folder.npz").mkdir()
        places = {"GOOD": good, "FILE": folder / "file", "FOLDER.npz": folder / "folder.npz"}
        given = [str(places.get(a, folder / "file" / a[5:] if a.startswith("FILE/") else a)) for a in arguments]
        before = sorted(f.name for f in folder.iterdir())
        code, _, error = run(*given)
        assert code == 2
        assert "Error: " in error
        assert (folder / "file").read_text() == "mine"
        assert sorted(f.name for f in folder.iterdir()) == before

    def test_an_impossible_output_comes_out_before_the_work(self, run: Run, cells: Path) -> None:
        cells.with_name("file").write_text("mine")
        run("embed", cells, *ENCODER, "--out", cells.parent / "file" / "x.npz", "--cache", cells.parent / "cache")
        assert not (cells.parent / "cache").exists()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
    @pytest.mark.parametrize("suffix", [".npz", ".parquet", ".h5"])
    def test_a_disk_that_fails_at_the_end_leaves_nothing_and_loses_nothing(
        self, run: Run, cells: Path, monkeypatch: pytest.MonkeyPatch, number: int, suffix: str
    ) -> None:
        out = cells.parent / f"out{suffix}"
        real = Path.replace

        def fail(self: Path, target: Path) -> Path:
            if Path(target) == out:
                raise OSError(number, "no")
            return real(self, target)

        good = cells.with_name("good.csv")
        good.write_text("path\n" + "\n".join(f"good{i}.png" for i in range(8)) + "\n")
        monkeypatch.setattr(Path, "replace", fail)
        code, _, error = run("embed", good, *ENCODER, "--out", out)
        assert code == 2
        assert ("full" if number == errno.ENOSPC else "cannot be written to") in error
        assert not [f for f in cells.parent.iterdir() if f.name.startswith((".out", "out"))]
        monkeypatch.setattr(Path, "replace", real)
        facts = json.loads(run("embed", good, *ENCODER, "--out", out, "--json")[1])
        assert facts["provenance"]["run"]["from_cache"] == 8, "the vectors were kept"
        assert len(load_embeddings(out)) == 8

    def test_an_older_file_survives_a_failed_write(
        self, run: Run, cells: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = cells.with_name("good.csv")
        good.write_text("path\ngood0.png\n")
        out = cells.parent / "out.npz"
        assert run("embed", good, *ENCODER, "--out", out)[0] == 0
        before = out.read_bytes()

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr(np, "savez", fail)
        code, _, error = run("embed", good, *ENCODER, "--out", out)
        assert code == 2
        assert "disk is full" in error
        assert out.read_bytes() == before

    def test_prepare_never_replaces_somebody_elses_table(self, run: Run, tmp_path: Path) -> None:
        source = tmp_path / "PBC_dataset_normal_DIB"
        for i, name in enumerate(("basophil", "platelet")):
            (source / name).mkdir(parents=True)
            picture(i).save(source / name / f"{name}_{i}.jpg")
        mine = tmp_path / "labels.csv"
        mine.write_text("path\nmine.png\n")
        arguments = ("data", "prepare", "acevedo", "--source", source, "--allow-partial", "--out")
        code, _, error = run(*arguments, tmp_path)
        assert code == 2
        assert "did not write" in error
        assert mine.read_text() == "path\nmine.png\n"
        assert run(*arguments, tmp_path / "new")[0] == 0
        mine = tmp_path / "new" / "labels.csv"
        mine.write_text(mine.read_text().replace("platelet", "plasma", 1))
        before = mine.read_bytes()
        code, _, error = run(*arguments, tmp_path / "new")
        assert code == 2 and "--overwrite" in error, "it may have been worked on"
        assert mine.read_bytes() == before
        assert run(*arguments, tmp_path / "new", "--overwrite")[0] == 0
        assert run(*arguments, tmp_path, "--overwrite")[0] == 2, "still somebody else's"


def test_every_message_says_what_and_where(run: Run, cells: Path) -> None:
    """Whatever the error, its text is that of the Python exception."""
    table = cells.with_name("bad.csv")
    table.write_bytes(TABLES["doubled ids"][0])
    _, _, error = run("embed", table, *ENCODER)
    with pytest.raises(MedfmError) as caught:
        medfm.load_cohort(table)
    assert error.splitlines()[0] == f"Error: {caught.value.what}"
    assert "  where:    " in error
    assert "  to do:    " in error
