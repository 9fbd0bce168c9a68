"""``medfm knowledge`` from the shell: lists, classes, prompts, and CKEPE through a provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from medfm.cli.main import cli
from medfm.knowledge.ckepe import load_frozen
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import build_prompts


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["knowledge", *map(str, arguments)])


def test_the_list_says_that_nobody_reviewed_it() -> None:
    found = run()
    assert found.exit_code == 0 and "ecg" in found.output and "none" in found.output
    rows = json.loads(run("--json").stdout)["knowledge"]
    assert [r["domain"] for r in rows] == ["ecg", "histopathology", "retina"]
    assert {r["reviewed_by"] for r in rows} == {"none"}
    row = rows[0]
    assert row["classes"] == len(load_knowledge("ecg").classes) and row["reviewed_by"] == "none"


def test_a_class_and_a_label_set() -> None:
    shown = run("show", "ecg", "lvh").output
    entry = load_knowledge("ecg").entry("lvh")
    assert entry.name in shown and entry.findings[0].seen in shown
    assert json.loads(run("show", "ecg", "lvh", "--json").stdout) == json.loads(json.dumps(entry.to_dict()))
    labels = run("show", "ecg", "--labels", "csn").output
    assert "sinus_tachycardia" in labels and "source" in labels
    assert "lvh" in run("show", "ecg").output
    assert json.loads(run("show", "ecg", "--json").stdout)["domain"] == "ecg"
    assert "labels" in json.loads(run("show", "ecg", "--labels", "csn", "--json").stdout)


def test_prompts_are_those_of_the_library() -> None:
    made = build_prompts(load_knowledge("ecg"), "ptbxl-super", "synonyms@1")
    found = json.loads(run("prompts", "ecg", "ptbxl-super", "--strategy", "synonyms@1", "--json").stdout)
    assert found["sha256"] == made.digest()
    assert [p["text"] for p in found["prompts"]] == [p.text for c in made.classes for g in c.groups for p in g]
    assert made.classes[0].label in run("prompts", "ecg", "ptbxl-super").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "egc"), "ecg"),
        (("show", "ecg", "lvhh"), "did you mean 'lvh'"),
        (("show", "ecg", "lvh", "--labels", "csn"), "not both"),
        (("prompts", "ecg", "cns"), "csn"),
        (("prompts", "ecg", "csn", "--strategy", "finding@1"), "findings@1"),
        (("ckepe", "ecg", "csn", "--out", "x.yaml"), "Name one language model"),
        (("ckepe", "ecg", "csn", "--out", "x.yaml", "--url", "http://localhost:1"), "--model NAME"),
        (("ckepe", "ecg", "csn", "--out", "x.yaml", "--folder", "absent"), "config.json"),
        (("ckepe", "ecg", "nothing", "--out", "x.yaml", "--folder", "absent"), "nothing"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, ...], message: str) -> None:
    found = run(*arguments)
    assert found.exit_code != 0
    assert message in found.output + str(found.exception)
    assert not Path("x.yaml").exists()


def test_ckepe_freezes_what_is_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def provider(*_: Any) -> tuple[Any, str]:
        return lambda question: asked.append(question) or "ST depression, purple stripes", "a test"

    monkeypatch.setattr("medfm.cli.knowledge._provider", provider)
    out = tmp_path / "ckepe.yaml"
    found = run("ckepe", "ecg", "ptbxl-super", "--folder", "x", "--out", out)
    assert found.exit_code == 0, found.output
    frozen = load_frozen(out)
    assert len(asked) == len(frozen.labels) == 5 and frozen.provider == "a test"
    assert all("purple stripes" in {d.statement for d in entry.dropped} for entry in frozen.labels.values())
    assert "dropped" in found.output and str(out) in found.output.replace("\n", "")
    again = run("ckepe", "ecg", "ptbxl-super", "--folder", "x", "--out", out)
    assert again.exit_code != 0 and "exists already" in str(again.exception)
    replaced = run("ckepe", "ecg", "ptbxl-super", "--folder", "x", "--out", out, "--overwrite", "--json")
    assert json.loads(replaced.stdout)["sha256"] == frozen.sha256


def test_a_class_shows_its_source(tmp_path: Path) -> None:
    text = run("show", "retina", "mm_3").stdout
    assert "source: META-PM classification" in text
    assert "source: AHA/ACC/HRS recommendations" in run("show", "ecg", "atrial_fibrillation").stdout
    # Shipped files name a source for every class; one's own may not.
    own = tmp_path / "own.yaml"
    own.write_text(
        "domain: ecg\ntitle: own\nversion: 1\nlanguage: en\nreviewed_by: none\ntemplates: ['{name}.']\n"
        "classes: [{id: flutter, name: atrial flutter, findings: [{seen: sawtooth waves}]}]\n"
    )
    assert "source: none was named" in run("show", str(own), "flutter").stdout
    assert all(c.sources for c in load_knowledge("ecg").classes)


def test_published_names_and_templates_of_a_label_set() -> None:
    text = run("show", "histopathology", "--labels", "bach-pathgen").stdout
    assert "In-situ carcinoma" in text and "template: An H&E image of {name}" in text
    made = json.loads(
        run("prompts", "histopathology", "bach-pathgen", "--strategy", "templates@1", "--published", "--json").stdout
    )
    assert [p["text"] for p in made["prompts"]][1] == "An H&E image of In-situ carcinoma"
    own = json.loads(run("prompts", "histopathology", "bach-pathgen", "--strategy", "templates@1", "--json").stdout)
    assert len(own["prompts"]) == 12 and own["sha256"] != made["sha256"]
