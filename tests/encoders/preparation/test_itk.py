"""Volumes to SimpleITK and back, and the correction of the bias field."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from brain_volumes import t1_head
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import MissingExtraError, ReadError
from medfm.encoders.preparation.itk import corrected, from_itk, itk_image, simple_itk
from medfm.encoders.preparation.steps import VolumeBiasField

sitk = pytest.importorskip("SimpleITK")
ARRAY = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
MM = np.diag([4.0, 4.0, 4.0, 1.0])


def turned(angles: tuple[float, float], sides: tuple[float, ...], flip: int) -> np.ndarray:
    (a, b), affine = angles, np.eye(4)
    one = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    two = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine[:3, :3] = one @ two * np.array(sides) * np.array([-1 if flip >> n & 1 else 1 for n in range(3)])
    affine[:3, 3] = (-90.5, 126, -72)
    return affine


@given(st.tuples(*[st.floats(-3, 3)] * 2), st.tuples(*[st.floats(0.3, 5.0)] * 3), st.integers(0, 7))
@settings(max_examples=20, deadline=None)
def test_there_and_back(angles, sides, flip) -> None:
    affine = turned(angles, sides, flip)
    image = itk_image(sitk, ARRAY, affine, "v")
    array, back = from_itk(sitk, image)
    np.testing.assert_array_equal(array, ARRAY)
    np.testing.assert_allclose(back, affine, atol=1e-9)
    # ITK puts each voxel where we do, in its own LPS.
    place = (3, 1, 4)
    ours = affine[:3, :3] @ place + affine[:3, 3]
    np.testing.assert_allclose(np.array(image.TransformIndexToPhysicalPoint(place)) * (-1, -1, 1), ours, atol=1e-9)
    assert image[place] == pytest.approx(float(ARRAY[place]))


def test_a_sheared_volume_is_refused() -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.1
    with pytest.raises(ReadError, match="off a right angle") as caught:
        itk_image(sitk, ARRAY, affine, "record 3")
    assert caught.value.where == "record 3"


def test_an_installation_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingExtraError, match="Correcting the bias field needs") as caught:
        corrected(ARRAY, MM, None, VolumeBiasField(), "v")
    assert "medfm[mri-prep]" in str(caught.value.fix)
    with pytest.raises(MissingExtraError):
        simple_itk("It")


@pytest.fixture(scope="module")
def biased() -> dict[str, np.ndarray]:
    """A drawn head of 4 mm, its brain, and the same head under a coil that is five times brighter on one side."""
    head, brain = t1_head()
    x = np.linspace(-1, 1, head.shape[0])[:, None, None]
    field = np.exp(0.8 * x).astype(np.float32) * np.ones_like(head)
    step = VolumeBiasField(shrink=2, iterations=(20, 20))
    mended, facts = corrected(head * field, MM, brain, step, "head")
    return {"head": head, "brain": brain, "field": field, "mended": mended, "facts": facts}  # type: ignore[dict-item]


def spread(values: np.ndarray) -> float:
    return float(values.std() / values.mean())


def test_a_drawn_field_is_taken_away(biased) -> None:
    white = biased["head"] == 800
    before, after = spread((biased["head"] * biased["field"])[white]), spread(biased["mended"][white])
    assert before > 0.15 and after < 0.65 * before
    assert biased["mended"].dtype == np.float32 and biased["mended"].shape == biased["head"].shape


def test_what_it_found_is_a_fact(biased) -> None:
    low, high = biased["facts"]["field"]
    assert high / low > 1.3
    inside = biased["brain"]
    found = (biased["head"] * biased["field"])[inside] / biased["mended"][inside]
    assert np.percentile(found, (1, 99)) == pytest.approx((low, high), abs=1e-3)
    # How strong it is, N4 finds step by step; where it is strong, at once.
    assert np.corrcoef(found, biased["field"][inside])[0, 1] > 0.95


def test_equal_input_gives_equal_output(biased) -> None:
    step = VolumeBiasField(shrink=4, iterations=(3,))
    first = corrected(biased["head"], MM, None, step, "head")
    again = corrected(biased["head"], MM, None, step, "head")
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]


def test_air_stays_air(biased) -> None:
    assert not biased["mended"][biased["head"] == 0].any()


def test_nothing_to_measure_on() -> None:
    with pytest.raises(ReadError, match="no head on which") as caught:
        corrected(np.zeros((20, 20, 20), np.float32), MM, None, VolumeBiasField(), "record 5")
    assert caught.value.where == "record 5"
    with pytest.raises(ReadError, match="no head on which"):
        corrected(-np.ones((20, 20, 20), np.float32), MM, np.ones((20, 20, 20), bool), VolumeBiasField(), "r")
