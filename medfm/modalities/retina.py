"""Retina: colour photographs of the fundus, and volumes of optical coherence tomography."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ReadError
from medfm.io.images import read_image
from medfm.io.ophthalmic_dicom import is_dicom, is_ophthalmic, read_ophthalmic
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.row_options import missing, whole
from medfm.modalities.shard_members import MEMBER_COLUMNS, in_shard, member_key, member_options, read_member_image

if TYPE_CHECKING:
    from medfm.modalities.fundus_quality import FundusQuality

_OPTIONS = ("page", "frame", "laterality", *MEMBER_COLUMNS)
_SIDES = {
    **dict.fromkeys(("r", "od", "right", "right eye", "re"), "R"),
    **dict.fromkeys(("l", "os", "left", "left eye", "le"), "L"),
}


class Retina:
    """Fundus photographs from image files, members of tar shards and DICOM, and OCT volumes from DICOM.

    The canonical array of a photograph is RGB uint8 of shape (height, width, 3), upright, in native
    pixels, the dark surround included; deeper files are scaled to 8 bits by their depth (DICOM: by
    modality LUT, VOI and depth). That of an OCT volume is uint8 or uint16 of shape (B-scans, depth,
    width) with the stored values; ``facts["kind"]`` says ``"photograph"`` or ``"oct"``. Nothing is
    cropped, mirrored or colour-managed here.

    Which eye it is comes from the table (``laterality``) or from the DICOM header, never from the
    picture: ``facts["laterality"]`` is ``"R"`` or ``"L"``, ``facts["laterality_source"]`` ``"table"``
    or ``"file"``; where both speak, the table counts and ``facts["laterality_file"]`` keeps the other.
    """

    name = "retina"
    title = "fundus photographs"
    contract = (
        "RGB uint8 (height, width, 3), values 0-255, upright, native pixels, surround kept, one photograph per record; "
        "OCT volumes uint8 or uint16 (B-scans, depth, width), values as stored"
    )
    suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".dcm")
    option_columns: tuple[str, ...] = _OPTIONS

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one cohort row, where given: ``page``, ``frame``, ``laterality`` and ``member``.

        Raises:
            ReadError: A number is none, the eye is neither the right nor the left one, or a member is unsafe.
        """
        options: dict[str, Any] = member_options(row)
        for column, unit in (("page", "pages"), ("frame", "frames")):
            if not missing(row.get(column)):
                options[column] = whole(row[column], column, unit)
        if not missing(row.get("laterality")):
            options["laterality"] = eye(row["laterality"])
        return options

    def content_key(self, ref: RecordRef) -> str | None:
        """The content key of a member of a shard, read alone; ``None`` for files.

        Raises:
            ReadError: The member cannot be read.
        """
        return member_key(ref) if in_shard(ref) else None

    def read(self, ref: RecordRef) -> Record:
        """Read one photograph or volume.

        Raises:
            ReadError: The file cannot be read (see :func:`medfm.io.images.read_image` and
                :func:`medfm.io.ophthalmic_dicom.read_ophthalmic`) or an option is unknown.
        """
        options = ref.options
        unknown = [key for key in options if key not in _OPTIONS]
        if unknown:
            raise ReadError(
                f"There is no option '{unknown[0]}' for fundus photographs.",
                where=ref.record_id,
                expected=", ".join(_OPTIONS),
            )
        if not in_shard(ref) and is_dicom(ref.path):
            if options.get("page") is not None:
                raise ReadError(
                    "A DICOM file has frames, not pages.", where=ref.record_id, fix="use the column 'frame' instead"
                )
            array, facts = read_ophthalmic(ref.path, options.get("frame"), ref.record_id)
        else:
            if options.get("frame") is not None:
                raise ReadError(
                    "Only DICOM files have frames.", where=ref.record_id, fix="use the column 'page' for a TIFF"
                )
            if in_shard(ref):
                array, facts = read_member_image(ref, options.get("page"))
            else:
                array, facts = read_image(ref.path, page=options.get("page"), where=ref.record_id)
            facts = {**facts, "kind": "photograph"}
        return Record(ref.record_id, self.name, array, _with_eye(facts, options.get("laterality")))

    def owns(self, path: Path) -> bool:
        """Whether the file is DICOM of an ophthalmic kind, by its SOP class."""
        return is_dicom(path) and is_ophthalmic(path)

    def measure_picture(self, record: Record) -> FundusQuality:
        """What the deep checks of a cohort need to know of a photograph."""
        from medfm.modalities.fundus_quality import measure

        return measure(record.array)


def eye(value: Any) -> str:
    """``"R"`` or ``"L"`` from the ways to say it: R, OD, right; L, OS, left; in any case.

    Raises:
        ReadError: It is none of them.
    """
    side = _SIDES.get(str(value).strip().lower())
    if side is None:
        raise ReadError("laterality is neither the right nor the left eye.", expected="R, OD or right; L, OS or left")
    return side


def _with_eye(facts: Mapping[str, Any], given: Any) -> dict[str, Any]:
    known = dict(facts)
    file = known.get("laterality_file")
    if given is not None:
        known |= {"laterality": eye(given), "laterality_source": "table"}
    elif file in ("R", "L"):
        known |= {"laterality": file, "laterality_source": "file"}
    return known


RETINA = Retina()
