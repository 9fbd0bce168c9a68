"""Blood cells: a stained cell, a patch of a smear, or one cell of a whole smear by its box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.images import read_image
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.row_options import missing, whole

BOX_COLUMNS = ("xmin", "ymin", "xmax", "ymax")
_OPTIONS = ("box", "context_px", "page")


class BloodCell:
    """Stained blood or bone-marrow cells under the light microscope.

    The canonical array is RGB uint8 of shape (height, width, 3), upright, in native pixels.
    With a box the record is that cell: columns xmin to xmax - 1 and rows ymin to ymax - 1 of the
    upright image, counted from 0, widened by ``context_px`` on every side as far as the image goes.
    """

    name = "blood_cell"
    title = "blood cells"
    contract = "RGB uint8 (height, width, 3), values 0-255, upright, native pixels, one cell or one field per record"
    suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
    option_columns: tuple[str, ...] = (*BOX_COLUMNS, "context_px", "page")

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one cohort row: ``box``, ``context_px`` and ``page`` where given.

        Raises:
            ReadError: A box has only some of its four numbers, or one is not a number.
        """
        options: dict[str, Any] = {}
        given = [c for c in BOX_COLUMNS if not missing(row.get(c))]
        if given:
            if len(given) < 4:
                absent = ", ".join(c for c in BOX_COLUMNS if c not in given)
                raise ReadError(f"The box lacks {absent}.", expected=f"all of {', '.join(BOX_COLUMNS)}, in pixels")
            options["box"] = [whole(row[c], c) for c in BOX_COLUMNS]
        if given and not missing(row.get("context_px")):
            options["context_px"] = whole(row["context_px"], "context_px")
        if not missing(row.get("page")):
            options["page"] = whole(row["page"], "page")
        return options

    def read(self, ref: RecordRef) -> Record:
        """Read one cell or field.

        Raises:
            ReadError: The file cannot be read (see :func:`medfm.io.images.read_image`), the box is
                empty or leaves the image, or an option is unknown.
        """
        unknown = [key for key in ref.options if key not in _OPTIONS]
        if unknown:
            raise ReadError(
                f"There is no option '{unknown[0]}' for blood cells.",
                where=ref.record_id,
                expected=", ".join(_OPTIONS),
            )
        page = ref.options.get("page")
        box = ref.options.get("box")
        if box is None:
            array, facts = read_image(ref.path, page=page, where=ref.record_id)
            return Record(ref.record_id, self.name, array, facts)
        array, facts = _read_smear(ref.path, page, ref.record_id)
        return Record(ref.record_id, self.name, *_cut(array, facts, box, ref))


BLOOD_CELL = BloodCell()


def _read_smear(path: Path, page: int | None, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        state = path.stat()
    except OSError:
        return read_image(path, page=page, where=where)  # raises the clear error
    try:
        return _decoded(path, page, state.st_mtime_ns, state.st_size)
    except ReadError as error:
        raise ReadError(error.what, where=where, expected=error.expected, fix=error.fix) from error


@lru_cache(maxsize=2)
def _decoded(path: Path, page: int | None, modified: int, size: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The last smears decoded by this process: tables list the cells of one smear together.

    The time of change and the size are part of the key, so a rewritten file is read again.
    """
    array, facts = read_image(path, page=page)
    array.flags.writeable = False
    return array, facts


def _cut(
    array: np.ndarray, facts: Mapping[str, Any], box: Sequence[float], ref: RecordRef
) -> tuple[np.ndarray, dict[str, Any]]:
    height, width = array.shape[:2]
    if len(box) != 4:
        raise ReadError("A box has four numbers.", where=ref.record_id, expected="[xmin, ymin, xmax, ymax] in pixels")
    x0, y0, x1, y1 = (whole(value, column) for value, column in zip(box, BOX_COLUMNS, strict=True))
    if x1 <= x0 or y1 <= y0:
        raise ReadError(
            f"The box {x0}, {y0}, {x1}, {y1} is empty.", where=ref.record_id, expected="xmin < xmax and ymin < ymax"
        )
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise ReadError(
            f"The box {x0}, {y0}, {x1}, {y1} leaves the image of {width} x {height} pixels.",
            where=ref.record_id,
            expected=f"0 <= xmin < xmax <= {width} and 0 <= ymin < ymax <= {height}",
            fix="check that the boxes belong to this file and count pixels from 0",
        )
    context = int(ref.options.get("context_px", 0))
    if context < 0:
        raise ReadError("context_px is negative.", where=ref.record_id, expected="0 or more pixels")
    left, top, right, bottom = (
        max(x0 - context, 0),
        max(y0 - context, 0),
        min(x1 + context, width),
        min(y1 + context, height),
    )
    cell = array[top:bottom, left:right].copy()
    clipped = (right - left, bottom - top) != (x1 - x0 + 2 * context, y1 - y0 + 2 * context)
    cut = {**facts, "width": right - left, "height": bottom - top, "source_width": width, "source_height": height}
    return cell, {**cut, "box": [x0, y0, x1, y1], "context_px": context, "context_clipped": clipped}
