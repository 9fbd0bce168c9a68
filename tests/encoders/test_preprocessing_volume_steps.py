"""Orders of volume steps that have a meaning, and those that have none."""

import pytest
from pydantic import ValidationError

from medfm.encoders.preprocessing_steps import STEPS, check_order, on_signals, on_volumes

SPACING, SIZE = {"step": "volume_spacing", "mm": 1.5}, {"step": "volume_size", "size": [8, 8, 8]}
SCALE, SLICES = {"step": "volume_scale"}, {"step": "slice_first"}


@pytest.mark.parametrize("steps", [[SPACING, SIZE, SCALE, SLICES], [SIZE], [SIZE, SLICES], [SPACING, SIZE, SCALE]])
def test_good_orders(steps):
    made = STEPS.validate_python(steps)
    check_order(made)
    assert on_volumes(made) and not on_signals(made)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([SIZE, SPACING], "in the order"),
        ([SIZE, SIZE], "each at most once"),
        ([SLICES, SIZE], "in the order"),
        ([SPACING, SCALE], "must hold volume_size"),
        ([SIZE, {"step": "to_unit_range"}], "cannot be mixed: to_unit_range"),
        ([{"step": "to_rgb"}, SIZE], "cannot be mixed: to_rgb"),
        ([{"step": "min_max"}, SIZE], "cannot be mixed"),
    ],
)
def test_bad_orders(steps, why):
    with pytest.raises(ValueError, match=why):
        check_order(STEPS.validate_python(steps))


@pytest.mark.parametrize(
    "step",
    [
        {"step": "volume_spacing", "mm": 0},
        {"step": "volume_spacing"},
        {"step": "volume_size", "size": [8, 8]},
        {"step": "volume_size", "size": [8, 0, 8]},
        {"step": "volume_size", "size": [8, 8, 8], "padding": "edge"},
        {"step": "volume_scale", "low": 3},
        {"step": "slice_first", "plane": "oblique"},
    ],
)
def test_bad_arguments(step):
    with pytest.raises(ValidationError):
        STEPS.validate_python([step])
