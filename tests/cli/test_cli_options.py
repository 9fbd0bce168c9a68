"""What the verbs that evaluate a cohort share: options in their order, the cohort they name, what is printed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from medfm.cli.common import Verb, cohort_options
from medfm.cli.options import (
    baseline_option,
    class_pairs,
    cohort_from_options,
    drop_unlabelled_option,
    encoder_options,
    explanations_option,
    folder_options,
    map_method_option,
    progress_for,
    prompt_options,
    protocol_option,
    run_options,
    taken_cohort,
    target_of,
    task_option,
    tell_run,
)
from medfm.core.errors import ChecksFailedError, UnknownNameError
from medfm.core.progress import Silent, for_people


@click.command(cls=Verb)
@prompt_options
@folder_options
@map_method_option
@explanations_option
@run_options
def verb(**given: Any) -> None:
    """Show what was given."""
    click.echo(json.dumps(given))


def called(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(verb, list(arguments))
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def test_defaults() -> None:
    assert called() == {
        "prompt_file": None, "knowledge": None, "label_set": None, "map_class": [], "out": None, "overwrite": False,
        "embedding_map": "pca", "explanations": True, "name": "", "device": "auto", "cache": None, "on_error": None,
    }  # fmt: skip


def test_given_values() -> None:
    found = called(
        "--out", "runs/a", "--overwrite", "--map-method", "none", "--no-explanations", "--device", "cuda:1",
        "--on-error", "skip", "--map-class", "a=b", "--map-class", "c=d", "--name", "größe",
    )  # fmt: skip
    assert found["out"] == "runs/a" and found["overwrite"] is True and found["explanations"] is False
    assert found["embedding_map"] == "none" and found["device"] == "cuda:1" and found["on_error"] == "skip"
    assert found["map_class"] == ["a=b", "c=d"] and found["name"] == "größe"


@pytest.mark.parametrize("wrong", [("--on-error", "ignore"), ("--map-method", "tsne"), ("--prompts", "x")])
def test_wrong_values_are_refused(wrong: tuple[str, str]) -> None:
    assert CliRunner().invoke(verb, list(wrong)).exit_code == 2


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kept.txt"
    file.write_text("kept")
    done = CliRunner().invoke(verb, ["--out", str(file)])
    assert done.exit_code == 2 and "is a file" in done.output and file.read_text() == "kept"


def test_help_shows_options_in_the_order_of_the_decorators() -> None:
    shown = CliRunner().invoke(verb, ["--help"]).output
    names = ("prompt-file", "knowledge", "label-set", "map-class", "out", "overwrite", "map-method", "no-explanations",
             "name", "device", "cache", "on-error")  # fmt: skip
    places = [shown.index(f"  --{name} ") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["probe", "survival", "fewshot", "zeroshot"])
def test_verbs_of_evaluation_share_them(name: str) -> None:
    params = {p.name: p for p in importlib.import_module(f"medfm.cli.{name}").command.params}
    shared = {p.name: p for p in verb.params}
    for option in ("out", "overwrite", "name", "device", "cache", "on_error"):
        assert params[option].to_info_dict() == shared[option].to_info_dict()


@pytest.mark.parametrize("name", ["probe", "survival", "fewshot", "zeroshot", "reconstruct", "retrieve"])
def test_verbs_offer_every_option_once(name: str) -> None:
    params = importlib.import_module(f"medfm.cli.{name}").command.params
    names = [p.name for p in params]
    assert len(set(names)) == len(names)
    assert {"modality", "root", "mapping", "where", "allow", "out", "device"} <= set(names)


def given_table(**changed: Any) -> dict[str, Any]:
    return {
        "modality": None, "root": "images", "mapping": ("patient_id=donor",), "where": ("task=pbc", "site=a"),
        "allow": ("L001",), "device": "cpu",
    } | changed  # fmt: skip


def test_every_verb_keeps_rows_of_any_of_the_values_of_a_column() -> None:
    options = given_table(where=("task=pbc", "label=a", "label=b"))
    assert taken_cohort(options, None)["where"] == {"task": "pbc", "label": ["a", "b"]}


def test_the_cohort_is_taken_out_of_the_options() -> None:
    options = given_table()
    assert taken_cohort(options, None) == {
        "modality": None, "default_modality": "blood_cell", "root": "images", "map": {"patient_id": "donor"},
        "where": {"task": "pbc", "site": "a"}, "allow": ("L001",),
    }  # fmt: skip
    assert options == {"device": "cpu"}


def test_its_names_are_those_of_cohort_options() -> None:
    @click.command()
    @cohort_options
    def bare(**given: Any) -> None: ...

    assert {p.name for p in bare.params} == set(given_table()) - {"device"}


def test_the_encoder_says_the_modality_where_nobody_else_does() -> None:
    assert taken_cohort(given_table(), "merl-tiny")["default_modality"] == "ecg"
    named = taken_cohort(given_table(modality="retina"), "merl-tiny")
    assert named["modality"] == "retina" and named["default_modality"] == "ecg"
    with pytest.raises(UnknownNameError):
        taken_cohort(given_table(), "merl-tinny")


@pytest.mark.parametrize(("name", "said"), [("mapping", "--map takes"), ("where", "--where takes")])
@pytest.mark.parametrize("text", ["plain", "=value", ""])
def test_pairs_without_a_sign_are_refused(name: str, said: str, text: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        taken_cohort(given_table(**{name: (text,)}), None)


_NAMES = st.text(st.characters(blacklist_characters="=", blacklist_categories=("Cs",)), min_size=1, max_size=8)


@given(st.dictionaries(st.text(min_size=1, max_size=8), _NAMES, max_size=4))
def test_class_pairs_are_parted_at_the_last_sign(wanted: dict[str, str]) -> None:
    assert class_pairs(tuple(f"{key}={value}" for key, value in wanted.items())) == wanted


@pytest.mark.parametrize("text", ["class", "=name", "class=", "="])
def test_class_pairs_need_both_sides(text: str) -> None:
    with pytest.raises(click.UsageError, match="CLASS=NAME"):
        class_pairs(("a=b", text))


class Told:
    """A result as far as printing goes."""

    id = "ab12"
    extras = {"chance": 0.5}
    summary = SimpleNamespace(to_dict=lambda: {"task": "binary"})

    def __str__(self) -> str:
        return "AUROC [B] 0.81"


def run(out: str | None = "runs/a") -> Any:
    return SimpleNamespace(result=Told(), out=None if out is None else Path(out), failed=2)


def test_people_are_told_result_lines_and_report(capsys: pytest.CaptureFixture[str]) -> None:
    tell_run(run(), False, lambda result: (f"id {result.id}", "k=4"))
    assert capsys.readouterr().out.splitlines() == [
        "AUROC [B] 0.81",
        "id ab12",
        "k=4",
        f"report    {Path('runs/a/report.html')}",
    ]
    assert tell_run(run(None), False) == 1
    assert capsys.readouterr().out == "AUROC [B] 0.81\n"


@pytest.mark.parametrize("out", ["runs/a", None])
def test_machines_are_told_the_facts_alone(out: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(result: Any) -> list[str]:
        raise AssertionError("lines are for people")

    tell_run(run(out), True, refuse)
    assert json.loads(capsys.readouterr().out) == {
        "id": "ab12", "out": out, "failed": 2, "summary": {"task": "binary"}, "extras": {"chance": 0.5},
    }  # fmt: skip


@pytest.mark.parametrize(("failed", "on_error", "code"), [(0, None, 0), (2, None, 1), (2, "report", 1), (2, "skip", 0)])
@pytest.mark.parametrize("as_json", [False, True])
def test_lost_records_decide_the_exit_code(failed: int, on_error: str | None, code: int, as_json: bool) -> None:
    done: Any = SimpleNamespace(result=Told(), out=None, failed=failed)
    assert tell_run(done, as_json, on_error=on_error) == code


def asked(*decorators: Any) -> dict[str, click.Option]:
    """The options that the decorators give a command, in their order."""

    def bare(**given: Any) -> None: ...

    for decorate in reversed(decorators):
        bare = decorate(bare)
    return {str(p.name): p for p in click.command()(bare).params if isinstance(p, click.Option)}


def test_the_options_of_an_encoder() -> None:
    plain = asked(encoder_options())
    assert list(plain) == ["encoder", "weights", "preprocessing"]
    assert not plain["encoder"].required and plain["weights"].metavar == "FILE|random"
    more = asked(encoder_options("Which.", required=True, weights="Where.", preprocessing="How.", embeddings="File."))
    assert [option.help for option in more.values()] == ["Which.", "Where.", "How.", "File."]
    assert more["encoder"].required and not more["embeddings"].required


def test_the_options_of_a_procedure() -> None:
    found = asked(protocol_option("knn@1"), task_option("binary", "regression"), drop_unlabelled_option("a time"))
    assert list(found) == ["protocol", "task", "drop_unlabelled"]
    assert found["protocol"].default == "knn@1" and found["task"].default == "auto"
    assert list(found["task"].type.choices) == ["auto", "binary", "regression"]  # type: ignore[attr-defined]
    assert found["drop_unlabelled"].help == "Leave out records without a time." and found["drop_unlabelled"].is_flag
    assert asked(baseline_option)["baseline"].default == "auto"


def test_a_group_may_hold_groups() -> None:
    assert list(asked(folder_options, run_options)) == ["out", "overwrite", "name", "device", "cache", "on_error"]


def test_a_target_is_nothing_a_column_or_several() -> None:
    assert target_of(()) is None
    assert target_of(("label",)) == "label"
    assert target_of(("AFIB", "SB")) == ["AFIB", "SB"]


def test_machines_see_no_progress() -> None:
    assert progress_for(True) is Silent and progress_for(False) is for_people


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    place = tmp_path / "labels.csv"
    place.write_text(
        "record_id,path,donor,ward,task,site,split\n1,a.png,p,w,pbc,a,train\n2,b.png,q,w,pbc,b,test\n", "utf-8"
    )
    return place


def test_a_cohort_is_loaded_as_the_options_say(table: Path) -> None:
    options = given_table(root=None, allow=())
    cohort = cohort_from_options(str(table), options, "retina")
    assert options == {"device": "cpu"} and cohort.modality == "retina"
    assert list(cohort.record_ids) == ["1"]
    assert list(cohort.table["patient_id"]) == ["p"]
    assert cohort_from_options(str(table), given_table(root=None, modality="ecg"), "retina").modality == "ecg"


def test_a_failed_check_ends_it_only_where_checks_are_asked_for(table: Path) -> None:
    everything = {"root": None, "where": (), "mapping": ("patient_id=ward",)}
    with pytest.raises(ChecksFailedError, match="L001"):
        cohort_from_options(str(table), given_table(**everything, allow=()), "blood_cell")
    assert len(cohort_from_options(str(table), given_table(**everything, allow=()), "blood_cell", check=False)) == 2
    assert len(cohort_from_options(str(table), given_table(**everything), "blood_cell")) == 2  # --allow L001
