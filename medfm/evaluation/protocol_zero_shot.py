"""The method ``zero_shot`` of a protocol, with the switches in which published procedures differ."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medfm.core.config import StrictConfig


class ZeroShot(StrictConfig):
    """Cosine between a record and the prompts of each label; nothing is trained."""

    kind: Literal["zero_shot"] = "zero_shot"
    strategy: str = Field("synonyms@1", description="prompt strategy, name@version; file@1 takes prompt_file")
    templates: tuple[str, ...] = Field(
        (), description="for templates@1 and expert@1, each with {name}; the label set's or knowledge's when empty"
    )
    names: Literal["own", "published"] = Field(
        "own", description="ask with the knowledge's class names, or with the names a paper gave the label set"
    )
    paper: str | None = Field(
        None, description="under published names: whose label sets are meant (quilt: those named SET-quilt)"
    )
    knowledge: str | None = Field(None, description="domain or YAML file; null: the cohort's modality")
    label_set: str | None = Field(None, description="label set of the knowledge; null: the cohort's own, or none")
    prompt_file: str | None = Field(None, description="JSON or YAML of LABEL: text, for file@1")
    file_as: Literal["texts", "flair"] = Field(
        "texts",
        description="the file's texts as they are; or as FLAIR uses its dictionary: each in the template, the name "
        "added at the end, a name that the file lacks asked alone",
    )
    without_file: str | None = Field(
        None,
        description="strategy in place of file@1 where no prompt file is given; the result then never counts as "
        "reproduced",
    )
    lower_case: bool | None = Field(None, description="lower-case every text; null: as the encoder's card says")
    prototype: Literal["unit", "mean"] = Field(
        "unit", description="mean of unit text vectors, brought to unit length again or (FLAIR) not"
    )
    together: bool = Field(
        False, description="encode the prompts of a label as one padded group, as FLAIR does; elsewhere without effect"
    )
    weighting: Literal["none", "zpe", "consensus"] = Field("none", description="prompt weights without labels")
    multiclass_score: Literal["softmax", "cosine"] = Field(
        "softmax", description="of one label column: softmax(cosine / temperature), or (1 + cosine) / 2"
    )
    temperature: float = Field(0.07, gt=0, description="of that softmax and of zpe")
    temperature_from: Literal["protocol", "encoder"] = Field(
        "protocol", description="the number above, or 1 / exp(logit_scale) of the weights, where they hold one"
    )
    split: Literal["test", "val", "train", "all"] = Field(
        "test", description="records that are scored; all of them where the cohort has no split"
    )
    best_f1: bool = Field(False, description="also the best F1 over all thresholds, chosen on the scored records")
