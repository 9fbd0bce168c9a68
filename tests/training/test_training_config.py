"""Recipes: every shipped one is valid, wrong values are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medfm.core.config import build, describe, load_config, read_yaml
from medfm.core.errors import ConfigError
from medfm.training.config import PretrainConfig
from medfm.training.recipes import recipe_kind

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "configs" / "pretrain").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_named_after_their_file(path: Path) -> None:
    config = load_config(recipe_kind(read_yaml(path), str(path)), path)
    assert config.name == path.stem
    assert config.description
    assert config.split == "train"


def test_both_recipes_are_shipped() -> None:
    assert {"dinov2-tiny", "dinov2-smoke"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"optimisation": {"lr": 0}}, "optimisation.lr"),
        ({"optimisation": {"warmup": 11}}, "longer than steps (10)"),
        ({"teacher": {"temperature": [0.01, 0.07]}}, "at least 0.02"),
        ({"views": {"global_scale": [0.5, 0.2]}}, "global_scale must rise"),
        ({"views": {"augmentation": "none"}}, "views.augmentation"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(PretrainConfig, {"name": "x", "steps": 10, "batch_size": 4} | values, where="test")


def test_machine_settings_are_not_part_of_the_procedure() -> None:
    def procedure(**machine: object) -> dict[str, object]:
        values = {"name": "x", "steps": 10, "batch_size": 4, "machine": machine}
        return build(PretrainConfig, values, where="test").procedure()

    assert procedure(workers=0) == procedure(workers=3, checkpoint_every=7)
    assert procedure(devices=1) != procedure(devices=2)


def test_every_setting_is_described() -> None:
    missing = [key for key, _, text in describe(PretrainConfig) if not text]
    assert missing == []
