"""The setting ``text.window`` of recipes: what is read of a text that is longer than the tower takes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medfm.core.config import StrictConfig

Kind = Literal["truncate", "random_window", "random_sentence", "sentences"]


class TextWindow(StrictConfig):
    """How texts are brought to the length that the tower takes."""

    kind: Kind = Field(
        "truncate",
        description="cut off the end; a random stretch per step; a random sentence per step (ConVIRT); "
        "the mean over windows of whole sentences",
    )
    most: int = Field(8, ge=1, le=64, description="windows per text at most (sentences); the rest is not read")
