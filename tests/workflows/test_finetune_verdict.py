"""Which verdict a call of fine-tuning gets, in Python and by settings; nothing is trained."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import medfm
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.evaluation.protocol import load_protocol
from medfm.workflows import nested
from medfm.workflows.finetune import finetune
from medfm.workflows.finetune_verdict import NESTED, RECIPE, SPLIT, check_settings, choose_verdict
from tests.training.tuning_parts import recipe

ONE = recipe(name="own")


@pytest.mark.parametrize(
    ("named", "protocol", "verdict", "trained"),
    [
        (None, None, NESTED, None),
        ("lora", None, SPLIT, "lora"),
        (ONE, None, SPLIT, ONE),
        (Path("mine.yaml"), None, SPLIT, Path("mine.yaml")),
        (None, SPLIT, SPLIT, RECIPE),
        ("lora", SPLIT, SPLIT, "lora"),
        (None, NESTED, NESTED, None),
        (None, "bpd-folds@1", "bpd-folds@1", None),
        (None, load_protocol(NESTED, overrides=("scheme.folds=3",)), NESTED, None),
        (None, "knn@1", "knn@1", RECIPE),  # refused later, with what it is
    ],
    ids=["nothing", "recipe", "object", "file", "split", "both", "nested", "published folds", "changed", "other"],
)
def test_the_rule(named: Any, protocol: Any, verdict: str, trained: Any) -> None:
    plan, found = choose_verdict(named, protocol)
    assert plan.id == verdict and found == trained
    if not isinstance(protocol, (str, type(None))):
        assert plan == protocol


@pytest.mark.parametrize(("named", "said"), [("lora", "[lora]"), (ONE, "[own]"), (Path("a.yaml"), "[a.yaml]")])
def test_a_recipe_with_nested_cross_validation_is_refused_with_both_ways_out(named: Any, said: str) -> None:
    with pytest.raises(ConfigError, match="does not take one") as found:
        choose_verdict(named, NESTED)
    assert f"method.candidates={said}" in str(found.value.fix) and f"--protocol {SPLIT}" in str(found.value.fix)


def test_an_unknown_protocol_is_named_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="nested-cv@1"):
        choose_verdict(None, "nested-cv@2")


@pytest.mark.parametrize(
    ("setting", "protocol", "fix"),
    [
        ("stages.tune.epochs=3", NESTED, "--recipe NAME"),
        ("batch_size=8", NESTED, "method.candidates=[FILE.yaml]"),
        ("scheme.folds=3", SPLIT, f"judges by {NESTED}"),
        ("method.final=none", SPLIT, "'settings' out"),
        ("statistics.resamples=10", SPLIT, "run.yaml"),
    ],
)
def test_settings_of_the_other_kind_are_refused_with_the_way_out(setting: str, protocol: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=setting.split(".")[0].split("=")[0]) as found:
        check_settings([setting], load_protocol(protocol))
    assert fix in str(found.value.fix)


@pytest.mark.parametrize(
    ("setting", "protocol"),
    [
        ("scheme.folds=3", NESTED),
        ("title=mine", NESTED),
        ("stages.tune.epochs=3", SPLIT),
        ("source=a paper", NESTED),  # of both
        ("source=a paper", SPLIT),
        ("scheem.folds=3", NESTED),  # of neither: the near key is named where it is read
    ],
)
def test_own_settings_and_unknown_ones_pass(setting: str, protocol: str) -> None:
    check_settings([setting], load_protocol(protocol))


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def run(encoder: Any, cohort: Any, target: Any, plan: Any, out: Any, **more: Any) -> str:
        seen.update(more, encoder=encoder, cohort=cohort, target=target, plan=plan, out=out)
        return "the run"

    monkeypatch.setattr(nested, "nested_finetune", run)
    return seen


def test_in_python_the_default_is_nested_too_and_all_arguments_arrive(handed: dict[str, Any], tmp_path: Path) -> None:
    given = {
        "beside": "merl-resnet18", "task": "binary", "positive": "old", "allow": ("L001",), "drop_unlabelled": True,
        "overrides": ("scheme.folds=3",), "device": "cpu", "resume": True, "overwrite": False, "name": "n",
        "embed_settings": {"cache": "c"}, "progress": None, "label_set": "csn", "map_class": {"a": "b"}, "describe": None,
    }  # fmt: skip
    assert medfm.finetune("merl-tiny", "cohort", "age", out=tmp_path, **given) == "the run"
    assert handed["plan"].id == NESTED and handed["target"] == "age" and handed["out"] == tmp_path
    assert {key: handed[key] for key in given} == given
    known = inspect.signature(finetune).parameters
    assert set(handed) - {"plan"} == set(known) - {"recipe", "protocol"}  # nothing is lost on the way


def test_encoders_beside_one_training_are_refused(handed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="nested cross-validation only"):
        finetune("merl-tiny", "cohort", "age", "lora", beside="merl-resnet18")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is of the method 'knn'") as found:
        finetune("merl-tiny", "cohort", "age", protocol="knn@1")  # type: ignore[arg-type]
    assert NESTED in str(found.value.expected) and not handed
