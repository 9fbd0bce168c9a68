"""FreeSurfer's MGH and MGZ; the header is parsed by nibabel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.extras import import_extra
from medfm.io.volumes.stream import opened, read_voxels
from medfm.io.volumes.volume import Volume, check_grid, sound_affine

_HEADER_BYTES = 284
_GOOD_RAS = slice(28, 30)


def is_mgh(head: bytes) -> bool:
    """Whether the first (unpacked) bytes are an MGH header: version 1, big-endian, a known kind of number."""
    return (
        head[:4] == b"\0\0\0\1"
        and int.from_bytes(head[20:24], "big") in (0, 1, 3, 4, 10)
        and all(0 < int.from_bytes(head[start : start + 4], "big") < 1 << 20 for start in (4, 8, 12, 16))
    )


def check_mgh_size(head: bytes, where: str) -> None:
    """Refuse from the first bytes what is 4D, a single slice or does not fit into memory.

    Raises:
        ReadError: It is one of these.
    """
    # Width, height, depth and frames, as in is_mgh.
    check_grid([int.from_bytes(head[start : start + 4], "big") for start in (4, 8, 12, 16)], where)


def read_mgh(path: Path, where: str) -> Volume:
    """Read a volume.

    Without its own directions the voxels of 1 mm in coronal order that FreeSurfer assumes are taken, and left and
    right count as not known.

    Raises:
        ReadError: Damaged or cut off, 4D, degenerate geometry, too large.
    """
    nibabel = import_extra("nibabel", "mri", "Reading NIfTI, Analyze and MGH volumes")
    with opened(path, where) as stream:
        head = stream.read(_HEADER_BYTES)
        try:
            header = nibabel.freesurfer.MGHImage.header_class(binaryblock=head, check=False)
            affine = np.asarray(header.get_affine(), np.float64)
            dtype, sizes = np.dtype(header.get_data_dtype()).newbyteorder(">"), header.get_data_shape()
        except Exception as error:  # nibabel raises its own and numpy's errors on damaged headers
            raise ReadError("The MGH header is damaged or cut off.", where=where) from error
        shape = check_grid(sizes, where)
        known = int.from_bytes(head[_GOOD_RAS], "big", signed=True) > 0
        if not known:
            # surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat: then 1 mm and coronal, whatever else is stored.
            affine = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
            affine[:3, 3] = -affine[:3, :3] @ (np.asarray(shape) / 2)
        if not sound_affine(affine):
            raise ReadError(
                "The geometry in the header is degenerate: the size of the voxels is not known.",
                where=where,
                fix="convert the original again",
            )
        array = read_voxels(stream, shape, dtype, where)
    facts = {"format": "mgh", "stored": dtype.name, "scaled": False}
    facts |= {"orientation_source": "header" if known else "none", "left_right": "known" if known else "not known"}
    return Volume(array, affine, facts)
