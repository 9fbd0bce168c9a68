"""The modalities by name, imported on first use."""

from __future__ import annotations

import importlib
from pathlib import Path

from medfm.core.names import unknown_name
from medfm.modalities.record import Modality, Record, RecordRef

# name -> "module:object"; later modalities add a line here and a file beside this one.
_MODALITIES = {
    "blood_cell": "medfm.modalities.blood_cell:BLOOD_CELL",
    "brain_mri": "medfm.modalities.brain_mri:BRAIN_MRI",
    "chest_xray": "medfm.modalities.chest_xray:CHEST_XRAY",
    "ecg": "medfm.modalities.ecg:ECG",
    "histopathology": "medfm.modalities.histopathology:HISTOPATHOLOGY",
    "retina": "medfm.modalities.retina:RETINA",
}


def list_modalities() -> list[str]:
    """Names of the modalities this version reads."""
    return sorted(_MODALITIES)


def get_modality(name: str) -> Modality:
    """The modality called `name`; raises :class:`UnknownNameError` with near names."""
    if name not in _MODALITIES:
        raise unknown_name("modality", name, _MODALITIES)
    module, _, attribute = _MODALITIES[name].partition(":")
    modality: Modality = getattr(importlib.import_module(module), attribute)
    return modality


def read_record(path: str | Path, modality: str, **options: object) -> Record:
    """Read one file by hand, outside any cohort.

    Args:
        path: The file.
        modality: Name of the modality, such as ``"blood_cell"``.
        options: Reader options, such as ``box=[x0, y0, x1, y1]``.
    """
    file = Path(path)
    return get_modality(modality).read(RecordRef(file.name, file.absolute(), dict(options)))
