"""The objectives, masks, schedules and parameter groups against the published implementation's figures."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from medfm.objectives.centering import Center
from medfm.objectives.dino import dino_loss
from medfm.objectives.dino_head import DinoHead
from medfm.objectives.dinov2 import DINOBLOOM, REDDINO, UPSTREAM, LossRule, combine
from medfm.objectives.ibot import ibot_loss, ibot_masked_loss, mask_weights
from medfm.objectives.koleo import koleo_loss
from medfm.objectives.sinkhorn import sinkhorn_knopp
from medfm.training.masking import batch_masks, block_mask
from medfm.training.param_groups import multipliers
from medfm.training.schedules import CosineSchedule, warmup_only

FOLDER = Path(__file__).parent / "dinov2-losses"
GOLDEN = dict(np.load(FOLDER / "golden.npz"))
ATOL = 1e-5


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The frozen standard-normal input of the given name."""
    source = np.random.RandomState(zlib.crc32(f"input:{name}".encode()))
    return source.standard_normal(shape).astype(np.float32)


def tensor(name: str, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(scale * drawn(f"dinov2-losses/{name}", shape)).float()


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    found = drawn("dinov2-losses/mask", (8, 16)) > 0.6
    found[1] = False
    assert np.array_equal(found, GOLDEN["masks"])
    return torch.from_numpy(found)


TEACHER = tensor("teacher_cls", 8, 64, scale=0.2)
STUDENT = tensor("student_global_cls", 8, 64, scale=0.2)
LOCAL = tensor("student_local_cls", 12, 64, scale=0.2)
TEACHER_PATCH = tensor("teacher_patch", 8, 16, 64, scale=0.2)
STUDENT_PATCH = tensor("student_patch", 8, 16, 64, scale=0.2)


def close(value: torch.Tensor, key: str) -> None:
    assert_allclose(value.detach().numpy(), GOLDEN[key], atol=ATOL, rtol=1e-5, err_msg=key)


def test_softmax_centering_matches_before_and_after_one_update():
    center = Center(64, momentum=0.9)
    close(center.probabilities(TEACHER, 0.04), "dino_center_probs_step0_t004")
    center.update(TEACHER)
    close(center.center, "dino_center_after_update")
    close(center.probabilities(TEACHER, 0.07), "dino_center_probs_step1_t007")


@pytest.mark.parametrize(
    ("key", "temperature", "iterations"),
    [
        ("dino_sinkhorn_probs_t004", 0.04, 3),
        ("dino_sinkhorn_probs_t007", 0.07, 3),
        ("dino_sinkhorn_probs_t007_1iter", 0.07, 1),
    ],
)
def test_sinkhorn_matches(key: str, temperature: float, iterations: int):
    close(sinkhorn_knopp(TEACHER, temperature, iterations), key)


@pytest.mark.parametrize("kind", ["centering_step0", "sinkhorn_t004", "sinkhorn_t007"])
def test_dino_cross_entropies_match(kind: str):
    probabilities = {
        "centering_step0": lambda: Center(64).probabilities(TEACHER, 0.04),
        "sinkhorn_t004": lambda: sinkhorn_knopp(TEACHER, 0.04),
        "sinkhorn_t007": lambda: sinkhorn_knopp(TEACHER, 0.07),
    }[kind]()
    close(dino_loss([STUDENT], [probabilities]), f"dino_global_ce_{kind}")
    close(dino_loss(LOCAL.chunk(3), probabilities.chunk(2)), f"dino_local_ce_{kind}")


def test_ibot_weights_targets_and_losses_match(masks: torch.Tensor):
    weights = mask_weights(masks)
    teacher, student = TEACHER_PATCH[masks], STUDENT_PATCH[masks]
    assert len(teacher) == int(GOLDEN["ibot_n_masked"])
    close(weights, "ibot_masks_weight")

    center = Center(64)
    centred = center.probabilities(teacher, 0.07)
    close(centred[:8], "ibot_center_probs_t007")
    close(ibot_masked_loss(student, centred, weights, len(masks)), "ibot_masked_ce_centering")
    center.update(teacher)
    close(center.center[None], "ibot_center_after_update")

    shares = sinkhorn_knopp(teacher, 0.07)
    close(shares[:8], "ibot_sinkhorn_probs_t007")
    close(ibot_masked_loss(student, shares, weights, len(masks)), "ibot_masked_ce_sinkhorn")
    # Upstream works the weights out from the masks when none are handed over.
    close(ibot_masked_loss(student, shares, mask_weights(masks), len(masks)), "ibot_masked_ce_sinkhorn_noweights")

    full = ibot_loss(STUDENT_PATCH, torch.softmax(TEACHER_PATCH / 0.07, dim=-1), masks)
    close(full, "ibot_full_forward_softmax")


def test_koleo_and_its_gradient_match():
    rows = tensor("koleo", 8, 32).requires_grad_()
    loss = koleo_loss(rows)
    close(loss, "koleo_all")
    close(koleo_loss(rows[:4]) + koleo_loss(rows[4:]), "koleo_sum_of_two_halves")
    loss.backward()
    assert rows.grad is not None
    close(rows.grad, "koleo_grad")


@pytest.mark.parametrize(
    ("key", "rule", "local_crops"),
    [
        ("total_dinov2_3local_koleo01", UPSTREAM, 3),
        ("total_dinobloom_local1_koleo01", DINOBLOOM, 1),
        ("total_reddino_local1_koleo0", REDDINO, 1),
    ],
)
def test_totals_match(key: str, rule: LossRule, local_crops: int, masks: torch.Tensor):
    probabilities = sinkhorn_knopp(TEACHER, 0.07)
    rows = tensor("koleo", 8, 32)
    parts = combine(
        rule,
        local_crops=local_crops,
        global_ce=dino_loss([STUDENT], [probabilities]),
        local_ce=dino_loss(LOCAL.chunk(3), probabilities.chunk(2)),
        koleo=koleo_loss(rows[:4]) + koleo_loss(rows[4:]),
        ibot=ibot_masked_loss(
            STUDENT_PATCH[masks], sinkhorn_knopp(TEACHER_PATCH[masks], 0.07), mask_weights(masks), len(masks)
        ),
    )
    found = [float(parts[name]) for name in ("local", "global", "koleo", "ibot", "total")]
    assert_allclose(found, GOLDEN[key], atol=ATOL, rtol=1e-5)


def test_head_has_the_published_keys_and_output():
    head = DinoHead(16, 64, hidden=32, bottleneck=8, generator=torch.Generator().manual_seed(0))
    published = json.loads((FOLDER / "keys.json").read_text())
    assert {f"dino_head.{k}": list(v.shape) for k, v in head.state_dict().items()} == published
    state = {}
    for name, value in head.state_dict().items():
        source = np.random.RandomState(zlib.crc32(f"dino_head.{name}".encode()))
        raw = source.standard_normal(tuple(value.shape))
        fan = {"weight": np.prod(value.shape[1:]), "bias": 2500}.get(name.rsplit(".", 1)[-1], value.shape[0])
        state[name] = torch.from_numpy((raw / np.sqrt(fan)).astype(np.float32))
    head.load_state_dict(state)
    close(head(tensor("head_in", 5, 16)), "dino_head_out")


def test_block_masks_match_the_published_sequence():
    source = random.Random(0)
    found = [
        block_mask((16, 16), n, source, most_block=int(GOLDEN["mask_max_num_patches"])) for n in (26, 51, 77, 102, 128)
    ]
    assert np.array_equal(np.stack(found), GOLDEN["masks_seed0_counts_26_51_77_102_128"])


def test_batch_masks_match_the_published_collation():
    found = batch_masks(8, (16, 16), random.Random(1), probability=0.5, ratio=(0.1, 0.5), most_block=128)
    assert np.array_equal(found.sum(axis=1), GOLDEN["collate_seed1_mask_sums"])
    assert np.array_equal(found, GOLDEN["collate_seed1_masks"])
    assert int(found.sum()) == int(GOLDEN["collate_seed1_n_masked"][0])
    # Upstream's buffer size: the highest share of every masked image, rounded down.
    most = np.linspace(0.1, 0.5, 5, dtype=np.float32)[1:]
    assert sum(int(256 * share) for share in most) == int(GOLDEN["collate_seed1_upperbound"])
    assert all(n <= int(256 * share) for n, share in zip(sorted(found.sum(axis=1))[-4:], most, strict=True))
    assert int(found.sum()) <= int(GOLDEN["collate_seed1_upperbound"])


# batch, iterations per epoch, epochs, warm-up iterations, base lr, weight decay, momentum, temperature epochs, freeze
_PLANS = {
    "dinobloom_b8x120": (960, 500, 200, 20 * 500, 2e-4, 0.2, 0.994, 30, 1),
    "reddino_b1x196": (196, 7300, 10, 730, 2e-4, 0.2, 0.994, 30, 0),
    "toy": (64, 5, 8, 2 * 5, 4e-3, 0.4, 0.992, 3, 1),
}


@pytest.mark.parametrize("plan", sorted(_PLANS))
def test_schedules_match(plan: str):
    batch, length, epochs, warmup, base, decay, momentum, temperature_epochs, freeze = _PLANS[plan]
    total = length * epochs
    lr = CosineSchedule(base * np.sqrt(batch / 1024), 1e-6, total, warmup=warmup)
    schedules = {
        "lr": lr,
        "wd": CosineSchedule(0.04, decay, total),
        "momentum": CosineSchedule(momentum, 1.0, total),
        "teacher_temp": warmup_only(0.04, 0.07, temperature_epochs * length),
        "last_layer_lr": lr.zero_until(freeze * length),
    }
    for name, schedule in schedules.items():
        found = [schedule(int(i)) for i in GOLDEN[f"sched_{plan}_iters"]]
        assert_allclose(found, GOLDEN[f"sched_{plan}_{name}"], rtol=1e-9, atol=1e-15, err_msg=name)


@pytest.mark.parametrize(
    ("key", "blocks", "layer_decay", "patch_embed_lr"),
    [
        ("backbone_layerwise_decay_0.9_patch_mult_0.2", 2, 0.9, 0.2),
        ("backbone_layerwise_decay_1.0_patch_mult_0.2", 2, 1.0, 0.2),
        ("dino_head", 0, 1.0, 1.0),
    ],
)
def test_parameter_multipliers_match(key: str, blocks: int, layer_decay: float, patch_embed_lr: float):
    published = json.loads((FOLDER / "param_groups.json").read_text())[key]
    found = multipliers(published, blocks=blocks, layer_decay=layer_decay, patch_embed_lr=patch_embed_lr)
    for name, (lr, decay, last) in published.items():
        assert found[name].lr == pytest.approx(lr, rel=1e-12), name
        assert (found[name].weight_decay, found[name].last_layer) == (decay, last), name
