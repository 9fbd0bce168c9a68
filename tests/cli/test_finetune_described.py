"""``medfm finetune CONFIG``: what arrives at the run from a YAML file, from options, and from both. Nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import medfm.workflows.finetune as finetune_module
import medfm.workflows.nested as nested
from medfm.cli.finetune_nested import _reading_line
from medfm.cli.main import cli
from medfm.core.errors import ConfigError, MedfmError

TEXT = {
    "table": "labels.csv", "encoder": "merl-tiny", "weights": "random", "target": "label", "where": {"split": ["train", "val"]},
    "label_set": "cinc2021", "map_class": {"AF/AFL": "AF+AFL"}, "settings": {"scheme": {"folds": 3}}, "out": "out",
    "name": "n", "allow": ["L001"], "on_error": "skip",
}  # fmt: skip


class _Line:
    extras: dict[str, Any] = {"nested": {}}

    def __str__(self) -> str:
        return "the result"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The arguments of cohort, encoder and run, in place of them."""
    given: dict[str, Any] = {}

    def run(encoder: Any, cohort: Any, target: Any, plan: Any, out: str, **more: Any) -> Any:
        given.update(more, encoder=encoder, target=target, plan=plan, out=out)
        (tmp_path / out).mkdir(parents=True, exist_ok=True)
        more["describe"](tmp_path / out)
        return SimpleNamespace(result=_Line(), out=Path(out), failed=1)

    def cohort(table: str, **more: Any) -> Any:
        given["cohort"] = {"table": table, **more}
        return SimpleNamespace()

    def encoder(name: str, **more: Any) -> Any:
        given["loaded"] = {"name": name, **more}
        return SimpleNamespace(id=name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nested, "nested_finetune", run)
    monkeypatch.setattr(finetune_module, "finetune", run)
    monkeypatch.setattr("medfm.cohorts.load.load_cohort", cohort)
    monkeypatch.setattr("medfm.encoders.load.load_encoder", encoder)
    for name in ("nested.nested_line", "finetune.before_line", "finetune_verdict.verdict_sentence"):
        monkeypatch.setattr(f"medfm.reporting.{name}", lambda result: "a line")
    monkeypatch.setattr("medfm.workflows.nested_folds.split_note", lambda cohort: [])
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "a.yaml").write_text(yaml.safe_dump(TEXT))
    return given


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, ["finetune", *words])


def test_a_file_alone_is_enough(seen: dict[str, Any]) -> None:
    done = call("study/a.yaml")
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    assert seen["cohort"] == {
        "table": "study/labels.csv", "modality": None, "default_modality": "ecg", "root": None, "map": {},
        "where": {"split": ["train", "val"]}, "allow": ("L001",),
    }  # fmt: skip
    assert seen["loaded"] == {"name": "merl-tiny", "weights": "random", "device": "auto", "variant": None}
    assert seen["plan"].protocol.scheme.folds == 3 and seen["out"] == "study/out" and seen["target"] == "label"
    assert seen["label_set"] == "cinc2021" and seen["map_class"] == {"AF/AFL": "AF+AFL"} and seen["name"] == "n"
    assert seen["embed_settings"]["on_error"] == "skip" and not seen["resume"] and not seen["overwrite"]
    assert "7 trainings" not in done.stdout and "10 trainings: 3 outer folds" in done.stdout
    assert "Repeat it: medfm finetune study/out/run.yaml --out FOLDER" in done.stdout


def test_options_win_over_the_file(seen: dict[str, Any]) -> None:
    done = call(
        "study/a.yaml", "--encoder", "merl-resnet18", "--target", "a", "--target", "b", "--where", "split=test", "--where",
        "site=x", "--set", "scheme.seed=7", "--out", "o", "--resume", "--map-class", "SR=SNR", "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    assert seen["loaded"]["name"] == "merl-resnet18" and seen["target"] == ["a", "b"] and seen["out"] == "o"
    assert seen["cohort"]["where"] == {"split": "test", "site": "x"} and seen["resume"] and seen["device"] == "cpu"
    assert seen["plan"].protocol.scheme.folds == 3 and seen["plan"].protocol.scheme.seed == 7
    assert seen["map_class"] == {"AF/AFL": "AF+AFL", "SR": "SNR"}


def test_the_file_that_is_written_arrives_at_the_same_run(seen: dict[str, Any], tmp_path: Path) -> None:
    """Whatever way it was asked for: by file, by options, with a recipe."""
    asked = (
        ("study/a.yaml",),
        (
            "t.csv",
            "--encoder",
            "merl-tiny",
            "--positive",
            "1",
            "--where",
            "a=1",
            "--where",
            "a=2",
            "--set",
            "scheme.folds=4",
        ),
        (
            "t.csv",
            "--encoder",
            "merl-tiny",
            "--recipe",
            "lora",
            "--set",
            "stages.tune.layers.rank=2",
            "--drop-unlabelled",
        ),
    )
    for words in asked:
        seen.clear()
        assert call(*words, "--out", "first").exit_code == 0
        first = {key: value for key, value in seen.items() if key not in ("describe", "progress", "out")}
        text = (tmp_path / "first" / "run.yaml").read_text()
        kept = yaml.safe_load(text)
        assert ("recipe" in kept) == ("--recipe" in words) and kept["protocol"] and kept["out"] == "."
        seen.clear()
        done = call("first/run.yaml")
        assert done.exit_code == 0 and seen["out"] == "first", done.output
        again = {key: value for key, value in seen.items() if key not in ("describe", "progress", "out")}
        assert str(again) == str(first)  # encoders and plans by what they hold
        assert (tmp_path / "first" / "run.yaml").read_text() == text


def test_a_recipe_in_the_file_means_one_training(seen: dict[str, Any], tmp_path: Path) -> None:
    text = {"table": "labels.csv", "encoder": "merl-tiny", "recipe": "lora", "settings": {"batch_size": 8}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(text))
    done = CliRunner().invoke(cli, ["finetune", "one.yaml"], standalone_mode=False)
    assert done.return_value == 1 and "trainings" not in done.stdout  # a record was lost
    assert seen["plan"].name == "lora" and seen["plan"].batch_size == 8 and seen["protocol"] == "finetune@1"
    assert seen["out"] == "runs/lora" and "beside" not in seen


def test_a_dry_run_shows_the_whole_run_and_hashes(seen: dict[str, Any]) -> None:
    done = call("study/a.yaml", "--set", "scheme.folds=4", "--dry-run")
    shown = yaml.safe_load(done.stdout)
    assert shown["protocol"] == "nested-cv@1" and shown["settings"] == {"scheme": {"folds": 4}} and not seen
    assert done.stdout.count("sha256 ") == 2 and "13 trainings" in done.stdout
    as_json = call("study/a.yaml", "--set", "scheme.folds=4", "--dry-run", "--json")
    said = json.loads(as_json.stdout)
    assert said["config"] == shown and len(said["sha256"]) == 64 and said["sha256"] in done.stdout
    assert json.loads(call("study/a.yaml", "--dry-run", "--json").stdout)["sha256"] != said["sha256"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("study/a.yaml", "--recipe", "lora"), "scheme"),
        (("study/a.yaml", "--recipe", "lora", "--protocol", "nested-cv@1"), "not both"),
        (("study/a.yaml", "--set", "scheme.fold=3"), "folds"),
        (("study/a.yaml", "--where", "split"), "NAME=VALUE"),
        (("study/a.yaml", "--map-class", "x"), "CLASS=NAME"),
        (("study/none.yaml",), "does not exist"),
        (("study",), "is the folder of a run"),
    ],
    ids=["other kind", "both", "setting", "where", "class", "no file", "folder"],
)
def test_what_is_wrong_is_said_before_any_work(
    seen: dict[str, Any], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "study" / "run.yaml").write_text("table: labels.csv\n")
    done = call(*words)
    assert done.exit_code != 0 and said in f"{done.output} {done.exception}" and not seen
    assert isinstance(done.exception, (MedfmError, SystemExit))


def test_a_file_without_an_encoder_asks_for_one(seen: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "few.yaml").write_text("table: labels.csv\n")
    assert "--encoder ID" in call("few.yaml").output and not seen
    assert call("few.yaml", "--encoder", "merl-tiny").exit_code == 0 and seen["loaded"]["name"] == "merl-tiny"
    with pytest.raises(ConfigError, match="encodr"):
        (tmp_path / "wrong.yaml").write_text("table: labels.csv\nencodr: x\n")
        raise call("wrong.yaml").exception  # type: ignore[misc]


def test_the_reading_is_said_in_a_sentence_of_its_own() -> None:
    assert _reading_line("none: x has no text tower") == "No zero-shot reading beside the model: x has no text tower."
    long = "with the final model; measured with the models of the outer folds: It agrees on 3: of 4."
    assert _reading_line(long) == "It agrees on 3: of 4." and _reading_line("something else") == "something else"
