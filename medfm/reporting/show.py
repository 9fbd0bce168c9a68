"""How a record of each modality is shown: as a drawing to scale, with its facts, and in a report.

A modality is shown by an object with the two methods of :class:`Shower`, in a file of its own
that is named in the table below; a modality without one cannot be drawn, and says so.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from medfm.core.config import StrictConfig
from medfm.core.errors import ConfigError
from medfm.core.names import did_you_mean
from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

# modality -> "module:object"; later modalities add a line here and a file beside this one.
_SHOWERS = {
    "blood_cell": "medfm.reporting.show_picture:PICTURE",
    "histopathology": "medfm.reporting.show_picture:PICTURE",
    "chest_xray": "medfm.reporting.show_chest:CHEST_PICTURE",
    "brain_mri": "medfm.reporting.show_volume:VOLUME_PANELS",
    "ecg": "medfm.reporting.show_ecg:ECG_SHEET",
    "retina": "medfm.reporting.show_retina:RETINA_PICTURE",
}


class Shower(Protocol):
    """Draws the records of one modality.

    Attributes:
        settings: The settings of :meth:`draw`, all with defaults.
        columns: Drawings side by side on a contact sheet.
    """

    settings: type[StrictConfig]
    columns: int

    def draw(self, record: Record, settings: Any, encoder: Encoder | None = None, synthetic: bool = False) -> Drawing:
        """The record to scale; with an encoder also where it looked, if it can tell."""
        ...

    def in_report(
        self, records: Sequence[Record], encoder: Encoder | None = None, synthetic: bool = False
    ) -> list[bytes]:
        """A small JPEG or SVG file of each record, for a report."""
        ...


def shower(modality: str) -> Shower:
    """What draws the records of a modality.

    Raises:
        ConfigError: Nothing does.
    """
    if modality not in _SHOWERS:
        raise ConfigError(
            f"Records of modality '{modality}' cannot be drawn.",
            expected=", ".join(sorted(_SHOWERS)),
            fix=did_you_mean(modality, _SHOWERS),
        )
    module, _, attribute = _SHOWERS[modality].partition(":")
    found: Shower = getattr(importlib.import_module(module), attribute)
    return found


def facts_table(record: Record) -> list[tuple[str, str]]:
    """The acquisition facts of a record as rows for people; readers put no text of a file among them."""
    rows = [("record", record.record_id), ("modality", record.modality)]
    rows += [("shape", " x ".join(map(str, record.array.shape)) + f", {record.array.dtype}")]
    return rows + [(key.replace("_", " "), _words(value)) for key, value in record.facts.items() if _given(value)]


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, (list, tuple, dict, str)) and not value)


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        parts = [" ".join(map(str, part)) if isinstance(part, (list, tuple)) else _words(part) for part in value]
        return ", ".join(parts[:12]) + (f" and {len(parts) - 12} more" if len(parts) > 12 else "")
    return str(value)
