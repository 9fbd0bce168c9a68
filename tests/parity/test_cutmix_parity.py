"""CutMix against the figures of the published implementation: images to the bit, labels and loss to 1e-6."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional

from medfm.objectives.mixing import cut_box, cutmix
from tests.parity.fill import filled_input

FOLDER = Path(__file__).parent / "cutmix"
GOLDEN = dict(np.load(FOLDER / "golden.npz"))
CASES = json.loads((FOLDER / "cases.json").read_text())["cases"]


@pytest.mark.parametrize("tag", sorted(CASES))
def test_cutmix_equals_the_published_one(tag: str) -> None:
    case = CASES[tag]
    inputs = torch.from_numpy(filled_input(f"cutmix/{tag}", tuple(case["shape"])))
    before = inputs.clone()
    box = cut_box(inputs.shape[2:], case["lambda_sampled"], case["centre_y_x"])
    assert [end for pair in box for end in pair] == case["box_y1_y2_x1_x2"]
    mixed = cutmix(inputs, torch.tensor(case["perm"]), box)
    assert_array_equal(mixed.inputs.numpy(), GOLDEN[f"mixed_{tag}"])
    assert mixed.weight == case["lambda_adjusted"]
    assert torch.equal(inputs, before)  # the batch given is left alone

    count = len(inputs)
    labels = torch.arange(count) % 2
    assert_array_equal(labels.numpy(), GOLDEN[f"label_a_{tag}"])
    assert_array_equal(labels[mixed.partner].numpy(), GOLDEN[f"label_b_{tag}"])
    onehot = functional.one_hot(torch.arange(count) % 3, 3).float()
    for soft, given in ((f"soft_binary_{tag}", labels.float()), (f"soft_onehot3_{tag}", onehot)):
        blended = mixed.weight * given + (1 - mixed.weight) * given[mixed.partner]
        assert_allclose(blended.numpy(), GOLDEN[soft], atol=1e-6)
    logit = torch.from_numpy(filled_input(f"cutmix/{tag}/logit", (count,)))
    loss = mixed.loss(lambda y: functional.binary_cross_entropy_with_logits(logit, y), labels.float())
    assert_allclose(float(loss), case["bce_loss_mean"], atol=1e-6)
