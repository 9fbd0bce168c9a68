"""Retina: colour photographs of the fundus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfm.core.errors import ReadError
from medfm.io.images import read_image
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.row_options import missing, whole

_OPTIONS = ("page",)


class Retina:
    """Colour fundus photographs from ordinary image files.

    The canonical array is RGB uint8 of shape (height, width, 3), upright, in native pixels, the
    dark surround included; 16-bit files are scaled to 8 bits by their depth. Nothing is cropped,
    mirrored or corrected here. Which eye it is is not read from the picture.
    """

    name = "retina"
    title = "fundus photographs"
    contract = (
        "RGB uint8 (height, width, 3), values 0-255, upright, native pixels, surround kept, one photograph per record"
    )
    suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
    option_columns: tuple[str, ...] = _OPTIONS

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one cohort row: ``page`` of a multi-page TIFF where given.

        Raises:
            ReadError: It is not a whole number.
        """
        return {} if missing(row.get("page")) else {"page": whole(row["page"], "page", "pages")}

    def read(self, ref: RecordRef) -> Record:
        """Read one photograph.

        Raises:
            ReadError: The file cannot be read (see :func:`medfm.io.images.read_image`) or an
                option is unknown.
        """
        unknown = [key for key in ref.options if key not in _OPTIONS]
        if unknown:
            raise ReadError(
                f"There is no option '{unknown[0]}' for fundus photographs.",
                where=ref.record_id,
                expected=", ".join(_OPTIONS),
            )
        array, facts = read_image(ref.path, page=ref.options.get("page"), where=ref.record_id)
        return Record(ref.record_id, self.name, array, facts)


RETINA = Retina()
