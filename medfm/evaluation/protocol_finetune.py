"""Settings of the evaluation of a fine-tuned encoder; how it is trained is a recipe's matter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medfm.core.config import StrictConfig


class FineTune(StrictConfig):
    """Train by a recipe on the split ``train``, test once on ``test``, beside a probe of the untouched encoder."""

    kind: Literal["finetune"] = "finetune"
    beside: str = Field(
        "linear-probe@1",
        description="protocol that the untouched encoder is evaluated by on the same split; empty: none",
    )
