"""Position tables at other sizes (golden values are in tests/parity)."""

import pytest
import torch

from medfm.core.errors import WeightsError
from medfm.encoders.posembed import interpolate_positions

RULES = ["dinov2", "dinov2-register", "timm", "dinobloom-init"]


def table(side: int, width: int = 4) -> torch.Tensor:
    return torch.randn(1, 1 + side * side, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rule", RULES)
def test_same_size_returns_the_table_itself(rule):
    rows = table(6)
    assert interpolate_positions(rows, (6, 6), rule) is rows


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(3, 3), (9, 9), (4, 9), (9, 4)])
def test_shape_and_class_row(rule, size):
    rows = table(6)
    out = interpolate_positions(rows, size, rule)
    assert out.shape == (1, 1 + size[0] * size[1], 4)
    assert torch.equal(out[:, 0], rows[:, 0])
    assert torch.isfinite(out).all()


def test_oblong_grid_of_equal_count_is_resampled():
    rows = table(6)
    out = interpolate_positions(rows, (4, 9), "dinov2")
    assert out.shape == rows.shape
    assert not torch.equal(out, rows)


def test_rules_differ():
    rows = table(8)
    results = [interpolate_positions(rows, (5, 5), rule) for rule in ("dinov2", "timm", "dinobloom-init")]
    assert not torch.allclose(results[0], results[1], atol=1e-3)
    assert not torch.allclose(results[0], results[2], atol=1e-3)
    assert torch.equal(interpolate_positions(rows, (5, 5), "dinov2-register"), results[1])


def test_a_constant_table_stays_constant():
    rows = torch.full((1, 26, 3), 2.5)
    for rule in RULES:
        assert torch.allclose(interpolate_positions(rows, (8, 8), rule), torch.tensor(2.5), atol=1e-5)


def test_half_precision_is_kept():
    assert interpolate_positions(table(4).half(), (2, 2)).dtype == torch.float16


def test_a_table_that_is_not_square_is_refused():
    with pytest.raises(WeightsError, match="11 rows"):
        interpolate_positions(torch.zeros(1, 11, 4), (2, 2))
