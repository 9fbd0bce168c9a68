"""Records whose embeddings by the untouched encoder are known already."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medfm.training.finetune_batches import Inputs


@dataclass(frozen=True)
class KnownInputs:
    """Preprocessed records by position, with embeddings that save a pass through an encoder that has not moved.

    Attributes:
        records: The records.
        embeddings: float32 (n, d), of the same records by the untouched encoder.
    """

    records: Inputs
    embeddings: Tensor

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Tensor:
        return self.records[index]
