"""What few-shot methods are fitted on, and what to say where it is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError

DEFAULT_SCALE = 100.0


@dataclass(frozen=True)
class AdapterInputs:
    """Frozen inputs of n records.

    Attributes:
        values: float32 (n, d) embeddings.
        text: float (K, d) one vector per class in the target's order; ``None`` without a text tower.
        scale: The encoder's own multiplier of cosines; ``None`` where it has none.
        tokens: float32 (n, T, w) patch tokens, may be memory-mapped; ``None`` without tokens.
    """

    values: np.ndarray
    text: np.ndarray | None = None
    scale: float | None = None
    tokens: np.ndarray | None = None

    def text_vectors(self, classes: int) -> np.ndarray:
        """float64 (K, d).

        Raises:
            EvaluationError: There are none, or of another shape.
        """
        if self.text is None:
            raise EvaluationError(
                "This method needs a text vector per class, and there is none.",
                expected="an encoder with a text tower, and a prompt for every class",
                fix="choose an encoder with a text tower (medfm encoders), or flair-lp@1, attentive-probe@1, "
                "moment-probe@1",
            )
        if self.text.shape != (classes, self.values.shape[1]):
            raise EvaluationError(
                f"Text vectors of shape {self.text.shape} do not fit {classes} classes and embeddings of width "
                f"{self.values.shape[1]}.",
                expected="records and texts embedded in one space",
                fix="use the encoder's projected embedding, not the features under it",
            )
        return np.asarray(self.text, dtype=np.float64)

    def patch_tokens(self) -> np.ndarray:
        """float32 (n, T, w).

        Raises:
            EvaluationError: There are none.
        """
        if self.tokens is None:
            raise EvaluationError(
                "This method needs patch tokens, and there are none.",
                expected="an encoder with tokens, named with --encoder",
                fix="choose a vision transformer or a network with a feature map; embeddings in a file hold no tokens",
            )
        return self.tokens

    def multiplier(self, given: float | None) -> float:
        """The multiplier of cosines: as set, else the encoder's own, else 100."""
        return given if given is not None else self.scale if self.scale is not None else DEFAULT_SCALE
