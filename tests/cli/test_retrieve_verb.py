"""``medfm retrieve`` from the shell: searches, measurements, JSON, what belongs together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_text_encoder import put_cohort, put_tiny_encoder

from medfm.cli.main import cli

RANDOM = ("--encoder", "tiny-text", "--weights", "random", "--modality", "ecg", "--device", "cpu")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["retrieve", *map(str, arguments)], catch_exceptions=True)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_encoder(tmp_path / "cards")))
    return put_cohort(tmp_path / "ecg")


def test_search_prints_ids_and_writes_a_file(table: Path, tmp_path: Path) -> None:
    found = run(table, *RANDOM, "--query", "pacing", "--top", 3, "--csv", tmp_path / "hits.csv")
    assert found.exit_code == 0, found.output
    assert "3 of 8 records" in found.output and "this order means nothing" in found.output
    assert "fibrillation" not in found.output
    assert len((tmp_path / "hits.csv").read_text().splitlines()) == 4
    shown = run(table, *RANDOM, "--like", "r2", "--show-text", "--json")
    hits = json.loads(shown.stdout)["hits"]
    assert len(hits) == 7 and {"place", "record_id", "cosine", "text"} == set(hits[0])


def test_measurement_writes_a_report(table: Path, tmp_path: Path) -> None:
    done = run(table, *RANDOM, "--out", tmp_path / "out", "--set", "statistics.resamples=20")
    assert done.exit_code == 0, done.output
    assert "R@10, text to record" in done.output and (tmp_path / "out" / "report.html").is_file()
    again = run(table, *RANDOM, "--out", tmp_path / "out")
    assert again.exit_code != 0 and "exists already" in str(again.exception)
    as_json = run(table, *RANDOM, "--label", "rhythm", "--json", "--set", "statistics.resamples=20")
    assert json.loads(as_json.stdout)["summary"]["task"] == "retrieval"


def test_records_that_fail_end_with_1_unless_skipped(table: Path) -> None:
    (table.parent / "r1.dat").write_bytes(b"xx")
    few = ("--set", "statistics.resamples=20")
    loud = CliRunner().invoke(cli, ["retrieve", str(table), *RANDOM, *few], standalone_mode=False)
    assert loud.return_value == 1
    quiet = CliRunner().invoke(
        cli, ["retrieve", str(table), *RANDOM, *few, "--on-error", "skip"], standalone_mode=False
    )
    assert quiet.return_value == 0


def test_dry_run_shows_the_protocol(table: Path) -> None:
    assert "id: retrieval@1" in run(table, "--dry-run").output
    assert "id: retrieval-records@1" in run(table, "--dry-run", "--label", "x").output
    assert "one_to_one" in run(table, "--dry-run", "--set", "method.texts=one_to_one").output


def test_the_index_is_a_setting_of_search_and_measurement(table: Path, tmp_path: Path) -> None:
    assert "index: auto" in run(table, "--dry-run").output
    assert "index: faiss" in run(table, "--dry-run", "--index", "faiss").output
    papers = run(table, "--dry-run", "--protocol", "quilt-retrieval@1").output
    assert "index: exact" in papers
    pytest.importorskip("faiss")
    few = ("--set", "statistics.resamples=20", "--out", tmp_path / "out")
    done = run(table, *RANDOM, "--index", "faiss", *few)
    assert done.exit_code == 0, done.output
    assert "mAP@100" in done.output and "median rank" not in done.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The search was approximate" in page and "100.00 %" in page
    searched = run(table, *RANDOM, "--query", "pacing", "--index", "faiss", "--json")
    exact = run(table, *RANDOM, "--query", "pacing", "--json")
    found, whole = (json.loads(answer.stdout) for answer in (searched, exact))
    assert found["recall"] == 1.0 and whole["recall"] is None and whole["note"] is None
    assert [h["record_id"] for h in found["hits"]] == [h["record_id"] for h in whole["hits"]]


def test_metrics_of_all_ranks_and_an_index_are_refused_before_the_work(table: Path) -> None:
    asked = ("--set", "metrics=[record_to_text_median_rank]")
    pytest.importorskip("faiss")
    refused = run(table, *RANDOM, "--index", "faiss", *asked)
    assert "lists the nearest only" in str(refused.exception) and not (table.parent / "cache").exists()
    assert run(table, *RANDOM, *asked, "--set", "statistics.resamples=20").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--encoder", "tiny-text", "--query", "a", "--out", "x"), "belong to a measurement"),
        (("--encoder", "tiny-text", "--csv", "x.csv"), "belongs to --query or --like"),
        (("--encoder", "tiny-text", "--index", "hnsw"), "'hnsw' is not one of"),
        ((), "Name an encoder"),
        (("--encoder", "tiny-text", "--query", "a", "--top", "0"), "0 is not in the range"),
    ],
)
def test_what_does_not_belong_together(table: Path, options: tuple[str, ...], message: str) -> None:
    found = run(table, *options)
    assert found.exit_code == 2 and message in found.output
