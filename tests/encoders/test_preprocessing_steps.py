"""The schema of the preprocessing steps."""

import pytest
from pydantic import ValidationError

from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_steps import STEPS, Normalise, Resize, check_order

RESIZE = {"step": "resize", "size": [8, 8]}
UNIT = {"step": "to_unit_range"}
NORMALISE = {"step": "normalise", "mean": [0, 0, 0], "std": [1, 1, 1]}


def test_plain_data_becomes_models():
    steps = STEPS.validate_python([RESIZE, UNIT, NORMALISE])
    assert isinstance(steps[0], Resize) and isinstance(steps[2], Normalise)
    assert steps[0].resampler == "bilinear_pil" and steps[0].mode == "squash"


@pytest.mark.parametrize(
    "step",
    [
        {"step": "resize"},
        {"step": "resize", "size": [8]},
        {"step": "resize", "size": [0, 8]},
        {"step": "resize", "size": [8, 9], "mode": "shorter_side"},
        {"step": "resize", "size": [8, 8], "resampler": "bilinear"},
        {"step": "resize", "size": [8, 8], "antialias": False},
        {"step": "normalise", "mean": [0, 0, 0]},
        {"step": "normalise", "mean": [0, 0, 0], "std": [1, 0, 1]},
        {"step": "normalise", "mean": [0, 0], "std": [1, 1]},
        {"step": "channel_order", "order": "gbr"},
        {"step": "unknown"},
        {"size": [8, 8]},
    ],
)
def test_wrong_steps_are_refused(step):
    with pytest.raises(ValidationError):
        STEPS.validate_python([step, UNIT])


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([RESIZE], "to_unit_range exactly once"),
        ([RESIZE, UNIT, UNIT], "to_unit_range exactly once"),
        ([RESIZE, NORMALISE, UNIT], "must come after"),
        ([RESIZE, UNIT, NORMALISE, NORMALISE], "only one normalise"),
        ([UNIT, RESIZE], "only one normalise may follow"),
        ([UNIT], "one size"),
        ([{"step": "to_rgb"}, UNIT, NORMALISE], "one size"),
    ],
)
def test_orders_without_a_meaning_are_refused(order, message):
    with pytest.raises(ValueError, match=message):
        check_order(STEPS.validate_python(order))
    with pytest.raises(ValueError, match=message):
        Preprocessing(order)


@pytest.mark.parametrize("order", [[RESIZE, UNIT], [RESIZE, UNIT, NORMALISE], [{"step": "to_rgb"}, RESIZE, UNIT]])
def test_orders_with_a_meaning(order):
    check_order(STEPS.validate_python(order))
