"""CLIP, SigLIP, CoCa, distillation, ConVIRT and FLAIR losses against golden figures; never skipped."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from fill import HERE, filled_input, golden
from numpy.testing import assert_allclose

from medfm.objectives.contrastive import clip_loss, coca_loss, distillation_loss, paired_logits, siglip_loss
from medfm.objectives.convirt import convirt_losses
from medfm.objectives.flair import category_targets, clamp_scale, flair_losses
from medfm.training.schedules import CosineSchedule

CLIP, CONVIRT, FLAIR = golden("clip-losses"), golden("convirt-losses"), golden("flair-losses")
FLAIR_CASES = json.loads((HERE / "flair-losses" / "README.json").read_text())["inputs"]
unit = torch.nn.functional.normalize


def drawn(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(filled_input(name, shape))


def clip_pair() -> tuple[torch.Tensor, torch.Tensor]:
    raw = drawn("clip-losses/0", 8, 64)
    return unit(raw, dim=-1).requires_grad_(), unit(0.25 * raw + drawn("clip-losses/1", 8, 64), dim=-1)


@pytest.mark.parametrize(("name", "value"), [("init", 1 / 0.07), ("ten", 10.0), ("hundred", 100.0)])
def test_clip(name, value):
    u, v = clip_pair()
    scale = torch.tensor(value, requires_grad=True)
    loss = clip_loss(u, v, scale)
    loss.backward()
    assert_allclose(loss.item(), CLIP[f"clip_scale_{name}"], rtol=1e-5)
    assert_allclose(u.grad, CLIP[f"clip_scale_{name}_grad_image"], rtol=0, atol=1e-5)
    assert_allclose(scale.grad, CLIP[f"clip_scale_{name}_grad_scale"], rtol=1e-4, atol=1e-7)


def test_siglip():
    u, v = clip_pair()
    scale, bias = torch.tensor(10.0, requires_grad=True), torch.tensor(-10.0, requires_grad=True)
    loss = siglip_loss(u, v, scale, bias)
    loss.backward()
    assert_allclose(loss.item(), CLIP["siglip_scale10_bias-10"], rtol=1e-5)
    assert_allclose(u.grad, CLIP["siglip_grad_image"], rtol=0, atol=1e-5)
    assert_allclose(scale.grad, CLIP["siglip_grad_scale"], rtol=1e-5)
    assert_allclose(bias.grad, CLIP["siglip_grad_bias"], rtol=1e-5)
    assert_allclose(siglip_loss(u, v, 10.0, 0.0).item(), CLIP["siglip_scale10_bias0"], rtol=1e-5)


def test_coca():
    u, v = clip_pair()
    labels = (np.abs(filled_input("clip-losses/3", (8, 12))) * 1000).astype(np.int64) % 50
    labels[:, 9:] = 0
    assert np.array_equal(labels, CLIP["coca_labels"])
    parts = coca_loss(u, v, 1 / 0.07, drawn("clip-losses/2", 8, 12, 50), torch.from_numpy(labels))
    assert_allclose(
        [part.item() for part in parts], [CLIP["coca_contrastive_w1"], CLIP["coca_caption_w2_pad0"]], rtol=1e-5
    )


def test_distillation():
    u, v = clip_pair()
    teacher = paired_logits(unit(u + 0.3 * v, dim=-1), unit(v - 0.2 * u, dim=-1), 20.0)
    assert_allclose(clip_loss(u, v, 10.0).item(), CLIP["distill_contrastive"], rtol=1e-5)
    loss = distillation_loss(paired_logits(u, v, 10.0), teacher)
    assert_allclose(loss.item(), CLIP["distill_distill"], rtol=1e-5)


@pytest.mark.parametrize(("tau", "weight"), [(0.1, 0.75), (0.1, 0.5), (0.5, 0.75), (0.07, 0.25)])
def test_convirt(tau, weight):
    raw = drawn("convirt-losses/0", 8, 64)
    u = raw.clone().requires_grad_()
    v = (0.25 * raw + drawn("convirt-losses/1", 8, 64)).requires_grad_()
    losses = convirt_losses(u, v, tau, weight)
    losses.total.backward()
    tag = f"tau{tau}_lambda{weight}"
    assert_allclose(losses.total.item(), CONVIRT[f"loss_{tag}"], rtol=1e-5)
    assert_allclose(u.grad, CONVIRT[f"grad_image_{tag}"], rtol=0, atol=1e-5)
    assert_allclose(v.grad, CONVIRT[f"grad_text_{tag}"], rtol=0, atol=1e-5)
    if tau == 0.1:
        assert_allclose(losses.image_to_text.item(), CONVIRT["loss_image_to_text_tau0.1"], rtol=1e-5)
        assert_allclose(losses.text_to_image.item(), CONVIRT["loss_text_to_image_tau0.1"], rtol=1e-5)


@pytest.mark.parametrize("case", FLAIR_CASES, ids=lambda case: case["case"])
@pytest.mark.parametrize(("name", "value"), [("init", math.log(1 / 0.07)), ("high", 5.0), ("low", -0.5), ("mid", 3.3)])
def test_flair(case, name, value):
    tag, count = case["case"], len(case["categories"])
    rows = [filled_input(f"flair-losses/{tag}/{kind}", (count, 512)).astype(np.float64) for kind in ("image", "text")]
    i, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows)
    i = i + 0.5 * t
    i /= np.linalg.norm(i, axis=1, keepdims=True)
    assert_allclose(i[:, :16], FLAIR[f"{tag}/image_embeds"], rtol=0, atol=1e-6)
    image, text = torch.from_numpy(i.astype(np.float32)).requires_grad_(), torch.from_numpy(t.astype(np.float32))
    scale = torch.tensor(value, requires_grad=True)
    clamp_scale(scale)
    target = category_targets(case["categories"])
    assert_allclose(target, FLAIR[f"{tag}/target"], rtol=0, atol=1e-7)
    losses = flair_losses(image, text, scale, target)
    losses.total.backward()
    assert_allclose(scale.item(), FLAIR[f"{tag}/logit_scale_after_{name}"], rtol=1e-6)
    logits = paired_logits(image, text, scale.exp()).detach()
    assert_allclose(logits, FLAIR[f"{tag}/logits_per_image_{name}"], rtol=1e-4, atol=1e-4)
    for key, part in (("loss", losses.total), ("loss_text", losses.text), ("loss_image", losses.image)):
        assert_allclose(part.item(), FLAIR[f"{tag}/{key}_{name}"], rtol=1e-5, err_msg=key)
    assert_allclose(scale.grad, FLAIR[f"{tag}/grad_logit_scale_{name}"], rtol=1e-3, atol=1e-5)
    assert_allclose(image.grad[:, :16], FLAIR[f"{tag}/grad_image_{name}"], rtol=1e-3, atol=1e-5)


def test_flair_schedule():
    """One epoch of warm-up, then a cosine made for 100 epochs of which FLAIR trains 15: nearly constant."""
    per_epoch, rate = 20, 1e-4
    schedule = CosineSchedule(rate, 0.0, 100 * per_epoch, warmup=per_epoch, start=rate / per_epoch)
    ours = [schedule(iteration) for iteration in range(40 * per_epoch)]
    assert_allclose(ours, FLAIR["schedule_a"], rtol=1e-7, atol=1e-12)
    assert schedule(15 * per_epoch) / rate == pytest.approx(0.951, abs=5e-4)
