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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--encoder", "tiny-text", "--query", "a", "--out", "x"), "belong to a measurement"),
        (("--encoder", "tiny-text", "--csv", "x.csv"), "belong to --query or --like"),
        (("--encoder", "tiny-text", "--index", "faiss"), "ranks are always exact"),
        ((), "Name an encoder"),
        (("--encoder", "tiny-text", "--query", "a", "--top", "0"), "0 is not in the range"),
    ],
)
def test_what_does_not_belong_together(table: Path, options: tuple[str, ...], message: str) -> None:
    found = run(table, *options)
    assert found.exit_code == 2 and message in found.output
