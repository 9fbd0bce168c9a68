"""Recipes of preparation: orders that have a meaning, arguments, and the shipped files."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from medfm.core.config import build, load_config
from medfm.core.errors import ConfigError
from medfm.core.resources import data_folder
from medfm.encoders.preparation.steps import (
    PreparationRecipe,
    VolumeBiasField,
    VolumeBrainMask,
    VolumeRegister,
    check_preparation_order,
)

SHIPPED = sorted((data_folder("configs") / "preparation").glob("*.yaml"), key=lambda path: path.stem)
MASK, REGISTER = {"step": "volume_brain_mask"}, {"step": "volume_register"}


def recipe(*steps: dict) -> PreparationRecipe:
    return build(PreparationRecipe, {"id": "own@1", "title": "own", "steps": list(steps)}, where="own.yaml")


def test_three_recipes_are_shipped() -> None:
    assert [path.stem for path in SHIPPED] == ["brain-mri", "brain-mri-light", "ldae-published"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_recipe_is_valid_and_honest(path) -> None:
    made = load_config(PreparationRecipe, path)
    assert made.id == f"{path.stem}@1" and made.modality == "brain_mri"
    assert made.deviations, "every one of them leaves something out"
    assert "volume_scale" not in [step.step for step in made.steps], "values are scaled by the card"


def test_the_default_is_affine_and_says_why() -> None:
    made = load_config(PreparationRecipe, SHIPPED[0])
    assert [step.step for step in made.steps] == [
        "volume_reorient", "volume_bias_field", "volume_brain_mask", "volume_register", "volume_crop_brain",
    ]  # fmt: skip
    assert "atrophy" in made.deviations[0] and made.registers


def test_the_light_one_needs_nothing_else() -> None:
    made = load_config(PreparationRecipe, SHIPPED[1])
    assert not made.registers
    assert not {"volume_bias_field", "volume_register"} & {step.step for step in made.steps}
    assert all(step.method == "morphological" for step in made.steps if isinstance(step, VolumeBrainMask))


def test_ldae_says_what_it_is_not() -> None:
    made = load_config(PreparationRecipe, SHIPPED[2])
    text = " ".join(made.deviations)
    assert all(word in text for word in ("ANTsPyNet", "SyN", "deformable", "not comparable"))
    assert made.steps[0].axes == "file"


@pytest.mark.parametrize(
    "names",
    [
        ["volume_brain_mask"],
        ["volume_reorient", "volume_scale"],
        ["volume_bias_field", "volume_brain_mask", "volume_register", "volume_crop_brain", "volume_size"],
        ["volume_brain_mask", "volume_bias_field", "volume_register", "volume_robust_scale"],
        ["volume_crop_brain", "volume_spacing", "volume_brain_mask"],
    ],
)
def test_orders_with_a_meaning(names: list[str]) -> None:
    check_preparation_order(names)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["volume_brain_mask", "volume_brain_mask"], "volume_brain_mask may come once"),
        (["volume_brain_mask", "volume_reorient"], "volume_reorient must come first"),
        (["volume_register"], "needs a volume_brain_mask before it"),
        (["volume_register", "volume_brain_mask"], "needs a volume_brain_mask before it"),
        (["volume_brain_mask", "volume_crop_brain", "volume_register"], "volume_crop_brain must come after"),
        (["volume_brain_mask", "volume_scale", "volume_register"], "volume_scale must come after"),
        (["volume_scale", "volume_brain_mask"], "may stand at the end"),
        (["volume_scale", "volume_robust_scale"], "may stand at the end"),
    ],
)
def test_orders_without(names: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_preparation_order(names)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "steps"),
        ([{"step": "slice_first"}], "slice_first"),
        ([{"step": "to_rgb"}], "to_rgb"),
        ([REGISTER], "needs a volume_brain_mask"),
        ([{**MASK, "metod": "hd-bet"}], "metod"),
        ([{**MASK, "method": "bet"}], "method"),
        ([{**MASK, "device": "gpu"}], "on the cpu"),
        ([{**MASK, "apply": False, "soft_mm": 1.0}], "soft_mm softens"),
        ([{**MASK, "timeout_s": 0}], "timeout_s"),
        ([MASK, {**REGISTER, "method": "syn"}], "method"),
        ([MASK, {**REGISTER, "least_overlap": 1.5}], "least_overlap"),
        ([MASK, {**REGISTER, "sampling": 0}], "sampling"),
        ([{"step": "volume_bias_field", "iterations": []}], "iterations"),
        ([{"step": "volume_bias_field", "iterations": [50, 0]}], "iterations"),
        ([{"step": "volume_crop_brain", "about": "centre_of_mass"}], "size_mm is needed"),
        ([{"step": "volume_crop_brain", "size_mm": [1, 2, 3]}], "size_mm is needed"),
    ],
)
def test_wrong_recipes_name_what_is_wrong(steps: list[dict], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        recipe(*steps)
    assert caught.value.where == "own.yaml"


def test_defaults_are_part_of_the_digest() -> None:
    plain = recipe(MASK)
    assert plain.digest() == recipe({**MASK, "method": "morphological", "soft_mm": 0.0}).digest()
    assert plain.digest() != recipe({**MASK, "soft_mm": 0.5}).digest()
    assert build(PreparationRecipe, plain.to_dict(), where="again") == plain


@pytest.mark.parametrize("kind", [VolumeBiasField, VolumeBrainMask, VolumeRegister])
def test_every_argument_is_frozen_and_every_step_explained(kind) -> None:
    made = kind()
    with pytest.raises(ValidationError):
        made.step = "other"
    assert len(kind.__doc__) > 150
    assert all(field.description for name, field in kind.model_fields.items() if name not in ("step", "method"))
