"""Brain MRI: one volume of the head, in the axes right, front, top (NIfTI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.extras import import_extra
from medfm.modalities.record import Record, RecordRef


class BrainMri:
    """Volumes of the head.

    The canonical array is float32 of shape (i, j, k), scaled as the file says, its axes permuted and turned so that
    i runs to the right, j to the front and k to the top. The fact ``affine`` (4 x 4, voxel index to mm) belongs to it.
    """

    name = "brain_mri"
    title = "brain MRI volumes"
    contract = "float32 (i, j, k), i to the right, j to the front, k to the top; facts hold spacing_mm and a RAS affine in mm"
    suffixes: tuple[str, ...] = (".nii", ".gz")
    option_columns: tuple[str, ...] = ()

    def options(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """None."""
        return {}

    def read(self, ref: RecordRef) -> Record:
        """Read one volume.

        Raises:
            ReadError: The file is missing, damaged, or holds no volume of three axes.
        """
        nibabel = import_extra("nibabel", "mri", "Reading NIfTI files")
        try:
            image = nibabel.as_closest_canonical(nibabel.load(str(ref.path)))
            array = np.asarray(image.dataobj, dtype=np.float32)
        except Exception as error:  # damage shows as many unrelated kinds; the cause is kept
            raise ReadError("The file cannot be read as NIfTI.", where=ref.record_id, fix="export it again") from error
        if array.ndim != 3:
            raise ReadError(f"The file has {array.ndim} axes.", where=ref.record_id, expected="one volume of 3 axes")
        affine = np.asarray(image.affine, dtype=np.float64)
        facts = {
            "format": "nifti",
            "spacing_mm": [round(float(side), 6) for side in np.linalg.norm(affine[:3, :3], axis=0)],
            "affine": [[float(value) for value in row] for row in affine],
        }
        return Record(ref.record_id, self.name, np.ascontiguousarray(array), facts)


BRAIN_MRI = BrainMri()
