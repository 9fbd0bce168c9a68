"""Our encoders against golden figures of the published implementations; never skipped."""

import numpy as np
import pytest
import torch
from fill import filled, golden

from medfm.encoders.posembed import interpolate_positions

RULES = {
    "dinov2_offset0.1": "dinov2",
    "dinov2reg_antialias_offset0": "dinov2-register",
    "dinobloom_init_scale16_37": "dinobloom-init",
    "timm_bicubic_antialias": "timm",
}
TABLES = {"518": 1370, "224": 257}


def test_fill_rule_has_its_known_values():
    """The rule itself, on figures computed once by hand from its definition."""
    assert filled("norm.weight", (4,)).dtype == np.float32
    assert filled("a.running_var", (1000,)).min() > 0.5 and filled("a.running_var", (1000,)).max() < 1.5
    assert filled("ls1.gamma", (1000,)).min() >= 0.1 and filled("ls1.gamma", (1000,)).max() <= 1.0
    assert abs(filled("m.weight", (50, 400)).std() - 1 / 20) < 2e-3
    assert abs(filled("m.bias", (4000,)).std() - 1 / 50) < 1e-3


@pytest.mark.parametrize("name", sorted(golden("dinov2-posembed")))
def test_position_tables(name):
    expected = golden("dinov2-posembed")[name]
    source, target, rule = name.split("_", 2)
    source, target = source.removeprefix("from"), target.removeprefix("to")
    table = torch.from_numpy(filled(f"dinov2-posembed/{source}/pos_embed", (1, TABLES[source], 16)))
    side = int(target) // 14
    ours = interpolate_positions(table, (side, side), RULES[rule]).numpy()
    assert ours.shape == (1, side * side + 1, 16)
    np.testing.assert_allclose(ours[:, : expected.shape[1]], expected, atol=1e-6)
