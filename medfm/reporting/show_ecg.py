"""ECGs are shown as the sheet that clinicians know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medfm.core.config import StrictConfig
from medfm.core.errors import CardError
from medfm.modalities.record import Record
from medfm.reporting.drawing import Drawing
from medfm.reporting.ecg_sheet import ecg_sheet
from medfm.reporting.ecg_sheet_layout import SheetSettings

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder


class EcgShower:
    """See :class:`medfm.reporting.show.Shower`."""

    settings: type[StrictConfig] = SheetSettings
    columns = 1

    def draw(
        self, record: Record, settings: SheetSettings, encoder: Encoder | None = None, synthetic: bool = False
    ) -> Drawing:
        """The sheet; with an encoder that pools by attention also the heat strip.

        Raises:
            CardError: The encoder is for another modality, or does not pool by attention.
        """
        if encoder is None:
            return ecg_sheet(record, settings, synthetic=synthetic)
        from medfm.encoders.attention import time_attention

        if encoder.modality != record.modality:
            raise CardError(f"The encoder '{encoder.id}' is for {encoder.modality} records, not for {record.modality}.")
        return ecg_sheet(record, settings, time_attention(encoder, [record])[0], synthetic)

    def in_report(
        self, records: Sequence[Record], encoder: Encoder | None = None, synthetic: bool = False
    ) -> list[bytes]:
        """SVG sheets, with the heat strip where `encoder` pools by attention."""
        attention = None
        if encoder is not None and encoder.modality == "ecg" and encoder.has_attention:
            from medfm.encoders.attention import time_attention

            attention = time_attention(encoder, records)
        return [
            ecg_sheet(record, None, None if attention is None else attention[i], synthetic).svg().encode()
            for i, record in enumerate(records)
        ]


ECG_SHEET = EcgShower()
