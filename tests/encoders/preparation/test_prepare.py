"""One volume through a recipe: the affine stays right through every step, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from brain_volumes import t1_head

from medfm.core.config import build
from medfm.core.errors import ConfigError, MissingExtraError, ReadError
from medfm.encoders.preparation import prepare as module
from medfm.encoders.preparation.prepare import check_tools, prepare
from medfm.encoders.preparation.register import Registered, Template, dice
from medfm.encoders.preparation.steps import PreparationRecipe
from medfm.io.volumes.volume import spacing_of, to_axes
from medfm.io.volumes.write import ALIGNED, SCANNER
from medfm.modalities.record import Record

MM = np.diag([4.0, 4.0, 4.0, 1.0])
MM[:3, 3] = (-98, -122, -118)
HEAD, BRAIN = t1_head()
MASK = {"step": "volume_brain_mask"}


def recipe(*steps: dict[str, Any]) -> PreparationRecipe:
    return build(PreparationRecipe, {"id": "own@1", "title": "own", "steps": list(steps)}, where="own")


def record(array: np.ndarray = HEAD, affine: np.ndarray = MM, axes: str = "RAS") -> Record:
    facts = {"affine": affine.tolist(), "axes_in_file": axes, "spacing_mm": spacing_of(affine).tolist()}
    return Record("record 1", "brain_mri", array, facts)


def centre(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of mass in mm of the world."""
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]


def test_a_mask_takes_the_skull_away_and_says_how_large_the_brain_is() -> None:
    done = prepare(record(), recipe(MASK))
    assert done.mask is not None and dice(done.mask, BRAIN) > 0.93
    assert not done.array[~done.mask].any()
    np.testing.assert_array_equal(done.array[done.mask], HEAD[done.mask])
    assert done.facts == [{"step": "volume_brain_mask", "litres": pytest.approx(done.mask.sum() * 64e-6, abs=1e-3)}]
    assert HEAD[0:1].base is HEAD and HEAD.max() == 1400, "the record was not changed"


def test_a_mask_may_leave_the_skull() -> None:
    done = prepare(record(), recipe({**MASK, "apply": False}))
    np.testing.assert_array_equal(done.array, HEAD)
    assert done.mask is not None and done.mask.any()


def test_a_soft_mask() -> None:
    hard, soft = (prepare(record(), recipe({**MASK, "soft_mm": mm})).array for mm in (0.0, 4.0))
    inner = hard > 0
    assert (soft[~inner] > 0).any() and soft[25, 31, 35] == pytest.approx(hard[25, 31, 35], rel=1e-3)


@pytest.mark.parametrize(
    "steps",
    [
        [MASK, {"step": "volume_crop_brain", "margin_mm": 8}],
        [MASK, {"step": "volume_crop_brain", "about": "centre_of_mass", "size_mm": [240, 300, 100]}],
        [MASK, {"step": "volume_spacing", "mm": 3.0}],
        [{"step": "volume_spacing", "mm": 5.0}, MASK],
        [MASK, {"step": "volume_size", "size": [60, 40, 64]}],
        [{"step": "volume_reorient", "axes": "file"}, MASK, {"step": "volume_crop_brain"}],
        [{"step": "volume_reorient"}, MASK, {"step": "volume_spacing", "mm": 4.5}, {"step": "volume_crop_brain"}],
    ],
    ids=["box", "centre", "finer", "coarser first", "size", "file axes", "all"],
)
def test_the_brain_keeps_its_place_in_the_world(steps: list[dict[str, Any]]) -> None:
    done = prepare(record(axes="PIR"), recipe(*steps))
    assert done.mask is not None and done.mask.shape == done.array.shape
    away = np.abs(centre(done.mask, done.affine) - centre(BRAIN, MM))
    assert away.max() < 3.0, "mm; the brain is cut at most by a slice"
    assert done.array.flags.c_contiguous and done.array.dtype == np.float32 and done.code == SCANNER


def test_a_box_keeps_the_brain_and_its_margin() -> None:
    done = prepare(record(), recipe(MASK, {"step": "volume_crop_brain", "margin_mm": 9}))
    whole = prepare(record(), recipe(MASK))
    assert done.mask is not None and whole.mask is not None
    assert done.mask.sum() == whole.mask.sum()
    for axis in range(3):
        filled = np.flatnonzero(done.mask.any(axis=tuple(a for a in range(3) if a != axis)))
        assert filled[0] == 3 and filled[-1] == done.mask.shape[axis] - 4, "9 mm are 3 voxels of 4 mm"


def test_about_the_centre_all_volumes_have_one_size() -> None:
    step = {"step": "volume_crop_brain", "about": "centre_of_mass", "size_mm": [240, 280, 90]}
    done = prepare(record(), recipe(MASK, step))
    assert done.array.shape == (60, 70, 23)
    assert done.mask is not None and not done.mask[0].any(), "padding is no brain"


def test_file_axes_are_those_of_the_file() -> None:
    done = prepare(record(axes="PIR"), recipe({"step": "volume_reorient", "axes": "file"}))
    expected, affine = to_axes(HEAD, MM, "PIR")
    np.testing.assert_array_equal(done.array, expected)
    np.testing.assert_allclose(done.affine, affine)


def test_values_are_scaled_at_the_end() -> None:
    plain = prepare(record(), recipe(MASK, {"step": "volume_scale"})).array
    assert (plain.min(), plain.max()) == (0.0, 1.0)
    robust = prepare(record(), recipe(MASK, {"step": "volume_robust_scale", "of": "nonzero", "upper": 99.0})).array
    assert (robust.min(), robust.max()) == (0.0, 1.0) and (robust == 1).sum() > (plain == 1).sum() / 2


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.where(np.indices(HEAD.shape).sum(0) == 90, np.nan, HEAD), "voxels are NaN or infinite"),
        (np.where(np.indices(HEAD.shape).sum(0) == 0, np.inf, HEAD), "1 voxels are NaN"),
        (np.full((9, 9, 9), 7.0), "one value throughout"),
        (np.random.default_rng(0).random((50, 60, 60)), "brain"),
    ],
    ids=["nan", "inf", "constant", "noise"],
)
def test_what_cannot_be_prepared(array: np.ndarray, words: str) -> None:
    with pytest.raises(ReadError, match=words) as caught:
        prepare(record(array.astype(np.float32)), recipe(MASK))
    assert caught.value.where == "record 1"


def test_nothing_to_crop_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "head_mask", lambda array, affine: np.zeros(array.shape, bool))
    with pytest.raises(ReadError, match="nothing in the volume to cut about"):
        prepare(record(), recipe({"step": "volume_crop_brain"}))


class TestTools:
    TEMPLATE = Template(np.where(BRAIN, HEAD, np.float32(0)), MM, BRAIN, "0" * 64)
    FULL = (MASK, {"step": "volume_register"}, {"step": "volume_crop_brain", "margin_mm": 4})

    def test_a_light_recipe_needs_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "SimpleITK", None)
        assert check_tools(recipe(MASK, {"step": "volume_crop_brain"}), None) == {}

    @pytest.mark.parametrize("steps", [({"step": "volume_bias_field"},), FULL], ids=["N4", "registration"])
    def test_simpleitk_is_missed_before_a_volume_is_read(self, steps, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "SimpleITK", None)
        with pytest.raises(MissingExtraError, match=r"The step volume_\w+ needs the Python package 'SimpleITK'"):
            check_tools(recipe(*steps), self.TEMPLATE)

    def test_so_is_a_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(MissingExtraError, match="'hd-bet' was not found"):
            check_tools(recipe({**MASK, "method": "hd-bet"}), None)

    def test_a_template_where_and_only_where_it_is_needed(self) -> None:
        with pytest.raises(ConfigError, match="none was named") as caught:
            check_tools(recipe(*self.FULL), None)
        assert "--template FILE" in str(caught.value.expected)
        with pytest.raises(ConfigError, match="does not register"):
            check_tools(recipe(MASK), self.TEMPLATE)

    def test_its_version_is_told(self) -> None:
        sitk = pytest.importorskip("SimpleITK")
        assert check_tools(recipe(*self.FULL), self.TEMPLATE) == {"SimpleITK": sitk.Version_VersionString()}

    def test_registered_volumes_share_one_grid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the patient's brain, the crop is about the template's."""

        def laid(array, affine, mask, template, step, where):
            return Registered(np.roll(template.array, 2, 0), np.roll(template.mask, 2, 0), {"overlap_after": 0.9})

        monkeypatch.setattr(module, "register", laid)
        done = prepare(record(), recipe(*self.FULL), self.TEMPLATE)
        filled = [np.flatnonzero(BRAIN.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        assert done.array.shape == tuple(len(range(f[0], f[-1] + 1)) + 2 for f in filled)
        assert done.code == ALIGNED and done.facts[1] == {"step": "volume_register", "overlap_after": 0.9}
        assert [fact["step"] for fact in done.facts] == ["volume_brain_mask", "volume_register", "volume_crop_brain"]

    def test_a_program_in_the_place_of_the_built_in_mask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def program(array, affine, method, device, timeout_s, where):
            asked.append((method, device, timeout_s, where))
            return BRAIN

        monkeypatch.setattr(module, "program_mask", program)
        done = prepare(record(), recipe({**MASK, "method": "synthstrip", "timeout_s": 90}))
        np.testing.assert_array_equal(done.array, np.where(BRAIN, HEAD, 0))
        assert asked == [("synthstrip", "cpu", 90.0, "record 1")]
