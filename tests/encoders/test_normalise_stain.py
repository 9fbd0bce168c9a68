"""The optional step normalise_stain: refused where incomplete, equal to the functions, part of the digest."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import medfm
from medfm.encoders.preprocessing import Preprocessing
from medfm.modalities import stain

REST = [{"step": "resize", "size": [16, 16]}, {"step": "to_unit_range"}]
REINHARD = {"step": "normalise_stain", "method": "reinhard", "mean": [-0.4, 0.02, 0.03], "std": [0.1, 0.03, 0.01]}
MACENKO = {"step": "normalise_stain", "method": "macenko"}


def patch() -> np.ndarray:
    amounts = np.random.default_rng(0).uniform(0, 1.5, (16, 16, 2))
    amounts[::3, :, 0] = 0
    amounts[:, ::3, 1] = 0
    density = amounts @ np.array([[0.65, 0.70, 0.29], [0.27, 0.90, 0.35]])
    return np.rint((240 * np.exp(-density)).clip(0, 255)).astype(np.uint8)


def test_the_step_is_the_function() -> None:
    picture = patch()
    assert stain.estimate(picture) is not None
    for step, expected in (
        (MACENKO, stain.macenko(picture)),
        (
            REINHARD,
            stain.reinhard(picture, stain.ColourStatistics(np.array(REINHARD["mean"]), np.array(REINHARD["std"]))),
        ),
    ):
        run = Preprocessing([step, *REST])
        assert np.array_equal(run.array(picture), (expected / np.float32(255)).transpose(2, 0, 1).astype(np.float32))
        assert not np.array_equal(expected, picture)
        assert pickle.loads(pickle.dumps(run)) == run


def test_the_step_changes_the_digest() -> None:
    digests = {Preprocessing([*steps, *REST]).digest for steps in ([], [MACENKO], [REINHARD])}
    assert len(digests) == 3


@pytest.mark.parametrize(
    "step",
    [
        {"step": "normalise_stain"},
        {"step": "normalise_stain", "method": "vahadane"},
        {"step": "normalise_stain", "method": "reinhard"},
        {"step": "normalise_stain", "method": "reinhard", "mean": [0, 0, 0]},
        {**REINHARD, "std": [0.1, 0.0, 0.1]},
        {**MACENKO, "mean": [0, 0, 0]},
    ],
)
def test_incomplete_steps_are_refused(step: dict) -> None:
    with pytest.raises(ValidationError):
        Preprocessing([step, *REST])


def test_it_must_come_before_the_numbers() -> None:
    with pytest.raises(ValueError, match="only one normalise may follow"):
        Preprocessing([*REST, MACENKO])


def test_a_degenerate_patch_passes_through() -> None:
    white = np.full((16, 16, 3), 250, np.uint8)
    for step in (MACENKO, REINHARD):
        assert np.allclose(Preprocessing([step, *REST]).array(white), 250 / 255)


def test_a_card_of_ones_own_is_another_encoder(tmp_path: Path) -> None:
    root = Path(medfm.__file__).resolve().parents[1] / "model_cards" / "color-histogram.md"
    text = root.read_text(encoding="utf-8").replace("id: color-histogram", "id: histogram-macenko")
    (tmp_path / "histogram-macenko.md").write_text(
        text.replace("  - step: to_rgb\n", "  - step: to_rgb\n  - step: normalise_stain\n    method: macenko\n")
    )
    plain = medfm.load_encoder("color-histogram")
    other = medfm.load_encoder(str(tmp_path / "histogram-macenko.md"))
    assert "histopathology" in plain.also_for
    assert plain.fingerprint != other.fingerprint
    before, after = (encoder(encoder.preprocess(patch())[None]) for encoder in (plain, other))
    assert before.shape == after.shape == (1, 96)
    assert float((before - after).abs().max()) > 0.01
    assert np.allclose(before.reshape(6, 16).sum(1), 1, atol=1e-5)
