"""Explanations as a user meets them: ``probe``, ``zeroshot`` and ``data show`` from a shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_picture_encoder import NAME, ready

from medfm.cli.main import main

FAST = ["--set", "statistics.resamples=30", "--map-method", "none"]
FEW = ["--set", "method.penalties=3", "--set", "method.folds=2", "--set", "method.smallest=0.1"]
TINY = ["--encoder", NAME, "--weights", "random"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def table(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return str(ready(root, monkeypatch, records=24))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def test_a_concept_probe_prints_what_the_findings_cost(table, tmp_path, capsys):
    concept = ["--protocol", "concept-probe@1", "--knowledge", "retina", "--label-set", "idrid", *FAST, *FEW]
    assert run("probe", table, *TINY, *concept, "--out", str(tmp_path / "run")) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "The named findings alone" in text and "concept probe, protocol concept-probe@1" in text
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Which named findings carry it?" in page
    saved = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert saved["extras"]["concepts"]["label_set"] == "idrid" and len(saved["extras"]["concepts"]["findings"]) == 9
    assert saved["protocol"]["method"]["kind"] == "concept_probe"


def test_the_settings_can_be_seen_before(capsys, table):
    assert run("probe", table, "--protocol", "concept-probe@1", "--knowledge", "retina", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "concept_probe" in shown and "knowledge: retina" in shown
    assert run("probe", table, "--protocol", "knn@1", "--label-set", "idrid", "--dry-run") == 2
    assert "asks for no findings" in capsys.readouterr().err


def test_heat_maps_come_by_themselves_and_can_be_left_out(table, tmp_path, capsys):
    assert run("probe", table, *TINY, *FAST, "--out", str(tmp_path / "with")) == 0
    assert run("probe", table, *TINY, *FAST, "--no-explanations", "--out", str(tmp_path / "without")) == 0
    pages = [(tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("with", "without")]
    assert 'class="shot"' in pages[0] and "they were switched off" not in pages[0]
    assert 'class="shot"' not in pages[1] and "they were switched off" in pages[1]
    ids = [json.loads((tmp_path / n / "result.json").read_text(encoding="utf-8"))["id"] for n in ("with", "without")]
    assert ids[0] == ids[1], "an ornament changes no figure"
    capsys.readouterr()


def test_zeroshot_without_heat_maps(table, tmp_path, capsys):
    options = ["--map-class", "a=dr_none", "--map-class", "b=dr_severe", "--split", "all", "--no-explanations"]
    assert run("zeroshot", table, *TINY, *FAST, *options, "--out", str(tmp_path / "run")) == 0
    assert "they were switched off" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()


def test_one_picture_with_its_heat_map(table, tmp_path, capsys):
    eye, out = str(Path(table).parent / "0.png"), str(tmp_path / "heat.png")
    asked = ["--modality", "retina", *TINY, "--text", "hard exudates"]
    assert run("data", "show", eye, *asked, "--out", out) == 0
    with Image.open(out) as drawn:
        assert drawn.size[0] > 1.5 * drawn.size[1]
    assert f"written   {out}" in capsys.readouterr().out
    assert run("data", "show", table, *TINY, "--text", "drusen", "--records", "2", "--out", str(tmp_path / "two")) == 0
    assert len(list((tmp_path / "two").glob("*.png"))) == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--modality", "retina", *TINY], "--text"),
        (["--modality", "retina", "--text", "drusen"], "--encoder"),
        (["--modality", "retina", "--encoder", "color-histogram"], "fixed formula"),
        (["--modality", "retina", "--encoder", "merl-tiny", "--weights", "random"], "takes no pictures"),
        (["--modality", "retina", "--encoder", "tiny-pictur"], "did you mean"),
    ],
)
def test_what_cannot_be_drawn_ends_with_what_to_do(table, tmp_path, capsys, options, words):
    eye = str(Path(table).parent / "0.png")
    assert run("data", "show", eye, *options, "--out", str(tmp_path / "x.png")) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error and not (tmp_path / "x.png").exists()


def test_a_text_means_nothing_to_an_ecg(table, tmp_path, capsys):
    (tmp_path / "ecg.csv").write_text("path,record_id\nx.hea,r0\n", encoding="utf-8")
    assert run("data", "show", str(tmp_path / "ecg.csv"), "--modality", "ecg", "--text", "st elevation") == 2
    assert "no setting 'text'" in capsys.readouterr().err
