"""Recipes of two towers in the loop: the loss falls, a stopped run goes on exactly, schedules and optimisers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_paired_loop import equal_states, rows_of, stop_at
from tower_parts import network, recipe, tower_pairs

from medfm.core.errors import ConfigError
from medfm.training.log import read_log
from medfm.training.loop import make_fabric
from medfm.training.paired_loop import learning_rates, make_optimizer, train_pairs
from medfm.training.paired_validation import validation_losses
from medfm.training.towers import TowerPairs
from medfm.training.towers_config import Start, TowersOptimisation
from medfm.workflows.pretrain import load_recipe

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("clip", {}),
    "siglip": ("clip", {"loss": "siglip"}),
    "coca": ("clip", {"loss": "coca"}),
    "bert": ("clip-bert", {}),
    "flair": ("flair", {}),
    "convirt": ("convirt", {}),
}


def run(folder: Path, kind: str, **options: Any) -> TowerPairs:
    family, changes = KINDS[kind]
    config = recipe(family, **changes, **options.pop("changes", {}))
    model = TowerPairs(network(family), config)
    fabric = make_fabric(config.machine)
    fabric.launch()
    pairs = tower_pairs(augmentation="flair")
    train_pairs(model, pairs, folder, config=config, identity=config.procedure(), fabric=fabric, **options)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed_equals_uninterrupted(kind: str, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", kind)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", kind, progress=stop_at(5))
    resumed = run(tmp_path / "cut", kind, resume=True)
    assert equal_states(whole.state_dict(), resumed.state_dict())
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "cut")
    assert len(rows_of(tmp_path / "cut")) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind: str, tmp_path: Path) -> None:
    run(tmp_path, kind, changes={"epochs": 10, "shuffle": "same_order"})
    totals = [row["total"] for row in read_log(tmp_path / "log.jsonl")]
    assert np.mean(totals[-6:]) < np.mean(totals[:6]), totals


def test_validation_repeats_and_leaves_the_model_training() -> None:
    model = TowerPairs(network("flair"), recipe("flair")).train()
    found = [validation_losses(model, tower_pairs(), recipe("flair")) for _ in range(2)]
    assert found[0] == found[1]
    assert {"val_total", "val_image_to_text", "val_text_to_image", "val_scale", "val_top1"} <= found[0].keys()
    assert model.training


class TestSchedules:
    def test_flairs_rate_ends_at_0951_of_its_highest(self) -> None:
        rate = learning_rates(TowersOptimisation(lr=1.0, final_lr=0, warmup_epochs=1, cosine_epochs=100), 150, 10)
        assert [rate(step) for step in range(10)] == pytest.approx([(k + 1) / 10 for k in range(10)])
        assert rate(149) == pytest.approx((1 + math.cos(math.pi * 13.9 / 99)) / 2, abs=1e-6)
        ours = learning_rates(TowersOptimisation(lr=1.0, final_lr=0, warmup_epochs=1), 150, 10)
        assert ours(149) < 0.01

    def test_the_ports_rate(self) -> None:
        rule = TowersOptimisation(lr=1.0, final_lr=0, schedule="convirt_port")
        rate = learning_rates(rule, 10_000, 20)
        assert {rate(step) for step in range(200)} == {1.0}
        assert rate(20 * 20) == pytest.approx(0.5)  # ten of twenty epochs of the half period
        assert rate(30 * 20) == pytest.approx(0, abs=1e-9)
        assert rate(50 * 20) == pytest.approx(1)  # and up again

    def test_plain_recipes_keep_their_warm_up_in_steps(self) -> None:
        rate = learning_rates(TowersOptimisation(lr=1.0, final_lr=0, warmup=5), 50, 10)
        assert rate(0) == 0 and rate(4) == 1 and rate(5) == 1


class TestOptimiser:
    def test_vectors_do_not_decay_where_the_recipe_says_so(self) -> None:
        parameters = list(network("clip").parameters())
        found = make_optimizer(parameters, TowersOptimisation(decay="matrices", weight_decay=0.2, eps=1e-6))
        assert isinstance(found, torch.optim.AdamW)
        big, small = found.param_groups
        assert (big["weight_decay"], small["weight_decay"], big["eps"]) == (0.2, 0.0, 1e-6)
        assert all(p.ndim >= 2 for p in big["params"]) and all(p.ndim < 2 for p in small["params"])
        assert len(big["params"]) + len(small["params"]) == len(parameters)

    def test_adam_puts_the_decay_into_the_gradient(self) -> None:
        found = make_optimizer([torch.nn.Parameter(torch.ones(2))], TowersOptimisation(optimiser="adam"))
        assert type(found) is torch.optim.Adam


class TestRecipes:
    NAMES = (
        *("quiltnet-tiny", "quiltnet-smoke", "quiltnet-b-32", "quiltnet-b-32-published"),
        *("flair-tiny", "flair-smoke", "flair-resnet50", "flair-resnet50-published"),
        *("convirt-tiny", "convirt-smoke", "convirt-resnet50", "convirt-resnet50-published"),
    )

    @pytest.mark.parametrize("name", NAMES)
    def test_shipped_recipes_fit_their_card(self, name: str) -> None:
        from medfm.encoders.published import build
        from medfm.encoders.registry import get_card
        from medfm.training.pair_families import NETWORKS

        config = load_recipe(name)
        assert config.name == name and config.description and config.split == "train"
        card = get_card(config.encoder)
        assert card.spec.text is not None
        assert isinstance(build(card, device="meta"), NETWORKS[config.family])  # type: ignore[index]

    def test_published_settings(self) -> None:
        flair, convirt = load_recipe("flair-resnet50-published"), load_recipe("convirt-resnet50-published")
        assert (flair.epochs, flair.batch_size, flair.optimisation.cosine_epochs) == (15, 128, 100)
        assert (flair.optimisation.lr, flair.optimisation.weight_decay, flair.optimisation.clip) == (1e-4, 1e-5, 1.0)
        assert len(flair.text.leave_out) == 8 and flair.balance == "dataset" and flair.selection == "last"
        assert (convirt.temperature, convirt.image_to_text, convirt.batch_size) == (0.1, 0.75, 32)
        assert (convirt.optimisation.optimiser, convirt.optimisation.weight_decay) == ("adam", 1e-6)
        assert (convirt.text.trained_layers, convirt.text.window.kind, convirt.epochs) == (6, "random_sentence", 1000)
        quilt = load_recipe("quiltnet-b-32-published")
        assert (quilt.optimisation.lr, quilt.optimisation.weight_decay, quilt.optimisation.betas) == (
            5e-4,
            0.2,
            (0.9, 0.98),
        )
        assert quilt.batch_size * quilt.machine.devices == 1024 and quilt.optimisation.decay == "matrices"
        assert load_recipe("quiltnet-b-32").optimisation.lr == 5e-5

    def test_starts_that_contradict_themselves(self) -> None:
        for wrong in ({"kind": "network"}, {"kind": "random", "weights": "x"}):
            with pytest.raises(ValueError, match=r"start needs|start\.kind is random"):
                Start(**wrong)
        with pytest.raises(ConfigError, match="augmentation"):
            recipe("clip", augmentation="wild")
