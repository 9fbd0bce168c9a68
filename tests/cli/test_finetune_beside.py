"""``medfm finetune --beside``: what the verb hands to the run, and encoders that are no other. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import medfm.workflows.nested as nested
from medfm.cli.main import cli
from medfm.core.errors import ConfigError, MedfmError
from medfm.workflows.nested import _different, _several
from tests.training.tuning_parts import signal_encoder


class _Line:
    extras: dict[str, Any] = {"nested": {}}

    def __str__(self) -> str:
        return "the result"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The arguments of the run, in place of the run."""
    given: dict[str, Any] = {}

    def run(encoder: Any, cohort: Any, target: Any, plan: Any, out: str, **more: Any) -> Any:
        given.update(more, encoder=encoder, target=target, plan=plan, out=out)
        return SimpleNamespace(result=_Line(), out=Path(out), failed=given.get("failed", 0))

    monkeypatch.setattr(nested, "nested_finetune", run)
    monkeypatch.setattr("medfm.reporting.nested.nested_line", lambda result: "the line")
    monkeypatch.setattr("medfm.reporting.finetune_verdict.verdict_sentence", lambda result: "the verdict")
    monkeypatch.setattr("medfm.workflows.nested_folds.split_note", lambda cohort: ["the split is not looked at"])
    monkeypatch.setattr("medfm.cohorts.load.load_cohort", lambda table, **more: SimpleNamespace(table=table))
    monkeypatch.setattr("medfm.encoders.load.load_encoder", lambda name, **more: SimpleNamespace(id=name))
    yield given


def call(*words: str, protocol: str = "nested-cv@1") -> Result:
    given = ["finetune", "t.csv", "--encoder", "merl-tiny", "--modality", "ecg", "--protocol", protocol, *words]
    return CliRunner().invoke(cli, given)


@pytest.mark.parametrize(
    ("words", "handed"),
    [
        ((), ()),
        (("--beside", "merl-resnet18"), ("merl-resnet18",)),
        (("--beside", "merl-resnet18", "--beside", "runs/a/model"), ("merl-resnet18", "runs/a/model")),
    ],
    ids=["none", "one", "two"],
)
def test_every_encoder_named_arrives_in_order(
    seen: dict[str, Any], words: tuple[str, ...], handed: tuple[str, ...]
) -> None:
    done = call("--target", "SR", *words)
    assert done.exit_code == 0, done.output
    assert seen["beside"] == handed and seen["target"] == "SR" and seen["encoder"].id == "merl-tiny"
    assert "16 trainings" in done.stdout and "the line" in done.stdout and seen["out"] == "runs/nested"
    assert "note: the split is not looked at" in done.stdout and "the verdict" in done.stdout
    assert "medfm finetune runs/nested/run.yaml --out FOLDER" in done.stdout


def test_it_goes_with_other_protocols_of_folds_too(seen: dict[str, Any]) -> None:
    done = call("--beside", "merl-resnet18", protocol="bpd-folds@1")
    assert done.exit_code == 0 and seen["beside"] == ("merl-resnet18",) and "30 trainings" in done.stdout


@pytest.mark.parametrize(("skip", "code"), [((), 1), (("--on-error", "skip"), 0)], ids=["report", "skip"])
def test_unreadable_records_give_exit_code_1_unless_skipped(
    seen: dict[str, Any], skip: tuple[str, ...], code: int
) -> None:
    seen["failed"] = 2
    words = ["finetune", "t.csv", "--encoder", "merl-tiny", "--protocol", "nested-cv@1", *skip]
    assert CliRunner().invoke(cli, words, standalone_mode=False).return_value == code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--beside", "a", "--beside", "a"), "--beside names a twice"),
        (("--beside", "a", "--beside", "b", "--beside", "b", "--dry-run"), "--beside names b twice"),
        (("--beside",), "requires an argument"),
    ],
    ids=["twice", "dry run", "no name"],
)
def test_what_makes_no_sense_is_refused_at_once(seen: dict[str, Any], words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code != 0 and said in f"{done.output} {done.exception}" and "beside" not in seen


def test_without_nested_cross_validation_it_is_refused(seen: dict[str, Any]) -> None:
    done = call("--beside", "merl-resnet18", protocol="finetune@1")
    assert done.exit_code != 0 and "--protocol nested-cv@1" in done.output and not seen


def test_an_unknown_card_is_named_with_near_ones() -> None:
    from medfm.encoders.load import load_encoder

    with pytest.raises(MedfmError, match="merl-resnet19") as found:
        for one in _several(("merl-resnet19",)):
            load_encoder(one, device="cpu")  # type: ignore[arg-type]
    assert "merl-resnet18" in str(found.value)


def test_one_or_several_or_none() -> None:
    encoder = signal_encoder()
    assert _several(None) == () and _several("a") == ("a",) and _several(Path("a")) == (Path("a"),)
    assert _several(encoder) == (encoder,) and _several(["a", encoder]) == ("a", encoder)


def test_the_same_encoder_under_two_names_is_found_by_its_weights() -> None:
    encoder = signal_encoder()
    assert _different([encoder]) == [encoder]
    with pytest.raises(ConfigError, match="'merl-tiny' is named twice") as found:
        _different([encoder, encoder])
    assert found.value.where == "--beside" and "leave it out" in str(found.value.fix)


def test_equal_ids_with_other_weights_or_preprocessing_are_two_encoders() -> None:
    def stand_in(fingerprint: str, digest: str) -> Any:
        return SimpleNamespace(id="x", fingerprint=fingerprint, preprocess=SimpleNamespace(digest=digest))

    several = [stand_in("a", "1"), stand_in("b", "1"), stand_in("a", "2")]
    assert _different(several) == several
    with pytest.raises(ConfigError):
        _different([*several, stand_in("b", "1")])
