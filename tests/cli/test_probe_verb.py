"""``medfm probe`` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from probe_data import table_of

from medfm.cli.main import main
from medfm.embeddings.embeddings import Embeddings, Failure
from medfm.embeddings.export import save_embeddings

FAST = ["--set", "statistics.resamples=30", "--map-method", "none"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    table, X = table_of()
    table.to_csv(tmp_path / "labels.csv", index=False)
    for name in table["path"]:
        (tmp_path / name).write_bytes(b"x")
    save_embeddings(Embeddings(X, tuple(table["record_id"])), tmp_path / "cells.npz")
    return str(tmp_path / "labels.csv"), str(tmp_path / "cells.npz")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["probe", *arguments])
    return int(caught.value.code or 0)


def test_a_run_prints_figures_and_writes_the_folder(files, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert run(files[0], "--embeddings", files[1], "--out", str(out), *FAST) == 0
    text = capsys.readouterr().out
    assert "balanced accuracy" in text and "95 % CI" in text and str(out / "report.html") in text
    assert {p.name for p in out.iterdir()} >= {
        "result.json",
        "predictions.parquet",
        "config.yaml",
        "report.html",
        "card.md",
    }
    assert run(files[0], "--embeddings", files[1], "--out", str(out), *FAST) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(files[0], "--embeddings", files[1], "--out", str(out), "--overwrite", *FAST) == 0


def test_json_for_machines(files, capsys) -> None:
    assert run(files[0], "--embeddings", files[1], "--json", "--protocol", "dinobloom-knn@1", *FAST) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["headline"][0]["metric"] == "accuracy" and found["failed"] == 0
    assert set(found["extras"]["paper_average"]) == {"main", "k=20"}


def test_the_papers_average_is_printed(files, capsys) -> None:
    assert run(files[0], "--embeddings", files[1], "--protocol", "dinobloom-knn@1", *FAST) == 0
    assert "as the paper averages: accuracy" in capsys.readouterr().out


def test_dry_run_shows_the_resolved_protocol(capsys) -> None:
    assert run("absent.csv", "--protocol", "knn@1", "--set", "method.k=[3]", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "id: knn@1" in text and "- 3" in text and "# sha256 " in text


def test_lost_records_give_exit_code_one(files, tmp_path, capsys) -> None:
    table, X = table_of()
    part = Embeddings(X[1:], tuple(table["record_id"][1:]), failures=(Failure("r0", "truncated"),))
    save_embeddings(part, tmp_path / "part.npz")
    assert run(files[0], "--embeddings", str(tmp_path / "part.npz"), *FAST) == 1
    assert run(files[0], "--embeddings", str(tmp_path / "part.npz"), "--on-error", "skip", *FAST) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either an encoder or a file"),
        (["--embeddings", "{e}", "--encoder", "dinobloom-s"], "either an encoder or a file"),
        (["--embeddings", "{e}", "--target", "lable"], "did you mean 'label'"),
        (["--embeddings", "{e}", "--protocol", "knm@1"], "did you mean 'knn@1'"),
        (["--embeddings", "{e}", "--set", "method.kk=1"], "no such key"),
        (["--embeddings", "absent.npz"], "absent.npz"),
        (["--encoder", "dinoblom-s"], "dinobloom-s"),
    ],
)
def test_clear_errors(files, capsys, arguments: list[str], said: str) -> None:
    given = [a.replace("{e}", files[1]) for a in arguments]
    assert run(files[0], *given) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_help_fits_and_has_examples(capsys) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert text.count("medfm probe ") >= 3 and "Common errors" in text
