"""Frames of a DICOM picture as stored, colours brought to RGB.

pydicom's decoders come first; what they lack without plug-ins of their own (lossless JPEG, JPEG-LS, JPEG of 12 bit,
High-Throughput JPEG 2000, JPEG XL) imagecodecs decodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.io.dicom_values import stored_range

# Transfer syntaxes decoded by imagecodecs where pydicom has no decoder installed.
_OTHERS = {
    "1.2.840.10008.1.2.4.51": "jpeg_decode",
    "1.2.840.10008.1.2.4.57": "ljpeg_decode",
    "1.2.840.10008.1.2.4.70": "ljpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    **{f"1.2.840.10008.1.2.4.20{kind}": "jpeg2k_decode" for kind in (1, 2, 3)},
    **{f"1.2.840.10008.1.2.4.11{kind}": "jpegxl_decode" for kind in (0, 1, 2)},
}
# Those that imagecodecs decodes in about two thirds of the time, where neither colours nor signs are to be put right.
_QUICKER = {"1.2.840.10008.1.2.4.90": "jpeg2k_decode", "1.2.840.10008.1.2.4.91": "jpeg2k_decode"}
_OTHERS |= _QUICKER
# What else would decode a syntax. pylibjpeg-libjpeg would decode more, but its licence (GPL) keeps it out of this list.
_PACKAGES = {
    "1.2.840.10008.1.2.4.5": "python-gdcm",
    "1.2.840.10008.1.2.4.7": "python-gdcm",
    "1.2.840.10008.1.2.4.8": "pyjpegls or python-gdcm",
    "1.2.840.10008.1.2.4.9": "pylibjpeg with pylibjpeg-openjpeg, or python-gdcm",
    "1.2.840.10008.1.2.4.20": "pylibjpeg with pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.11": "imagecodecs",
}
# Newer than the dictionary of pydicom 3.0.
_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
PHOTOMETRICS = ("MONOCHROME1", "MONOCHROME2", *_COLOURS)


def decode_frames(dataset: Any, index: int | None, where: str, *, unused_bits: bool = False) -> np.ndarray:
    """One frame (rows, columns[, 3]), or all frames (frames, rows, columns) of a grey volume.

    Colour comes as RGB, uint8 or uint16 with the stored bits; grey values as stored. With `unused_bits` what lies in
    the bits above those stored is kept (overlays, padding, values that the header denies), where pydicom would drop it.

    Raises:
        ReadError: A colour kind or compression that is not read.
    """
    kind = str(dataset.get("PhotometricInterpretation", ""))
    if kind not in PHOTOMETRICS:
        known = kind in ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK")
        raise ReadError(
            f"The DICOM picture has the colour kind '{kind if known else '?'}'.",
            where=where,
            expected=", ".join(PHOTOMETRICS),
            fix="export it again as RGB or YBR_FULL_422",
        )
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    if kind.startswith("MONO"):
        return _decoded(dataset, index, where, unused_bits)
    if index is None and frames > 1:
        raise ReadError("A DICOM file with several colour frames is read frame by frame.", where=where)
    if kind == "PALETTE COLOR":
        return _painted(_decoded(dataset, index, where), dataset, where)
    colour = _decoded(dataset, index, where)
    if colour.ndim != 3 or colour.shape[2] != 3:
        raise ReadError("A colour picture of the DICOM file has not three channels.", where=where)
    return colour


def to_eight_bits(values: np.ndarray, header: Any) -> np.ndarray:
    """Colour values of the stored depth as uint8, rounded to nearest."""
    bits = int(header.BitsStored)
    if bits == 8 and values.dtype == np.uint8:
        return values
    top = stored_range(header)[1]
    return np.rint(np.clip(values.astype(np.float64) * (255.0 / top), 0, 255)).astype(np.uint8)


def _decoded(dataset: Any, index: int | None, where: str, unused_bits: bool = False) -> np.ndarray:
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    name = str(syntax)
    try:
        decoder = get_decoder(syntax)
        usable = bool(decoder.is_available)
    except NotImplementedError:
        usable = False
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    chosen = index if index is not None else (0 if frames == 1 else None)
    plain = int(dataset.SamplesPerPixel) == 1 and not int(dataset.get("PixelRepresentation", 0))
    if usable and not (name in _QUICKER and plain):
        try:
            how: dict[str, Any] = {"correct_unused_bits": not unused_bits}
            array, _ = decoder.as_array(dataset, index=chosen, **how)
            return np.asarray(array)
        except MemoryError:
            raise
        except Exception:
            # Pillow reads JPEG Extended of 8 bits only, which shows when it meets 12.
            if name not in _OTHERS:
                raise
    if name not in _OTHERS:
        raise not_decoded(syntax, where)
    import imagecodecs
    from pydicom.encaps import generate_frames

    try:
        decode = getattr(imagecodecs, _OTHERS[name])
    except AttributeError as error:  # a build without this codec
        raise not_decoded(syntax, where) from error
    wanted = range(frames) if chosen is None else [chosen]
    pictures = []
    for number, data in enumerate(generate_frames(dataset.PixelData, number_of_frames=frames)):
        if number in wanted:
            if _OTHERS[name] == "jpeg_decode" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
                # This decoder fills what is missing with grey.
                raise ReadError("The JPEG in the DICOM file is cut off.", where=where, fix="copy or export it again")
            pictures.append(np.asarray(decode(data)))
    if len(pictures) != len(wanted):
        raise ReadError("The DICOM file holds fewer frames than it says.", where=where)
    array = np.stack(pictures) if chosen is None else pictures[0]
    expected = (int(dataset.Rows), int(dataset.Columns))
    if array.shape[-3 if int(dataset.SamplesPerPixel) == 3 else -2 :][:2] != expected:
        raise ReadError("The compressed picture has another size than the DICOM file says.", where=where)
    if str(dataset.PhotometricInterpretation).startswith("YBR_FULL"):
        from pydicom.pixels import convert_color_space

        return np.asarray(convert_color_space(array, "YBR_FULL", "RGB"))
    return array


def syntax_name(syntax: Any) -> str:
    """The standard's name of a transfer syntax; empty for a private or unknown one."""
    if str(syntax) in _NAMES:
        return _NAMES[str(syntax)]
    return str(syntax.name) if not syntax.is_private and syntax.is_transfer_syntax else ""


def not_decoded(syntax: Any, where: str) -> ReadError:
    """The error for a transfer syntax without a decoder: its name, what is installed for it, what to install."""
    from pydicom.pixels import get_decoder

    name = str(syntax)
    known = syntax_name(syntax)
    known = f"{known} ({name})" if known else "a private one"
    try:
        plugins = get_decoder(syntax).available_plugins
    except NotImplementedError:
        plugins = ()
    package = _PACKAGES.get(name[:-1]) if name[:-1] in _PACKAGES else None
    advice = f"pip install {package}; or e" if package else "e"
    return ReadError(
        f"The compression of the DICOM picture is not read: {known}; decoders installed for it: "
        f"{', '.join(plugins) or 'none'}.",
        where=where,
        fix=f"{advice}xport it uncompressed, as JPEG or as JPEG 2000",
    )


def _painted(indices: np.ndarray, dataset: Any, where: str) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    painted = np.asarray(apply_color_lut(indices, dataset))
    bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    if painted.dtype == np.uint8 or bits == 8:
        return painted.astype(np.uint8) if painted.max(initial=0) < 256 else (painted >> 8).astype(np.uint8)
    return np.rint(painted.astype(np.float64) * (255.0 / (2**bits - 1))).astype(np.uint8)
