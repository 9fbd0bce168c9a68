"""Recipes of the MERL family, and the choice of the family by its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pair_parts import recipe

from medfm.core.config import load_config, read_yaml
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.training.config import PretrainConfig
from medfm.training.pairs_config import MerlRecipe
from medfm.training.recipes import FAMILIES, recipe_kind
from medfm.workflows.pretrain import load_recipe

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "configs" / "pretrain").glob("merl-*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_named_after_their_file(path: Path) -> None:
    config = load_recipe(path.stem)
    assert isinstance(config, MerlRecipe)
    assert (config.name, config.family, config.split) == (path.stem, "merl", "train")
    assert config.description


def test_the_recipes_that_must_be_there() -> None:
    names = {path.stem for path in SHIPPED}
    assert names >= {"merl-resnet18", "merl-vit-tiny", "merl-resnet18-published", "merl-tiny", "merl-smoke"}


def test_the_papers_settings_and_the_default_without_its_flaws() -> None:
    sound, published = load_recipe("merl-resnet18"), load_recipe("merl-resnet18-published")
    for config in (sound, published, load_recipe("merl-vit-tiny")):
        assert (config.optimisation.lr, config.optimisation.weight_decay) == (2e-4, 1e-5)
        assert config.optimisation.betas == (0.9, 0.999)
        assert (config.temperature, config.uma, config.batch_size) == (0.07, 1.0, 128)
        assert config.text.trained_layers == 0
    assert (sound.shuffle, sound.gather, sound.selection) == ("each_epoch", "full", "validation_loss")
    assert sound.preprocessing_variant is None
    assert sound.validation.source == "patients"
    assert (published.shuffle, published.gather, published.selection) == (
        "same_order",
        "local_gradient",
        "zero_shot_validation",
    )
    assert published.preprocessing_variant == "pretraining"
    assert published.optimisation.schedule == "warm_restarts"
    assert published.optimisation.restart_every == 5000
    assert published.validation.source == "records"
    assert (published.epochs, published.machine.devices) == (21, 8)


def test_what_is_sound_is_the_default() -> None:
    plain = MerlRecipe(name="x", epochs=1, batch_size=2)
    assert (plain.shuffle, plain.gather, plain.selection) == ("each_epoch", "full", "validation_loss")
    assert plain.optimisation.schedule == "warmup_cosine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"selection": "zero_shot_validation"}, "needs zero_shot.label_set"),
        ({"text": {"start": "random", "trained_layers": 0}}, "must learn"),
        ({"text": {"trained_layers": -1, "start": "pretrained"}}, "0 or more"),
        ({"text": {"weights": "folder"}}, "start is random"),
        ({"gather": "all"}, "gather"),
        ({"batch_size": 1}, "batch_size"),
        ({"validation": {"share": 1}}, "share"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_wrong_settings_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**changes)


def test_the_family_decides_the_settings(tmp_path: Path) -> None:
    assert recipe_kind({"name": "x"}, "w") is PretrainConfig
    assert recipe_kind({"family": "merl"}, "w") is MerlRecipe
    assert set(FAMILIES) == {"dinov2", "merl", "clip", "flair", "convirt", "ldae"}
    with pytest.raises(UnknownNameError, match="did you mean 'merl'"):
        recipe_kind({"family": "merrl"}, "w")
    with pytest.raises(UnknownNameError):
        recipe_kind({"family": ["merl"]}, "w")
    with pytest.raises(ConfigError, match="mapping"):
        recipe_kind(["family"], "w")
    # A setting of the other family is refused by name.
    file = tmp_path / "mixed.yaml"
    file.write_text("name: x\nfamily: merl\nepochs: 1\nbatch_size: 4\nteacher: {momentum: [0.9, 1.0]}\n")
    with pytest.raises(ConfigError, match="teacher"):
        load_recipe(file)


def test_dinov2_recipes_did_not_change() -> None:
    for name in ("dinov2-tiny", "dinov2-smoke"):
        path = Path(__file__).resolve().parents[2] / "configs" / "pretrain" / f"{name}.yaml"
        assert "family" not in read_yaml(path)
        config = load_config(PretrainConfig, path)
        assert load_recipe(name) == config
        # Checkpoints of before the key existed can be resumed.
        assert "family" not in config.procedure()


def test_the_procedure_leaves_the_machine_out() -> None:
    one, two = recipe(), recipe(machine={"checkpoint_every": 7, "workers": 2})
    assert one.procedure() == two.procedure()
    assert one.procedure() != recipe(machine={"devices": 2}).procedure()
    assert load_recipe("merl-smoke", {"epochs": 5}) == load_recipe("merl-smoke", ["epochs=5"])
