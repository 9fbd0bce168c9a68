"""``medfm data prepare image-text`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shard_files import picture, sample, write_members, write_shard

from medfm.cli.main import main


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shard(tmp_path / "shards" / "0.tar", [sample(i, json={"case": f"p{i}"}) for i in range(3)])
    return tmp_path / "shards"


def call(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def prepare(source: Path, *more: str) -> int:
    out = source.parent / "out"
    return call(["data", "prepare", "image-text", "--source", str(source), "--out", str(out), *more])


def test_shards_become_a_table_that_checks(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(shards, "--modality", "histopathology", "--map", "patient_id=case") == 0
    assert "3 records ->" in capsys.readouterr().out
    assert call(["data", "check", str(shards.parent / "out" / "labels.csv"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["records"], report["patients"]) == (3, 3)


def test_for_machines_and_what_was_left_out(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_members(shards / "1.tar", [("bad.txt", b"no picture"), ("ok.png", picture(7))])
    assert prepare(shards, "--modality", "retina", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["records"], facts["complete"]) == (4, False)
    assert any("no picture" in line for line in facts["differences"])
    assert (shards.parent / "out" / "left_out.csv").read_text().startswith("where,reason\n1.tar: bad,")
    assert prepare(shards, "--modality", "retina") == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert prepare(shards, "--modality", "retina", "--overwrite") == 0
    assert "warning: 1 left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--modality histopathology or retina"),
        (("--modality", "ecg"), "ecg"),
        (("--modality", "retina", "--map", "patient=case"), "patient_id"),
        (("--modality", "retina", "--map", "patient_id"), "NAME=VALUE"),
        (("--modality", "retina", "--splits", "x"), "--splits"),
    ],
)
def test_wrong_calls_end_with_a_sentence(
    shards: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert prepare(shards, *arguments) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not (shards.parent / "out").exists()


def test_embedding_and_showing_members(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_members(shards / "1.tar", [("cut.png", picture(7)[:300])])
    assert prepare(shards, "--modality", "histopathology") == 0
    table = str(shards.parent / "out" / "labels.csv")
    common = ["--encoder", "color-histogram", "--cache", str(shards.parent / "c")]
    assert call(["embed", table, *common]) == 1
    assert "cut off" in "".join(capsys.readouterr())
    assert call(["embed", table, *common, "--on-error", "skip"]) == 0
    drawn = shards.parent / "one.png"
    assert call(["data", "show", table, "--record", "0/0001", "--out", str(drawn)]) == 0
    assert drawn.stat().st_size > 0
