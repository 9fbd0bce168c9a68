"""One volume through the steps of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medfm.core.errors import ConfigError, ReadError
from medfm.encoders.preparation.brain_mask import brain_mask, softened
from medfm.encoders.preparation.itk import corrected, simple_itk
from medfm.encoders.preparation.programs import program_facts, program_mask
from medfm.encoders.preparation.register import Template, register
from medfm.encoders.preparation.steps import PreparationRecipe, PreparationStep, VolumeBrainMask
from medfm.encoders.preprocessing_volume import (
    brain_bounds,
    cut,
    fit_size,
    reoriented,
    resample,
    robust_scale,
    unit_scale,
)
from medfm.io.volumes.volume import spacing_of
from medfm.io.volumes.write import ALIGNED, SCANNER
from medfm.modalities.record import Record
from medfm.modalities.volume_quality import head_mask


@dataclass(frozen=True)
class PreparedVolume:
    """A volume after some steps.

    Attributes:
        array: float32 (i, j, k).
        affine: float64 (4, 4), voxel index -> mm; RAS of the scanner, after registration of the template.
        mask: bool (i, j, k), the brain, once a step has found it.
        about: bool (i, j, k), what a crop is about: the template's brain after registration.
        code: What the world is, as NIfTI numbers it.
        facts: Per step, what it found.
    """

    array: np.ndarray
    affine: np.ndarray
    mask: np.ndarray | None = None
    about: np.ndarray | None = None
    code: int = SCANNER
    facts: list[dict[str, Any]] = field(default_factory=list)


def check_tools(recipe: PreparationRecipe, template: Template | None) -> dict[str, Any]:
    """See that everything a recipe needs is there, before a volume is read; facts on the programs that it runs.

    Raises:
        MissingExtraError: SimpleITK or a program is not installed.
        ConfigError: A template is needed and none given, or given and not needed.
    """
    facts: dict[str, Any] = {}
    for step in recipe.steps:
        if step.step in ("volume_bias_field", "volume_register"):
            facts["SimpleITK"] = str(simple_itk(f"The step {step.step}").Version_VersionString())
        elif isinstance(step, VolumeBrainMask) and step.method != "morphological":
            facts["program"] = program_facts(step.method)
    if recipe.registers and template is None:
        raise ConfigError(
            "The recipe registers to a template, and none was named.",
            where=recipe.id,
            expected="--template FILE: a T1 volume of an average head as NIfTI, such as ICBM 152 nonlinear 2009",
            fix="get one (www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009); or take a recipe without volume_register",
        )
    if template is not None and not recipe.registers:
        raise ConfigError("A template was named, and the recipe does not register.", where=recipe.id)
    return facts


def prepare(record: Record, recipe: PreparationRecipe, template: Template | None = None) -> PreparedVolume:
    """Run the steps of `recipe` on a record of the modality brain MRI; its own array is not changed.

    Args:
        record: float32 (i, j, k), with the facts ``affine`` and ``axes_in_file``.
        recipe: The steps.
        template: Where ``volume_register`` registers to.

    Raises:
        ReadError: The volume is not finite or constant, or a step fails on it.
        MissingExtraError: An extra or a program is missing; see :func:`check_tools`.
    """
    array = np.asarray(record.array, np.float32)
    if not np.isfinite(array).all():
        raise ReadError(
            f"{int((~np.isfinite(array)).sum()):,} voxels are NaN or infinite.",
            where=record.record_id,
            expected="finite values",
            fix="export the volume again; what wrote these values can be wrong elsewhere too",
        )
    if array.min() == array.max():
        raise ReadError("The volume has one value throughout: there is nothing in it.", where=record.record_id)
    state = PreparedVolume(array, np.asarray(record.facts["affine"], np.float64))
    for step in recipe.steps:
        before = len(state.facts)
        state = _after(state, step, record, template)
        if len(state.facts) == before:
            state.facts.append({"step": step.step})
    if state.array.min() == state.array.max():
        raise ReadError("Nothing is left of the volume: it has one value throughout.", where=record.record_id)
    return replace(state, array=np.ascontiguousarray(state.array, np.float32))


def _after(state: PreparedVolume, step: PreparationStep, record: Record, template: Template | None) -> PreparedVolume:
    array, affine, mask, about = state.array, state.affine, state.mask, state.about
    where = record.record_id
    if step.step == "volume_reorient":
        array, affine = reoriented(array, affine, step.axes, record.facts.get("axes_in_file"), where)
        return replace(state, array=array, affine=affine)  # the first step: there is no mask yet
    if step.step == "volume_bias_field":
        array, found = corrected(array, affine, mask, step, where)
        return _noted(replace(state, array=array), step, found)
    if step.step == "volume_brain_mask":
        mask = (
            brain_mask(array, affine, where)
            if step.method == "morphological"
            else program_mask(array, affine, step.method, step.device, step.timeout_s, where)
        )
        litres = float(mask.sum() * abs(np.linalg.det(affine[:3, :3]))) / 1e6
        if step.apply:
            array = array * softened(mask, spacing_of(affine), step.soft_mm)
        return _noted(replace(state, array=array, mask=mask), step, {"litres": round(litres, 3)})
    if step.step == "volume_register":
        if template is None or mask is None:
            raise ConfigError("volume_register needs a template and a mask.", where=where)
        done = register(array, affine, mask, template, step, where)
        laid = replace(state, array=done.array, affine=template.affine, mask=done.mask, about=template.mask)
        return _noted(replace(laid, code=ALIGNED), step, done.facts)
    if step.step == "volume_scale":
        return replace(state, array=unit_scale(array))
    if step.step == "volume_robust_scale":
        return replace(state, array=robust_scale(array, step.lower, step.upper, step.of))
    # The grid changes; the masks follow.
    if step.step == "volume_spacing":
        new, changed = resample(array, affine, step.mm)
        follow = [None if one is None else resample(one, affine, step.mm)[0] >= 0.5 for one in (mask, about)]
    elif step.step == "volume_size":
        new, changed = fit_size(array, affine, step.size, step.padding)
        follow = [None if one is None else fit_size(one, affine, step.size, "zero")[0] for one in (mask, about)]
    else:
        seen = about if about is not None else mask if mask is not None else head_mask(array, affine)
        bounds = brain_bounds(seen, affine, step)
        if bounds is None:
            raise ReadError("There is nothing in the volume to cut about.", where=where)
        new, changed = cut(array, affine, *bounds)
        # Beyond the volume a mask is false, even where it fills the volume.
        follow = [None if one is None else _cut_mask(one, affine, bounds) for one in (mask, about)]
    return replace(state, array=new, affine=changed, mask=follow[0], about=follow[1])


def _cut_mask(mask: np.ndarray, affine: np.ndarray, bounds: tuple[list[int], list[int]]) -> np.ndarray:
    framed = np.pad(mask, 1)
    starts, stops = ([value + 1 for value in values] for values in bounds)
    return cut(framed, affine, starts, stops)[0]


def _noted(state: PreparedVolume, step: PreparationStep, found: dict[str, Any]) -> PreparedVolume:
    return replace(state, facts=[*state.facts, {"step": step.step, **found}])
