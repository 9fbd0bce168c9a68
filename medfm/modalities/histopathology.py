"""Histopathology: patches of stained tissue sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ReadError
from medfm.core.hashing import canonical_json, sha256_bytes
from medfm.io.hdf5_pictures import SUFFIXES as STACKS
from medfm.io.hdf5_pictures import is_hdf5, read_stacked, stacked_digest
from medfm.io.images import read_image
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.row_options import missing, positive, whole
from medfm.modalities.shard_members import MEMBER_COLUMNS, in_shard, member_key, member_options, read_member_image

if TYPE_CHECKING:
    from medfm.modalities.histopathology_quality import PatchQuality

PLACE_COLUMNS = ("patch_x", "patch_y")
_OPTIONS = (*PLACE_COLUMNS, "mpp", "page", "index", "dataset", *MEMBER_COLUMNS)
# Beyond these bounds a resolution is a mistake of units (nm, dpi), not a microscope.
_MPP = (0.02, 50.0)


class Histopathology:
    """Patches of stained tissue (mostly H&E) from image files, members of tar shards, or rows of an HDF5 stack.

    The canonical array is RGB uint8 of shape (height, width, 3), upright, in native pixels. Where
    the table says so, ``facts["place"]`` holds [x, y] of the upper left pixel at the slide's
    finest level and ``facts["mpp"]`` the micrometres per pixel of this patch
    (``facts["mpp_source"]``: ``"table"``). Neither is guessed; nothing is resampled here.
    In an HDF5 file a record is the row ``index`` of the stack ``dataset``; its content key covers
    the pixels of that row alone, so equal patches share it wherever they are stored. In a tar file it is
    the ``member`` (see :mod:`medfm.modalities.shard_members`).
    """

    name = "histopathology"
    title = "tissue patches"
    contract = "RGB uint8 (height, width, 3), values 0-255, upright, native pixels, one patch per record; place and mpp if known"
    suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
    option_columns: tuple[str, ...] = _OPTIONS

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one row: ``patch_x`` with ``patch_y``, ``mpp``, ``page``, ``index``, ``dataset``, ``member``.

        Raises:
            ReadError: One coordinate without the other, something that is not a number, or an unsafe member.
        """
        options: dict[str, Any] = member_options(row)
        given = [column for column in PLACE_COLUMNS if not missing(row.get(column))]
        if len(given) == 1:
            raise ReadError(f"The place of a patch has {given[0]} alone.", expected=" and ".join(PLACE_COLUMNS))
        for column in given:
            options[column] = whole(row[column], column)
        if not missing(row.get("mpp")):
            options["mpp"] = positive(row["mpp"], "mpp", "micrometres per pixel")
        if not missing(row.get("page")):
            options["page"] = whole(row["page"], "page", "pages")
        if not missing(row.get("index")):
            options["index"] = whole(row["index"], "index", "pictures")
            if not missing(row.get("dataset")):
                options["dataset"] = str(row["dataset"]).strip()
        return options

    def content_key(self, ref: RecordRef) -> str | None:
        """The content key of a row of a stack or a member of a shard, read alone; ``None`` for other files.

        Raises:
            ReadError: The file or the row cannot be read.
        """
        if in_shard(ref):
            return member_key(ref)
        if not _stacked(ref):
            return None
        digest = stacked_digest(ref.path, _index(ref), ref.options.get("dataset"), where=ref.record_id)
        rest = {key: value for key, value in ref.options.items() if key not in ("index", "dataset")}
        return sha256_bytes(f"{digest}|{canonical_json(rest)}".encode())

    def read(self, ref: RecordRef) -> Record:
        """Read one patch.

        Raises:
            ReadError: The file cannot be read (see :func:`medfm.io.images.read_image`), an option
                is unknown, or mpp cannot be that of a microscope.
        """
        options = ref.options
        unknown = [key for key in options if key not in _OPTIONS]
        if unknown:
            raise ReadError(
                f"There is no option '{unknown[0]}' for tissue patches.",
                where=ref.record_id,
                expected=", ".join(_OPTIONS),
            )
        if in_shard(ref):
            array, facts = read_member_image(ref, options.get("page"))
        elif _stacked(ref):
            array, facts = read_stacked(ref.path, _index(ref), options.get("dataset"), where=ref.record_id)
        else:
            array, facts = read_image(ref.path, page=options.get("page"), where=ref.record_id)
        facts = dict(facts)
        given = [column for column in PLACE_COLUMNS if column in options]
        if len(given) == 1:
            raise ReadError(
                f"The place of a patch has {given[0]} alone.", where=ref.record_id, expected=" and ".join(PLACE_COLUMNS)
            )
        if given:
            facts["place"] = [int(options["patch_x"]), int(options["patch_y"])]
        if "mpp" in options:
            mpp = float(options["mpp"])
            if not _MPP[0] <= mpp <= _MPP[1]:
                raise ReadError(
                    f"A patch with {mpp:g} micrometres per pixel cannot come from a microscope.",
                    where=ref.record_id,
                    expected=f"{_MPP[0]:g} to {_MPP[1]:g}, such as 0.25 (40x) or 0.5 (20x)",
                    fix="mpp is in micrometres per pixel, neither nanometres nor dots per inch",
                )
            facts["mpp"], facts["mpp_source"] = mpp, "table"
        return Record(ref.record_id, self.name, array, facts)

    def measure(self, record: Record) -> PatchQuality:
        """What the deep checks of a cohort need to know of a patch, in a few milliseconds."""
        from medfm.modalities.histopathology_quality import measure

        return measure(record.array, record.facts)


HISTOPATHOLOGY = Histopathology()


def _stacked(ref: RecordRef) -> bool:
    return "index" in ref.options or (ref.path.suffix.lower() in STACKS and is_hdf5(ref.path))


def _index(ref: RecordRef) -> int:
    if "index" not in ref.options:
        raise ReadError(
            "Which picture of the HDF5 file is the record is not said.",
            where=ref.record_id,
            expected="a column 'index', counted from 0",
        )
    return whole(ref.options["index"], "index", "pictures")
