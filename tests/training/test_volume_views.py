"""Changes of volumes in training: against scipy, numpy and by hand; which axis is left and right; what is sound."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medfm.core.config import build
from medfm.core.errors import ConfigError
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card, list_encoders
from medfm.modalities.record import Record
from medfm.training.finetune_config import FinetuneRecipe
from medfm.training.finetune_views import SOUND, mirrored, steps_for, view
from medfm.training.volume_views import (
    Affine,
    BiasField,
    Gamma,
    Mirror,
    left_right,
    log_field,
    resampled,
    turning,
)

VOLUME = torch.rand(1, 7, 9, 11, generator=torch.Generator().manual_seed(2))
FLAT = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(3))
SHAPE = tuple(VOLUME.shape)


def source(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(4))
def test_resampling_is_that_of_scipy(seed: int) -> None:
    drawn = source(seed)
    matrix = turning(drawn.uniform(-0.6, 0.6, 3)) * drawn.uniform(0.7, 1.3)
    shift = drawn.uniform(-2, 2, 3)
    centre = (np.array(SHAPE[1:]) - 1) / 2
    offset = centre - matrix @ centre + shift
    expected = ndimage.affine_transform(VOLUME[0].double().numpy(), matrix, offset, order=1, mode="nearest")
    np.testing.assert_allclose(resampled(VOLUME, matrix, shift)[0].numpy(), expected, atol=2e-5)


def test_the_rotation_is_that_of_scipy_and_lengths_stay() -> None:
    for angles in itertools.product((-0.3, 0.0, 0.7), repeat=3):
        found = turning(angles)
        np.testing.assert_allclose(found, Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12)
        np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)


def test_quarter_turns_and_whole_shifts_move_voxels_and_change_none() -> None:
    cube = torch.rand(1, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    for axis, plane in ((0, (2, 3)), (1, (1, 3)), (2, (1, 2))):
        angles = [0.0, 0.0, 0.0]
        angles[axis] = math.pi / 2
        found = resampled(cube, turning(angles), (0, 0, 0))
        either = [cube.rot90(turns, plane) for turns in (1, 3)]
        assert any(torch.allclose(found, one, atol=1e-5) for one in either)
    moved = resampled(cube, np.eye(3), (0, 2, 0))
    assert torch.allclose(moved[:, :, :3], cube[:, :, 2:], atol=1e-6)
    assert torch.allclose(moved[:, :, 3:], cube[:, :, -1:].expand(-1, -1, 2, -1), atol=1e-6)  # the last voxel again


def test_nothing_asked_changes_nothing() -> None:
    still = (Affine(degrees=0, shift=0), Mirror(probability=0), BiasField(size=0), Gamma(powers=(1, 1)))
    assert torch.allclose(view(VOLUME, still, source()), VOLUME, atol=1e-6)


def test_a_tilt_keeps_sizes_and_a_zoom_changes_them() -> None:
    """A ball in the middle: what is measured in millilitres."""
    places = np.indices((33, 33, 33)) - 16
    ball = torch.from_numpy((np.sqrt((places**2).sum(axis=0)) < 9).astype(np.float32))[None]
    for seed in range(3):
        tilted = view(ball, (Affine(degrees=10, shift=0.05),), source(seed))
        assert float(tilted.sum()) == pytest.approx(float(ball.sum()), rel=0.01)
    grown = view(ball, (Affine(degrees=0, shift=0, zoom=(1.1, 1.1)),), source())
    assert float(grown.sum()) == pytest.approx(1.1**3 * float(ball.sum()), rel=0.03)
    assert all(step.zoom == (1.0, 1.0) for step in SOUND["brain_mri"] if step.step == "affine")


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 10**6),
    st.sampled_from([Affine(degrees=180, shift=0.5, zoom=(0.5, 2)), Mirror(probability=1), BiasField(size=2, order=5), Gamma()]),
)  # fmt: skip
def test_any_shape_keeps_its_shape_and_finite_values(sides: tuple[int, int, int], seed: int, step: object) -> None:
    x = torch.rand(1, *sides, generator=torch.Generator().manual_seed(seed)) - 0.3
    before = x.clone()
    first, again = (view(x, (step,), source(seed)) for _ in range(2))
    assert first.shape == x.shape and first.dtype == torch.float32 and bool(torch.isfinite(first).all())
    assert torch.equal(first, again) and torch.equal(x, before)
    if not isinstance(step, BiasField):
        assert float(first.min()) >= float(x.min()) - 1e-5 and float(first.max()) <= float(x.max()) + 1e-5


@pytest.mark.parametrize("order", [1, 3])
def test_a_field_is_the_polynomial_written_out_and_no_larger_than_one(order: int) -> None:
    sides = (4, 1, 5)
    found = log_field(sides, order, source(7))
    weights = source(7).standard_normal((order + 1,) * 3)
    axes = [np.linspace(-1, 1, side) for side in sides]
    naive = np.zeros(sides)
    for place in itertools.product(*(range(side) for side in sides)):
        x, y, z = (axis[p] for axis, p in zip(axes, place, strict=True))
        for a, b, c in itertools.product(range(order + 1), repeat=3):
            if 0 < a + b + c <= order:
                naive[place] += weights[a, b, c] * x**a * y**b * z**c
    np.testing.assert_allclose(found, naive / np.abs(naive).max(), atol=1e-6)
    assert found.dtype == np.float32 and np.abs(found).max() == pytest.approx(1)


def test_a_bias_field_is_positive_bounded_and_smooth_and_leaves_air_at_nought() -> None:
    head = torch.zeros(1, 16, 16, 16)
    head[:, 4:12, 4:12, 4:12] = 1.0
    sizes = []
    for seed in range(20):
        field = view(head, (BiasField(size=0.2),), source(seed))
        inside = field[head > 0]
        assert torch.equal(field == 0, head == 0)
        assert math.exp(-0.2) - 1e-5 <= float(inside.min()) <= float(inside.max()) <= math.exp(0.2) + 1e-5
        block = field[0, 4:12, 4:12, 4:12]
        assert max(float(block.diff(dim=d).abs().max()) for d in range(3)) < 0.15
        sizes.append(float((inside - 1).abs().max()))
    assert max(sizes) > 0.05 and len({round(s, 6) for s in sizes}) == 20


def test_gamma_bends_between_the_ends() -> None:
    x = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3) * 4 - 2
    found = view(x, (Gamma(powers=(2, 2)),), source())
    assert found.flatten().tolist() == pytest.approx([-2.0, -1.75, 2.0])
    flat = torch.full((1, 2, 2, 2), 3.0)
    assert torch.equal(view(flat, (Gamma(),), source()), flat)


def test_left_and_right_are_found_by_a_record_that_is_bright_on_one_side() -> None:
    """Not by the table in the code: the card's steps are run on a volume whose right half is bright."""
    cube = np.zeros((12, 12, 12), dtype=np.float32)
    cube[6:] = 1.0
    record = Record("r", "brain_mri", cube, {"affine": np.eye(4).tolist()})
    for plane in (None, "sagittal", "coronal", "axial", "axial_rows"):
        steps: list[dict[str, object]] = [{"step": "volume_size", "size": [12, 12, 12], "padding": "zero"}]
        done = Preprocessing([*steps, *([] if plane is None else [{"step": "slice_first", "plane": plane}])])
        axis = left_right(done.steps)
        assert axis is not None
        x = done(record)
        halves = [half.mean() for half in x.chunk(2, dim=axis)]
        assert [float(h) for h in halves] == [0.0, 1.0], plane
        (step,) = steps_for((Mirror(probability=1),), "brain_mri", tuple(x.shape), done.steps)
        assert torch.equal(view(x, (step,), source()), 1 - x)  # the bright half is the other one now


def test_every_card_of_volumes_says_where_left_and_right_are_or_is_refused() -> None:
    cards = [card for name in list_encoders() if (card := get_card(name)).spec.modality == "brain_mri"]
    assert len(cards) >= 4
    found = {card.id: left_right(card.spec.preprocessing) for card in cards}
    assert found["ldae-tiny"] == 2 and found["medicalnet-resnet18-3d"] == 3 and found["swinunetr-encoder"] == 1
    order = [{"step": "volume_reorient", "axes": "file"}, {"step": "volume_size", "size": [4, 4, 4]}]
    unknown = Preprocessing(order).steps
    assert left_right(unknown) is None
    with pytest.raises(ConfigError, match="not known where left and right"):
        steps_for((Mirror(),), "brain_mri", SHAPE, unknown)
    told = steps_for((Mirror(axis=2, probability=1),), "brain_mri", SHAPE, unknown)
    assert torch.equal(view(VOLUME, told, source()), VOLUME.flip(2))


def test_no_volume_is_mirrored_unless_asked_and_that_is_noted() -> None:
    steps = steps_for("auto", "brain_mri", SHAPE)
    assert [s.step for s in steps] == ["affine", "bias_field", "scale", "offset", "noise"]
    assert not mirrored(steps, "brain_mri") and mirrored((Mirror(),), "brain_mri")
    assert not mirrored((Mirror(probability=0),), "brain_mri")
    changed = view(VOLUME, steps, source(1))
    assert changed.shape == VOLUME.shape and not torch.equal(changed, VOLUME)


@pytest.mark.parametrize("step", [Affine(), Mirror(), BiasField()], ids=lambda s: s.step)
def test_steps_on_volumes_are_refused_elsewhere_and_name_what_fits(step: object) -> None:
    for modality, shape in (("ecg", (12, 60)), ("retina", (3, 24, 24))):
        with pytest.raises(ConfigError, match="is for volumes") as found:
            steps_for((step,), modality, shape)
        assert ("time_shift" in str(found.value.expected)) == (modality == "ecg")
        assert "affine" not in str(found.value.expected)


def test_a_picture_step_on_volumes_names_the_ones_for_volumes() -> None:
    (flip,) = build(FinetuneRecipe, {**_RECIPE, "augmentation": [{"step": "flip"}]}, where="a test").augmentation
    with pytest.raises(ConfigError, match="'flip' is for pictures") as found:
        steps_for((flip,), "brain_mri", SHAPE)
    assert "mirror" in str(found.value.expected)


_RECIPE = {"name": "short", "stages": [{"name": "tune", "epochs": 1}]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": "affine", "zoom": [1.2, 0.8]}, {"step": "affine", "zoom": [0, 1]}, {"step": "affine", "shift": 1},
        {"step": "affine", "degrees": -1}, {"step": "mirror", "axis": 0}, {"step": "mirror", "axis": 4},
        {"step": "bias_field", "order": 0}, {"step": "gamma", "powers": [2, 1]}, {"step": "gamma", "powers": [-1, 1]},
    ],
    ids=lambda w: " ".join(map(str, w.values())),
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build(FinetuneRecipe, {**_RECIPE, "augmentation": [wrong]}, where="a test")


def test_a_recipe_names_them() -> None:
    steps = [{"step": "affine", "degrees": 3}, {"step": "mirror"}, {"step": "bias_field"}, {"step": "gamma"}]
    found = build(FinetuneRecipe, {**_RECIPE, "augmentation": steps}, where="a test").augmentation
    assert [type(s) for s in found] == [Affine, Mirror, BiasField, Gamma]
    assert FLAT.shape == view(FLAT, tuple(found), source()).shape
