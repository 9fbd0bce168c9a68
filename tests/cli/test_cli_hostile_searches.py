"""What people type wrongly at retrieve, zeroshot, knowledge and data show: one message, code 2, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_text_encoder import put_cohort, put_tiny_encoder

from medfm.cli.main import main

Run = Callable[..., tuple[int, str, str]]
TINY = ("--encoder", "tiny-text", "--weights", "random", "--modality", "ecg", "--device", "cpu")
FEW = ("--set", "statistics.resamples=20")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short ECGs; no test changes them."""
    return put_cohort(tmp_path_factory.mktemp("ecg"))


@pytest.fixture
def run(
    tmp_path: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run medfm in an empty folder as a shell would: exit code, standard output, standard error."""
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_encoder(tmp_path / "cards")))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(cohort) if a == "TABLE" else str(a) for a in arguments])
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    yield call


def refused(found: tuple[int, str, str], words: str) -> None:
    code, out, err = found
    assert code == 2, (out, err)
    assert words.casefold() in " ".join(err.split()).casefold(), err
    assert "Traceback" not in err and "not made for" not in err, err
    assert out == ""
    assert list(Path().iterdir()) == []


RETRIEVE = [
    (("TABLE", *TINY, "--query", ""), "the query is empty"),
    (("TABLE", *TINY, "--query", "  \n "), "the query is empty"),
    (("TABLE", *TINY, "--query", "caf\udce9"), "cannot be written as UTF-8"),
    (("TABLE", *TINY, "--query", "a", "--like", "r1"), "search by words or by a record"),
    (("TABLE", *TINY, "--like", "r99"), "no record 'r99'"),
    (("TABLE", *TINY, "--like", "R1"), "did you mean"),
    (("TABLE", *TINY, "--text", "report", *FEW), "report"),
    (("TABLE", *TINY, "--label", "rythm", *FEW), "did you mean 'rhythm'"),
    (("TABLE", *TINY, "--protocol", "retrieval@9"), "did you mean 'retrieval@1'"),
    (("TABLE", *TINY, "--protocol", "linear-probe@1"), "retrieval"),
    (("TABLE", *TINY, "--set", "method.k=[0]"), "1 setting is wrong: - method.k.0: input should be 1, 5, 10"),
    (("TABLE", *TINY, "--set", "method.k=[5,5]"), "twice"),
    (("TABLE", *TINY, "--set", "methd.k=[1]"), "did you mean"),
    (("TABLE", *TINY, "--set", "nothing"), "KEY=VALUE"),
    (("TABLE", *TINY, "--map", "nothing"), "--map takes NAME=VALUE"),
    (("TABLE", *TINY, "--where", "rhythm=c", *FEW), "rhythm"),
    (("absent.csv", *TINY, "--query", "a"), "absent.csv"),
    (("TABLE", "--encoder", "tiny-txt", "--query", "a"), "tiny-text"),
    (("TABLE", "--encoder", "tiny-text", "--weights", "absent.pth", "--modality", "ecg", "--query", "a"), "absent.pth"),
    (("TABLE", "--encoder", "dinobloom-s", "--weights", "random", "--modality", "ecg", "--query", "a"), "text"),
    (("TABLE", *TINY[:-2], "--device", "cuda:99", "--query", "a"), "cuda"),
    (("TABLE", *TINY[:-2], "--device", "gpu", "--query", "a"), "gpu"),
    (("TABLE", *TINY, "--query", "a", "--csv", "."), "directory"),
    (("TABLE", *TINY, "--query", "a", "--on-error", "ignore"), "report"),
]


@pytest.mark.parametrize(("arguments", "words"), RETRIEVE, ids=range(len(RETRIEVE)))
def test_retrieve_says_what_is_wrong(run: Run, arguments: tuple[str, ...], words: str) -> None:
    refused(run("retrieve", *arguments), words)


ZEROSHOT = [
    (("TABLE", *TINY), "target"),
    (("TABLE", *TINY, "--target", "rhythm"), "--map-class"),
    (("TABLE", *TINY, "--target", "rhythm", "--map-class", "a=sinus_rhythm"), "'b'"),
    (("TABLE", *TINY, "--target", "rhythm", "--map-class", "c=sinus_rhythm"), "no class 'c'"),
    (("TABLE", *TINY, "--target", "rhythm", "--map-class", "=x"), "--map-class takes CLASS=NAME"),
    (("TABLE", *TINY, "--target", "rhythm", "--label-set", "ptbxl"), "ptbxl-super"),
    (("TABLE", *TINY, "--target", "rhythm", "--split", "dev"), "dev"),
    (("TABLE", *TINY, "--target", "rhythm", "--task", "regression"), "regression"),
    (("TABLE", *TINY, "--target", "rhythm", "--positive", "z", "--map-class", "a=sinus_rhythm",
      "--map-class", "b=atrial_fibrillation"), "z"),
    (("TABLE", *TINY, "--target", "rhythm", "--preprocessing", "other"), "other"),
    (("TABLE", *TINY, "--target", "rhythm", "--embeddings", "absent.npz"), "absent.npz"),
    (("TABLE", "--encoder", "", "--target", "rhythm"), "encoder"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), ZEROSHOT, ids=range(len(ZEROSHOT)))
def test_zeroshot_says_what_is_wrong(run: Run, arguments: tuple[str, ...], words: str) -> None:
    refused(run("zeroshot", *arguments), words)


KNOWLEDGE = [
    (("show", "egc"), "did you mean 'ecg'"),
    (("show", "ecg", "lvhh"), "did you mean 'lvh'"),
    (("show", "ecg", "lvh", "--labels", "csn"), "not both"),
    (("show", "ecg", "--labels", "ptbxl"), "ptbxl-"),
    (("show", "absent.yaml"), "absent.yaml"),
    (("show", "."), "."),
    (("prompts", "ecg"), "LABEL_SET"),
    (("prompts", "ecg", "csn", "--strategy", ""), "findings@1"),
    (("ckepe", "ecg", "csn", "--out", "x.yaml", "--url", "http://localhost:1", "--folder", "m"), "one language model"),
    (("ckepe", "ecg", "csn", "--out", "x.yaml", "--folder", "m", "--max-new-tokens", "0"), "max-new-tokens"),
    (("ckepe", "ecg", "csn"), "--out"),
    (("shw", "ecg"), "show"),
]


@pytest.mark.parametrize(("arguments", "words"), KNOWLEDGE, ids=range(len(KNOWLEDGE)))
def test_knowledge_says_what_is_wrong(run: Run, arguments: tuple[str, ...], words: str) -> None:
    refused(run("knowledge", *arguments), words)


SHOW = [
    (("TABLE", "--modality", "ecg", "--records", "0"), "0 records"),
    (("TABLE", "--modality", "ecg", "--record", "r99"), "no record 'r99'"),
    (("TABLE", "--modality", "ecg", "--start", "-1"), "start"),
    (("TABLE", "--modality", "ecg", "--out", "x.jpg"), ".jpg"),
    (("TABLE", "--modality", "ecg", "--layout", "2x6"), "3x4"),
    (("TABLE", "--modality", "ecg", "--weights", "random"), "without an encoder"),
    (("TABLE", "--modality", "ecg", "--encoder", "dinobloom-s", "--weights", "random"), "for blood_cell records"),
    (("TABLE", "--modality", "egc"), "did you mean 'ecg'"),
    (("absent.hea",), "absent.hea"),
]


@pytest.mark.parametrize(("arguments", "words"), SHOW, ids=range(len(SHOW)))
def test_data_show_says_what_is_wrong(run: Run, arguments: tuple[str, ...], words: str) -> None:
    refused(run("data", "show", *arguments), words)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"path\n", b"\x00\x01\x02\xff\xfe", b"a,b\n1,2\n", b"path,path\nx,y\n", b"path;id\nx;y\n"],
    ids=["empty", "blank", "no rows", "binary", "no path", "twice", "semicolons"],
)
@pytest.mark.parametrize("verb", ["retrieve", "zeroshot"])
def test_tables_that_are_none(run: Run, tmp_path: Path, content: bytes, verb: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    more = ("--query", "a") if verb == "retrieve" else ("--target", "label")
    code, out, err = run(verb, tmp_path / "t.csv", *TINY, *more)
    assert code == 2 and out == "" and err.startswith("Error: ") and "not made for" not in err


def test_ids_like_numbers_and_commas_come_back_in_the_csv(run: Run, tmp_path: Path, cohort: Path) -> None:
    table = pd.read_csv(cohort)
    table["record_id"] = ["007", '"q"', "a,b", "é", "1e3", "=1+1", "x y", "-"]
    table.to_csv(tmp_path / "odd.csv", index=False)
    code, _, err = run(
        "retrieve", tmp_path / "odd.csv", "--root", cohort.parent, *TINY, "--query", "pacing", "--csv", "out/hits.csv"
    )
    assert code == 0, err
    found = pd.read_csv("out/hits.csv", dtype={"record_id": str})
    assert set(found["record_id"]) == set(table["record_id"])
    assert list(found["place"]) == list(range(1, 9)) and (np.diff(found["cosine"]) <= 0).all()


def test_equal_searches_print_equal_json_and_like_leaves_itself_out(run: Run) -> None:
    first = run("retrieve", "TABLE", *TINY, "--like", "r3", "--json")
    second = run("retrieve", "TABLE", *TINY, "--like", "r3", "--json")
    assert first[0] == 0 and first[1] == second[1]
    found = json.loads(first[1])
    assert set(found) == {"query", "tokens", "kept", "searched", "recall", "note", "failed", "untrained", "hits"}
    assert found["query"] == "r3" and found["searched"] == 7 and found["untrained"] is True
    assert "r3" not in {hit["record_id"] for hit in found["hits"]}
    assert all("text" not in hit for hit in found["hits"])
    top = json.loads(run("retrieve", "TABLE", *TINY, "--like", "r3", "--top", "2", "--json")[1])
    assert top["hits"] == found["hits"][:2]


def test_blanks_in_a_query_do_not_matter(run: Run) -> None:
    first, second = (
        json.loads(run("retrieve", "TABLE", *TINY, "--query", q, "--json")[1])
        for q in ("sinus rhythm", "  sinus \n rhythm ")
    )
    assert first == second


def test_a_dry_run_needs_no_table_no_encoder_and_is_json_for_machines(run: Run) -> None:
    code, out, err = run("retrieve", "absent.csv", "--dry-run", "--json", "--set", "statistics.resamples=7")
    found = json.loads(out)
    assert (code, err) == (0, "") and found["config"]["statistics"]["resamples"] == 7
    assert len(found["sha256"]) == 64
    again = json.loads(run("retrieve", "absent.csv", "--dry-run", "--json")[1])
    assert again["sha256"] != found["sha256"]


def test_one_json_object_and_nothing_else_from_knowledge(run: Run) -> None:
    listed = json.loads(run("knowledge", "--json")[1])["knowledge"]
    assert {"ecg"} <= {one["domain"] for one in listed}
    for one in listed:
        assert json.loads(run("knowledge", "show", one["domain"], "--json")[1]) == one
        for name in one["label_sets"]:
            made = json.loads(run("knowledge", "prompts", one["domain"], name, "--json")[1])
            assert set(made) == {"strategy", "source", "sha256", "prompts"}
            assert all(set(p) == {"label", "group", "text", "weight"} for p in made["prompts"])


def test_a_measurement_in_json_is_whole(run: Run) -> None:
    code, out, err = run("retrieve", "TABLE", *TINY, *FEW, "--json")
    found = json.loads(out)
    assert code == 0, err
    assert set(found) == {"id", "out", "failed", "summary", "chance"} and found["out"] is None
    named = {row["metric"] for row in found["summary"]["headline"]}
    assert set(found["chance"]) <= named
    assert list(Path().iterdir()) == []
