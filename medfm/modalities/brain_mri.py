"""Brain MRI: one volume of the head, in the axes right, front, top."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.volumes.detect import ENDINGS, check_volume_size, read_volume, volume_files
from medfm.io.volumes.volume import axis_letters, obliqueness, shear, spacing_of, to_ras
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.row_options import missing, positive

if TYPE_CHECKING:
    from medfm.modalities.volume_quality import VolumeQuality

_OPTIONS = ("series", "spacing_mm", "axes")
_AXES = ("ras", "file")
# Hounsfield units: air and what lies outside the scanner's circle are at -1000 and below, as no MR value is.
_AIR_OF_CT, _SHARE_OF_AIR = -900.0, 0.1
# No CT goes below the padding of its scanners; whole numbers that overflowed reach down to -32768.
_LOWEST_OF_CT = -4096.0
OVERFLOWED = "whole numbers seem to have overflowed: voxels are negative between bright ones; export it again"


class BrainMri:
    """Volumes of the head from NIfTI, MGH, Analyze, NRRD and DICOM.

    The canonical array is float32 of shape (i, j, k), scaled as the file says, its axes permuted and turned (never
    resampled) so that i runs to the right, j to the front and k to the top as nearly as they can. The fact ``affine``
    (4 x 4 numbers, voxel index to mm in that world) holds what is left of an oblique position, ``spacing_mm`` the
    sides of a voxel along i, j and k. With the option ``axes: file`` the order of the file is kept, and the affine
    belongs to that order: published pipelines that never looked at the orientation are reproduced so.

    The facts: ``format, stored, scaled, spacing_mm, affine, axes_in_file, shape_in_file, oblique_deg,
    orientation_source`` (``sform``, ``qform``, ``header``, ``none``), ``left_right`` (``known`` or ``not known``),
    ``range``, and where they apply ``notes`` (values that look overflowed), ``not_finite, shear_deg, series, sform_against_qform_mm`` and those of DICOM.
    No text of a header is among them. Voxels that are NaN or infinite stay as they are; encoders refuse them.
    """

    name = "brain_mri"
    title = "brain MRI volumes"
    contract = (
        "float32 (i, j, k), i to the right, j to the front, k to the top, values scaled as the file says; "
        "facts hold spacing_mm and a RAS affine in mm"
    )
    suffixes: tuple[str, ...] = (*ENDINGS, ".gz")
    option_columns: tuple[str, ...] = _OPTIONS
    folders = True  # a DICOM series is a folder
    threads = 4  # that read for the checks at the same time: every one holds a volume or two

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one cohort row, where given.

        ``series`` (which volume of a DICOM folder, as its error lists them), ``spacing_mm`` (such as ``1x1x1.2``, for
        files whose header has none) and ``axes`` (``ras`` or ``file``).

        Raises:
            ReadError: The spacing is not three positive numbers, or the axes are another word.
        """
        options: dict[str, Any] = {}
        if not missing(row.get("series")):
            options["series"] = _label(row["series"])
        if not missing(row.get("spacing_mm")):
            options["spacing_mm"] = _three(row["spacing_mm"])
        if not missing(row.get("axes")):
            options["axes"] = _axes(row["axes"])
        return options

    def files(self, ref: RecordRef) -> tuple[Path, ...]:
        """All files whose bytes make up the record: both of a pair, all slices of a series."""
        return volume_files(ref.path, ref.record_id)

    def check_size(self, ref: RecordRef) -> None:
        """Refuse from the header, without its voxels, a volume that does not fit into memory.

        Raises:
            ReadError: It does not fit, or is no single volume.
        """
        check_volume_size(ref.path, ref.record_id)

    def owns(self, path: Path) -> bool:
        """Whether a ``.dcm`` file or a folder is DICOM of a kind that is read here, by its SOP class."""
        from medfm.io.volumes.dicom import is_mr

        return is_mr(path)

    def read(self, ref: RecordRef) -> Record:
        """Read one volume.

        Raises:
            ReadError: See :func:`medfm.io.volumes.detect.read_volume`; the values are those of CT; or an option is
                unknown.
        """
        unknown = [key for key in ref.options if key not in _OPTIONS]
        if unknown:
            raise ReadError(
                f"There is no option '{unknown[0]}' for brain MRI.", where=ref.record_id, expected=", ".join(_OPTIONS)
            )
        options = dict(ref.options)
        if "series" in options:
            options["series"] = _label(options["series"])
        if "spacing_mm" in options:
            options["spacing_mm"] = _three(options["spacing_mm"])
        volume = read_volume(ref.path, options, ref.record_id)
        array, affine = volume.array, volume.affine
        if _axes(options.get("axes", "ras")) == "ras":
            array, affine = to_ras(array, affine)
        facts: dict[str, Any] = {
            **volume.facts,
            "spacing_mm": [round(float(side), 6) for side in spacing_of(affine)],
            "affine": [[round(float(value), 6) + 0.0 for value in row] for row in affine],
            "axes_in_file": axis_letters(volume.affine),
            "shape_in_file": list(volume.array.shape),
            "oblique_deg": round(obliqueness(volume.affine), 2),
        }
        if (skew := shear(volume.affine)) > 0.1:
            facts["shear_deg"] = round(skew, 2)
        if "series" in options:
            facts["series"] = options["series"]
        facts |= _values(array, ref.record_id)
        if _overflowed(array, facts):
            facts["notes"] = [OVERFLOWED]
        return Record(ref.record_id, self.name, array, facts)

    def measure(self, record: Record) -> VolumeQuality:
        """What the deep checks of a cohort need to know of a volume."""
        from medfm.modalities.volume_quality import measure

        array, affine = to_ras(record.array, np.asarray(record.facts["affine"]))
        return measure(array, {**record.facts, "spacing_mm": spacing_of(affine)})


BRAIN_MRI = BrainMri()


def _values(array: np.ndarray, where: str) -> dict[str, Any]:
    """Facts on the values, plane by plane so that no second array is made; refuses Hounsfield units."""
    low, high, odd, air = np.inf, -np.inf, 0, 0
    for k in range(array.shape[2]):
        plane = array[:, :, k]
        finite = np.isfinite(plane)
        if not finite.all():
            odd += int(plane.size - finite.sum())
            plane = plane[finite]
        if plane.size:
            low, high = min(low, float(plane.min())), max(high, float(plane.max()))
            air += int((plane <= _AIR_OF_CT).sum())
    if low > high:
        raise ReadError("The volume holds no finite value at all.", where=where, fix="export it again")
    if air > _SHARE_OF_AIR * array.size and high > -_AIR_OF_CT / 2 and low >= _LOWEST_OF_CT and odd == 0:
        raise ReadError(
            f"The values are those of CT: {air / array.size:.0%} of the voxels are at {_AIR_OF_CT:g} or below.",
            where=where,
            expected="magnetic resonance imaging",
            fix="take the MR series of the patient",
        )
    facts: dict[str, Any] = {"range": [low, high]}
    return facts | ({"not_finite": odd} if odd else {})


def _overflowed(array: np.ndarray, facts: Mapping[str, Any]) -> bool:
    from medfm.modalities.volume_quality import overflowed

    return overflowed(array, facts)


def _label(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _three(value: Any) -> list[float]:
    parts: Sequence[Any] = (
        [part for part in re.split(r"[x×,;\s]+", value.strip()) if part]
        if isinstance(value, str)
        else list(value)
        if isinstance(value, (list, tuple, np.ndarray))
        else [value]
    )
    if len(parts) != 3:
        raise ReadError("spacing_mm is not three numbers.", expected="mm along the axes of the file, such as 1x1x1.2")
    return [positive(part, "spacing_mm", "mm") for part in parts]


def _axes(value: Any) -> str:
    word = str(value).strip().lower()
    if word not in _AXES:
        raise ReadError("The axes are neither 'ras' nor 'file'.", expected=" or ".join(_AXES))
    return word
