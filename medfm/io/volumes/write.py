"""A volume as a NIfTI-1 file whose header holds geometry and nothing else."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.extras import import_extra
from medfm.core.files import atomic_open
from medfm.io.volumes.volume import shear, sound_affine

SCANNER, ALIGNED, MNI = 1, 2, 4  # what the world of the affine is, as NIfTI numbers it


def nifti_bytes(array: np.ndarray, affine: np.ndarray, code: int = SCANNER) -> bytes:
    """A gzipped NIfTI-1 file, float32; equal for equal input (no time stamp, no file name, no text).

    Args:
        array: Finite or not, (i, j, k).
        affine: float (4, 4), voxel index -> RAS mm.
        code: What the world is: :data:`SCANNER`, :data:`ALIGNED` or :data:`MNI`.

    Raises:
        ReadError: Not three axes, an axis of more than 32767 voxels, or an affine that spans no volume.
    """
    nibabel = import_extra("nibabel", "mri", "Writing NIfTI files")
    if array.ndim != 3 or not 1 <= min(array.shape) <= max(array.shape) <= 32767 or not sound_affine(affine):
        raise ReadError(
            f"An array of shape {array.shape} cannot be written as a volume.",
            expected="three axes of 1 to 32767 voxels and an affine that spans a volume",
        )
    image = nibabel.Nifti1Image(np.asarray(array, np.float32), np.asarray(affine, np.float64))
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code)
    # A quaternion holds no shear; without a qform the sform is all there is.
    image.set_qform(affine if shear(affine) < 1e-3 else None, code if shear(affine) < 1e-3 else 0)
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


def write_nifti(path: str | Path, array: np.ndarray, affine: np.ndarray, code: int = SCANNER) -> None:
    """Write :func:`nifti_bytes` to `path` (``.nii.gz``), whole or not at all.

    Raises:
        StoreError: The place cannot be written to.
    """
    data = nifti_bytes(array, affine, code)
    with atomic_open(path) as file:
        file.write(data)
