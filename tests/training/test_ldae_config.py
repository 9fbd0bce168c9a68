"""Recipes of LDAE: stages, defaults, published flaws as switches, and refusals."""

from __future__ import annotations

import pytest

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.encoders.ldae.load import part_args
from medfm.encoders.registry import get_card
from medfm.training.ldae_config import AutoencoderRecipe, LatentRecipe, SemanticRecipe
from medfm.training.recipes import recipe_kind
from medfm.workflows.pretrain import load_recipe, recipes

STAGES = {"autoencoder": AutoencoderRecipe, "latent": LatentRecipe, "semantic": SemanticRecipe}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["ldae-{}", "ldae-{}-published", "ldae-tiny-{}"])
def test_shipped_recipes(stage, name):
    recipe = load_recipe(name.format(stage))
    assert type(recipe) is STAGES[stage] and recipe.name == name.format(stage)
    assert recipe.encoder == ("ldae-tiny" if "tiny" in name else "ldae-brain-mri")
    get_card(recipe.encoder)
    assert recipe.start is None


def test_all_are_listed():
    assert {f"ldae-{kind}{stage}" for kind in ("", "tiny-") for stage in STAGES} <= set(recipes())


def test_sound_recipes_have_no_published_flaw():
    for kind in ("", "tiny-"):
        first, second, third = (load_recipe(f"ldae-{kind}{stage}") for stage in STAGES)
        assert first.discriminator.learns_from == "own_loss" and first.selection == "validation_l1"
        # Said on purpose in the small recipe: most of the variance of its latents is the same in every brain.
        assert first.latent_scale == (2.0 if kind else None)
        assert second.selection == "validation_loss"
        assert third.selection == ("validation_loss" if kind else "validation_ssim")
        assert second.latents == third.latents == "mean" and third.prior == "required"
        assert second.average.every == third.average.every == "step"


def test_published_recipes_have_them_and_the_published_numbers():
    first, second, third = (load_recipe(f"ldae-{stage}-published") for stage in STAGES)
    assert first.discriminator.learns_from == "both_losses" and first.selection == "validation_l1_drawn"
    assert (first.kl, first.perceptual, first.adversarial, first.latent_scale) == (1e-7, 0.001, 0.025, 0.873)
    assert (first.optimisation.lr, first.discriminator.lr, first.batch_size, first.accumulate) == (5e-5, 1e-4, 1, 4)
    assert second.selection == "training_loss" and second.latents == third.latents == "drawn_once"
    assert second.batch_size * second.machine.devices == 128 and second.optimisation.lr == 2.5e-5
    assert third.batch_size * third.machine.devices * third.accumulate == 32
    assert third.prior == "random_if_missing" and third.average.every == "batch"
    assert (third.selection, third.samples.steps, third.samples.window) == ("validation_ssim", 100, 4)
    # The sound recipes take as many volumes per step on one device.
    assert load_recipe("ldae-latent").batch_size * load_recipe("ldae-latent").accumulate == 128
    assert load_recipe("ldae-semantic").batch_size * load_recipe("ldae-semantic").accumulate == 32


@pytest.mark.parametrize(
    "values", [{"family": "ldae"}, {"family": "ldae", "stage": "semantics"}, {"family": "ldae", "stage": 3}]
)
def test_a_wrong_stage(values):
    with pytest.raises(UnknownNameError, match="stage of LDAE") as error:
        recipe_kind(values, "recipe.yaml")
    assert "recipe.yaml: stage" in str(error.value)


@pytest.mark.parametrize(
    ("stage", "override", "why"),
    [
        ("autoencoder", "epochs=0", "epochs"),
        ("autoencoder", "latent_scale=0", "latent_scale"),
        ("autoencoder", "average.decay=0.9", "average"),
        ("autoencoder", "discriminator.learns_from=all", "own_loss"),
        ("latent", "average.decay=1.5", "average.decay"),
        ("latent", "prior=required", "prior"),
        ("semantic", "prior=none", "random_if_missing"),
        ("semantic", "batch_sise=2", "batch_size"),
    ],
)
def test_settings_that_are_refused(stage, override, why):
    with pytest.raises(ConfigError, match=why):
        load_recipe(f"ldae-tiny-{stage}", [override])


def test_the_procedure_leaves_out_what_does_not_change_the_result():
    one = load_recipe("ldae-tiny-latent", ["start=here", "checkpointing=true", "machine.checkpoint_every=3"])
    assert one.procedure() == load_recipe("ldae-tiny-latent", ["start=there"]).procedure()
    assert one.procedure() != load_recipe("ldae-tiny-latent", ["seed=1"]).procedure()
    assert one.procedure() != load_recipe("ldae-tiny-latent", ["machine.devices=2"]).procedure()


def test_the_tiny_card_is_the_published_one_in_small():
    tiny, whole = get_card("ldae-tiny"), get_card("ldae-brain-mri")
    assert [s.step for s in tiny.spec.preprocessing] == [s.step for s in whole.spec.preprocessing]
    assert part_args(tiny, "prior") == part_args(tiny, "denoiser")
    assert tiny.spec.generator.clip is None and tiny.spec.weights.sources == ()
