"""Fine-tuning recipes: what is shipped, what the published ones say, what is refused."""

from __future__ import annotations

import pytest

from medfm.core.config import build
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.training.finetune_config import FinetuneRecipe
from medfm.training.freezing import PUBLISHED, Freezing
from medfm.workflows.finetune import changed, finetune_recipes, load_finetune_recipe

SHIPPED = finetune_recipes()
PUBLISHED_ROWS = [name for name in SHIPPED if name.endswith("@1")]
# name -> (freezing, epochs of the probe, of fine-tuning, CutMix in the probe, in fine-tuning); the authors' table.
ABLATION = {
    "bpd-progressive@1": (True, 10, 20, False, True),
    "bpd-progressive-40-epochs@1": (True, 10, 30, False, True),
    "bpd-progressive-no-cutmix@1": (True, 10, 20, False, False),
    "bpd-progressive-cutmix-both@1": (True, 10, 20, True, True),
    "bpd-progressive-no-probe@1": (True, 0, 30, False, False),
    "bpd-progressive-no-probe-cutmix@1": (True, 0, 30, False, True),
    "bpd-full@1": (False, 0, 30, False, False),
    "bpd-full-cutmix@1": (False, 0, 30, False, True),
    "bpd-probe-full@1": (False, 10, 20, False, False),
    "bpd-probe-full-cutmix-both@1": (False, 10, 20, True, True),
    "bpd-probe-full-cutmix@1": (False, 10, 20, False, True),
    "bpd-probe-full-cutmix-40-epochs@1": (False, 10, 30, False, True),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_loads_bears_its_name_and_survives_yaml(name: str) -> None:
    import yaml

    recipe = load_finetune_recipe(name)
    assert recipe.name == name and recipe.description
    assert build(FinetuneRecipe, yaml.safe_load(recipe.to_yaml()), where="again") == recipe


def test_the_recipes_of_the_help_are_there() -> None:
    sound = {
        "linear-probe",
        "lp-ft",
        "bpd-progressive",
        "ulmfit",
        "layer-decay",
        "lora",
        "norm-only",
        "bias-only",
        "full",
    }
    assert set(SHIPPED) == sound | set(ABLATION)


@pytest.mark.parametrize("name", sorted(ABLATION))
def test_a_published_row_is_that_of_the_table(name: str) -> None:
    recipe = load_finetune_recipe(name)
    freezing, probe, tune, mixed_probe, mixed = ABLATION[name]
    stages = {stage.name: stage for stage in recipe.stages}
    assert list(stages) == (["probe", "tune"] if probe else ["tune"])
    assert stages["tune"].epochs == tune and (stages["tune"].layers.kind == "parts") == freezing
    assert (stages["tune"].mixing is not None) == mixed
    if probe:
        first = stages["probe"]
        assert (first.epochs, first.head.lr, first.head.weight_decay) == (probe, 1e-3, 1e-4)
        assert (
            first.schedule.kind == "constant"
            and first.layers.kind == "head"
            and (first.mixing is not None) == mixed_probe
        )
    for stage in recipe.stages:
        assert stage.freezing == PUBLISHED and stage.augment
        if stage.mixing is not None:
            assert (stage.mixing.kind, stage.mixing.probability, stage.mixing.alpha) == ("cutmix", 0.5, 1.0)
    assert recipe.batch_size == 8 and recipe.clip == 0 and recipe.objective.balance == "sampler"
    assert (recipe.head.dropout, recipe.head.bias, recipe.head.standardise) == (0.1, 0.01, False)
    assert recipe.validation.source == "none" and recipe.selection.keep == "last"
    assert [step.step for step in recipe.augmentation] == ["rotate", "flip", "resized_crop", "blur", "mask"]  # type: ignore[union-attr]
    cycle = stages["tune"].schedule
    assert cycle.kind == "one_cycle"
    assert (cycle.rise, cycle.start_divisor, cycle.final_divisor, cycle.momentum) == (0.3, 25, 1e4, (0.95, 0.85))


@pytest.mark.parametrize("name", [n for n in SHIPPED if n not in ABLATION])
def test_our_own_recipes_are_sound(name: str) -> None:
    recipe = load_finetune_recipe(name)
    assert recipe.selection.keep == "best" and recipe.validation.source == "auto"
    assert recipe.augmentation == "auto"
    for stage in recipe.stages:
        assert stage.freezing.frozen_batchnorm == "eval" and not stage.freezing.frozen_dropout
        if stage.layers.kind != "head":
            assert stage.freezing.trained_batchnorm == "eval"


BASE = {"name": "x", "stages": [{"name": "tune", "epochs": 1, "layers": {"kind": "whole", "lr": 1e-3}}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, "at least 1"),
        ({"stages": [BASE["stages"][0], BASE["stages"][0]]}, "two stages"),
        ({"validation": {"source": "none"}}, "keep=last"),
        ({"validation": {"source": "none"}, "selection": {"keep": "last"}}, "threshold=half"),
        (
            {"validation": {"source": "none"}, "selection": {"keep": "last", "threshold": "half", "patience": 3}},
            "patience",
        ),
        ({"batch_size": 1}, "greater than or equal to 2"),
        ({"learning_rate": 1}, "there is no such key"),
        (
            {
                "objective": {"early_learning": {}},
                "stages": [{"name": "tune", "epochs": 1, "layers": {"kind": "whole", "lr": 1e-3}, "mixing": {}}],
            },
            "early_learning",
        ),
        (
            {
                "stages": [
                    {"name": "a", "epochs": 1, "layers": {"kind": "lora", "lr": 1e-3}},
                    {"name": "b", "epochs": 1, "layers": {"kind": "head"}},
                ]
            },
            "last stage",
        ),
        (
            {
                "stages": [
                    {
                        "name": "a",
                        "epochs": 1,
                        "layers": {"kind": "parts", "parts": [{"part": "top", "lr": 1}, {"part": "top", "lr": 2}]},
                    }
                ]
            },
            "named twice",
        ),
        ({"augmentation": [{"step": "spin"}]}, "spin"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(FinetuneRecipe, {**BASE, **change}, where="a test")


def test_a_stage_is_changed_by_its_name() -> None:
    recipe = load_finetune_recipe("lp-ft", ["stages.tune.epochs=3", "stages.tune.layers.lr=1e-4", "seed=7"])
    assert recipe.stages[1].epochs == 3 and recipe.stages[1].layers.lr == 1e-4  # type: ignore[union-attr]
    assert recipe.stages[0] == load_finetune_recipe("lp-ft").stages[0] and recipe.seed == 7
    with pytest.raises(UnknownNameError, match="tune"):
        changed(recipe, ["stages.tone.epochs=3"])
    with pytest.raises(UnknownNameError, match="bpd-progressive"):
        load_finetune_recipe("bpd-progresive")


def test_the_machine_is_no_part_of_the_procedure() -> None:
    recipe = load_finetune_recipe("full")
    assert changed(recipe, ["machine.workers=4"]).procedure() == recipe.procedure()
    assert changed(recipe, ["seed=1"]).procedure() != recipe.procedure()
    assert Freezing() != PUBLISHED and recipe.epochs == 20


def test_another_kind_of_schedule_or_layers_does_not_inherit_the_settings_of_the_old_one() -> None:
    found = load_finetune_recipe("lp-ft", ["stages.tune.schedule.kind=one_cycle", "stages.tune.schedule.rise=0.2"])
    assert found.stages[1].schedule.to_dict()["kind"] == "one_cycle" and found.stages[1].schedule.rise == 0.2  # type: ignore[union-attr]
    assert found.stages[0] == load_finetune_recipe("lp-ft").stages[0]
    lora = load_finetune_recipe("lp-ft", ["stages.tune.layers={kind: lora, lr: 1e-3}"]).stages[1].layers
    assert lora.kind == "lora" and lora.lr == 1e-3
    # The same kind named again keeps what was set.
    kept = load_finetune_recipe("lp-ft", ["stages.tune.schedule.kind=cosine", "stages.tune.layers.lr=1e-4"]).stages[1]
    assert kept.schedule == load_finetune_recipe("lp-ft").stages[1].schedule
    assert kept.layers.lr == 1e-4 and kept.layers.weight_decay == 1e-2  # type: ignore[union-attr]
    with pytest.raises(ConfigError):
        load_finetune_recipe("lp-ft", ["stages.tune.schedule.kind=zigzag"])
