"""Chest X-ray: one radiograph of the chest, grey, dense tissue bright."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.dicom_radiograph import decode_radiograph, has_mark, is_dicom_data, is_radiograph
from medfm.io.dicom_values import Voi
from medfm.io.formats import describe, image_format
from medfm.io.grey_pictures import decode_grey, read_bytes
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.row_options import missing, whole

if TYPE_CHECKING:
    from medfm.modalities.chest_quality import ChestQuality

_OPTIONS = ("window", "voi_index", "photometric", "invert", "page", "crop")
_DICOM_ONLY = ("window", "voi_index", "photometric")
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
MAX_BYTES = 2_000_000_000


class ChestXray:
    """Radiographs of the chest from DICOM (CR, DX, secondary captures), PNG, JPEG, TIFF and BMP.

    The canonical array is float32 of shape (height, width) in [0, 1]: 0 is black (air), 1 the largest value that the
    stored bits can hold, or the upper end of the window where one is applied. MONOCHROME1 has been turned over, once.
    Nothing is resized, equalised or turned by the orientation, and nothing cropped unless the row says where (``crop``,
    which ``medfm data lungs`` finds).

    The facts: ``format, bits_stored, view`` (``PA``, ``AP``, ``LL``, ``RL`` or ``unknown``), ``photometric``
    (``not stated`` outside DICOM), ``inverted``, ``window_applied`` (``none``, ``given``, ``table`` or the function of
    the file's window), and those of :func:`medfm.io.dicom_radiograph.decode_radiograph`. No text of a header is among
    them.
    """

    name = "chest_xray"
    title = "chest radiographs"
    contract = (
        "float32 (height, width) in [0, 1], 0 black (air), 1 the largest storable value or the window's upper end, "
        "MONOCHROME1 turned over once, native pixels, one radiograph per record"
    )
    suffixes: tuple[str, ...] = (".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
    option_columns: tuple[str, ...] = _OPTIONS
    grey = True  # a picture float (height, width) in [0, 1], whose copies the checks look for

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The reader options of one cohort row, where given.

        ``window`` (``header``, ``none``, or centre and width such as ``40,400``), ``voi_index`` (which of several
        windows or tables of the file, from 0), ``photometric`` (for files that do not say), ``invert`` (``yes`` turns a
        picture over whose polarity is wrong), ``page`` (of a TIFF), ``crop`` (top, left, bottom and right in pixels of the
        file, the last two exclusive).

        Raises:
            ReadError: A value is none of these.
        """
        options: dict[str, Any] = {}
        if not missing(row.get("window")):
            options["window"] = window_of(row["window"])
        if not missing(row.get("voi_index")):
            options["voi_index"] = whole(row["voi_index"], "voi_index", "windows")
        if not missing(row.get("photometric")):
            options["photometric"] = _photometric(row["photometric"])
        if not missing(row.get("invert")):
            options["invert"] = _flag(row["invert"])
        if not missing(row.get("page")):
            options["page"] = whole(row["page"], "page", "pages")
        if not missing(row.get("crop")):
            options["crop"] = crop_of(row["crop"])
        return options

    def read(self, ref: RecordRef) -> Record:
        """Read one radiograph.

        Raises:
            ReadError: The file cannot be read (see :func:`medfm.io.dicom_radiograph.decode_radiograph` and
                :func:`medfm.io.images.decode_image`), an option is unknown, or belongs to another kind of file.
        """
        unknown = [key for key in ref.options if key not in _OPTIONS]
        if unknown:
            raise ReadError(
                f"There is no option '{unknown[0]}' for chest radiographs.",
                where=ref.record_id,
                expected=", ".join(_OPTIONS),
            )
        options = self.options(ref.options)
        data = read_bytes(ref.path, ref.record_id, MAX_BYTES)
        # A DICOM file may bear the head of a TIFF in its preamble (PS3.10, 7.1): its own mark decides.
        if has_mark(data) or (image_format(data) is None and is_dicom_data(data)):
            array, facts = self._dicom(data, options, ref.record_id)
        else:
            array, facts = self._picture(data, ref, options)
        if options.get("invert"):
            # Padding was made black and stays so only where the file says where it is; a picture has none.
            array = np.float32(1) - array
            facts["inverted_by_hand"] = True
        if "crop" in options:
            array = cropped(array, options["crop"], ref.record_id)
            facts["crop"] = options["crop"]
        facts["height"], facts["width"] = int(array.shape[0]), int(array.shape[1])
        return Record(ref.record_id, self.name, array, facts)

    def owns(self, path: Path) -> bool:
        """Whether a ``.dcm`` file is a radiograph by its SOP class and modality."""
        return is_radiograph(path)

    def measure(self, record: Record) -> ChestQuality:
        """What the deep checks of a cohort need to know of a radiograph."""
        from medfm.modalities.chest_quality import measure

        return measure(record.array, record.facts)

    def glance(self, record: Record) -> int:
        """What is worth a warning wherever the radiograph is used, as bits (:class:`~.chest_judgements.Glance`)."""
        from medfm.modalities.chest_judgements import glance

        return int(glance(record.array, record.facts))

    def _dicom(self, data: bytes, options: Mapping[str, Any], where: str) -> tuple[np.ndarray, dict[str, Any]]:
        if options.get("page") is not None:
            raise ReadError("A DICOM file has no pages.", where=where, fix="leave out the option 'page'")
        window = options.get("window", "header")
        voi = Voi(index=int(options.get("voi_index", 0)))
        if window == "none":
            voi = replace(voi, off=True)
        elif window != "header":
            voi = replace(voi, window=(float(window[0]), float(window[1])))
        return decode_radiograph(data, voi, options.get("photometric"), where)

    def _picture(self, data: bytes, ref: RecordRef, options: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        if data and image_format(data) is None:
            raise ReadError(
                f"This is {describe(data)}, not a radiograph that is read.",
                where=ref.record_id,
                expected="DICOM, PNG, JPEG, TIFF or BMP",
            )
        foreign = [key for key in _DICOM_ONLY if key in options and options[key] != "header"]
        if foreign:
            raise ReadError(
                f"The option '{foreign[0]}' is for DICOM files.",
                where=ref.record_id,
                fix="'invert: yes' turns a picture over",
            )
        array, facts = decode_grey(data, ref.path.name, page=options.get("page"), where=ref.record_id)
        return array, {**facts, "photometric": "not stated", "window_applied": "none", "view": "unknown"}


CHEST_XRAY = ChestXray()


def window_of(value: Any) -> str | list[float]:
    """``"header"``, ``"none"`` or [centre, width].

    Raises:
        ReadError: It is none of them, or the width is below 1.
    """
    wrong = ReadError(
        "The window is neither 'header' nor 'none' nor centre and width.",
        expected="header, none, or two numbers such as 2048,4096 (a width of at least 1)",
    )
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("header", "none"):
            return text
        parts: list[Any] = [part for part in re.split(r"[,;/x\s]+", text.strip("[]()")) if part]
    else:
        parts = list(value) if isinstance(value, (list, tuple, np.ndarray)) else []
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        raise wrong from None
    if len(numbers) != 2 or not all(math.isfinite(number) for number in numbers) or numbers[1] < 1:
        raise wrong
    return numbers


def crop_of(value: Any) -> list[int]:
    """[top, left, bottom, right] in pixels, the last two exclusive.

    Raises:
        ReadError: It is none, or holds no pixel.
    """
    if isinstance(value, str):
        parts: list[Any] = [part for part in re.split(r"[,;\s]+", value.strip().strip("[]()")) if part]
    else:
        parts = list(value) if isinstance(value, (list, tuple, np.ndarray)) else []
    if len(parts) == 4:
        top, left, bottom, right = (whole(part, "crop") for part in parts)
        if 0 <= top < bottom and 0 <= left < right:
            return [top, left, bottom, right]
    raise ReadError(
        "crop is no part of a picture.",
        expected="top, left, bottom and right in pixels, such as 120,80,900,1000",
        fix="leave the cell empty for the whole radiograph",
    )


def cropped(array: np.ndarray, box: Sequence[int], where: str) -> np.ndarray:
    """The part of a radiograph within [top, left, bottom, right]; raises ReadError where it reaches beyond."""
    top, left, bottom, right = box
    if bottom > array.shape[0] or right > array.shape[1]:
        raise ReadError(
            f"The crop ends at row {bottom} and column {right}, and the radiograph has {array.shape[0]} and "
            f"{array.shape[1]}.",
            where=where,
            fix="find the crop again (medfm data lungs); perhaps the file was replaced by a smaller one",
        )
    return np.ascontiguousarray(array[top:bottom, left:right])


def _photometric(value: Any) -> str:
    text = str(value).strip().upper()
    if text not in ("MONOCHROME1", "MONOCHROME2"):
        raise ReadError("photometric is neither MONOCHROME1 nor MONOCHROME2.", expected="MONOCHROME1: low is white")
    return text


def _flag(value: Any) -> bool:
    text = str(value).strip().lower().removesuffix(".0")
    if text not in _YES:
        raise ReadError("invert is neither yes nor no.", expected="yes or no")
    return _YES[text]
