"""Settings of the few-shot adapters, every published quirk under a name."""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import Field, field_validator

from medfm.core.config import StrictConfig

TUNED_ON_TEST = (
    "Settings of this method were chosen on the test records themselves, as published: the figure is too high and says "
    "nothing certain about new records."
)
Rule = Literal["none", "validation", "test"]
SelectionMetric = Literal["log_loss", "accuracy", "balanced_accuracy", "auroc"]


class FewShot(StrictConfig):
    """Which records train: k per class, drawn again and again."""

    shots: tuple[int, ...] = Field((1, 2, 4, 8, 16), description="records per class; the largest is the headline")
    draws: int = Field(5, ge=1, description="repeated draws of every number of shots")
    seed: int = Field(0, ge=0)
    per_patient: int | None = Field(
        1, ge=1, description="records a patient gives before others have given theirs; null: records drawn freely"
    )
    validation_shots: int | None = Field(
        None, ge=1, description="records per class that choose settings, of other patients; as many as shots when null"
    )
    draw: Literal["by_patient", "flair"] = Field(
        "by_patient",
        description="nested and by patient inside the scheme's training records; or FLAIR's own random hold-outs by "
        "record over the whole cohort, as published",
    )
    flair_test: str = Field("20%", pattern=r"^[0-9]+%?$", description="test part of a flair draw: share or count")

    @field_validator("shots")
    @classmethod
    def _rising(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or any(v < 1 for v in values) or any(a >= b for a, b in itertools.pairwise(values)):
            raise ValueError("shots must be whole numbers from 1 on that rise")
        return values


class Prompts(StrictConfig):
    """Where the text vector of each class comes from; as of the zero-shot protocols."""

    strategy: str = Field("synonyms@1", description="prompt strategy, name@version; file@1 takes prompt_file")
    templates: tuple[str, ...] = Field((), description="for templates@1, each with {name}; the knowledge's when empty")
    knowledge: str | None = Field(None, description="domain or YAML file; null: the cohort's modality")
    label_set: str | None = Field(None, description="label set of the knowledge; null: the cohort's own, or none")
    prompt_file: str | None = Field(None, description="JSON or YAML of LABEL: text, for file@1")
    lower_case: bool | None = Field(None, description="lower-case every text; null: as the encoder's card says")
    renormalise: bool = Field(True, description="bring the mean of a class's texts to length 1 (FLAIR does not)")


class Training(StrictConfig):
    """AdamW on small models; all draws of one size train together."""

    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0, description="decoupled")
    eps: float = Field(1e-8, gt=0, description="of AdamW")
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(16, ge=1)
    schedule: Literal["none", "cosine"] = Field("cosine", description="cosine falls to 0 over all steps")
    reshuffle: bool = Field(True, description="another order every epoch; the published code shuffles once")


class ClipAdapter(StrictConfig):
    """CLIP-Adapter: a bottleneck on the embedding, mixed with it, against the text vectors."""

    kind: Literal["clip_adapter"] = "clip_adapter"
    prompts: Prompts = Prompts()
    scale: float | None = Field(None, gt=0, description="multiplier of cosines; null: the encoder's own, else 100")
    reduction: int = Field(4, ge=1, description="width of the bottleneck is d / reduction")
    ratio: tuple[float, ...] = Field((0.2,), description="share of the adapted embedding; several are chosen from")
    search: Rule = Field("validation", description="what chooses among several ratios")
    selection_metric: SelectionMetric = "log_loss"
    training: Training = Training()


class TipAdapter(StrictConfig):
    """TIP-Adapter: a cache of the shots beside the text vectors; trainable keys make it TIP-Adapter-F."""

    kind: Literal["tip_adapter"] = "tip_adapter"
    prompts: Prompts = Prompts()
    scale: float | None = Field(None, gt=0, description="multiplier of cosines; null: the encoder's own, else 100")
    alpha: tuple[float, ...] = Field((1.0,), description="weight of the cache; several are chosen from")
    beta: tuple[float, ...] = Field((5.0,), description="sharpness of the cache; several are chosen from")
    search: Rule = Field("validation", description="what chooses among several; test is as published, and wrong")
    selection_metric: SelectionMetric = "log_loss"
    train_keys: bool = Field(False, description="TIP-Adapter-F")
    training_logits: Literal["as_predicted", "flair"] = Field(
        "as_predicted", description="flair trains scale x (text + cache / n) and predicts another sum, as published"
    )
    queries_drift: bool = Field(
        False, description="training queries share memory with the keys and move with them, as in FLAIR's code"
    )
    epoch: Literal["last", "best_validation", "best_test"] = Field(
        "last", description="which epoch of TIP-Adapter-F is used; best_test is as published, and wrong"
    )
    training: Training = Training(epochs=20)


class ZeroShotLinear(StrictConfig):
    """A linear probe that starts from the zero-shot classifier and is held to it by its L2 penalty."""

    kind: Literal["zero_shot_linear"] = "zero_shot_linear"
    prompts: Prompts = Prompts()
    scale: float | None = Field(None, gt=0, description="multiplier of cosines; null: the encoder's own, else 100")
    grid: tuple[float, ...] = Field(
        (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0), description="C values; small stays zero-shot, large forgets the texts"
    )
    search: Rule = "validation"
    selection_metric: SelectionMetric = "log_loss"
    class_weight: Literal["none", "balanced"] = "none"


class AttentiveProbe(StrictConfig):
    """Learned queries over the patch tokens, then a linear layer."""

    kind: Literal["attentive_probe"] = "attentive_probe"
    form: Literal["single", "multi"] = Field(
        "single", description="one query, pooled tokens; or several queries, each with its slice of projected tokens"
    )
    queries: int = Field(8, ge=1, description="of the form 'multi'; divides the projected width")
    width: int = Field(256, ge=1, description="of the projected tokens of the form 'multi'")
    training: Training = Training(epochs=60, weight_decay=0.05)


class MomentProbe(StrictConfig):
    """First and second moments of the patch tokens of a record, then a linear probe."""

    kind: Literal["moment_probe"] = "moment_probe"
    width: int = Field(32, ge=1, description="tokens are projected at random to this width before the second moments")
    power: float = Field(0.5, gt=0, le=1, description="sign(x) |x|^power on the second moments")
    seed: int = Field(0, ge=0, description="of the projection")


AdapterMethod = ClipAdapter | TipAdapter | ZeroShotLinear | AttentiveProbe | MomentProbe
TEXT_METHODS = (ClipAdapter, TipAdapter, ZeroShotLinear)
TOKEN_METHODS = (AttentiveProbe, MomentProbe)
