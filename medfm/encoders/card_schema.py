"""The machine-readable front matter of a model card: Hugging Face's fields and a ``medfm:`` block.

Unknown keys are errors everywhere, so that a misspelt field can never be silently ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from medfm.core.config import StrictConfig
from medfm.encoders.layouts import Layout
from medfm.encoders.preprocessing_steps import Step, check_order, on_signals, on_volumes

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FLAT = "flat"


class Architecture(StrictConfig):
    """Which network: a family of this package and its arguments."""

    family: str = Field(description="name of an architecture family, such as dinov2")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the family")


class HubFile(StrictConfig):
    """A file in a Hugging Face repository."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    filename: str
    revision: str | None = Field(None, description="commit; null means none is known and 'main' would be taken")
    sha256: Sha256 | None = Field(None, description="null: never seen by this project")
    layout: str = Field("", description="how the tensors are named and nested, for people")
    note: str = ""


class ArchiveFile(StrictConfig):
    """A file in an archive, downloaded by hand."""

    kind: Literal["archive"] = "archive"
    page: str = Field(description="web page of the record")
    filename: str
    sha256: Sha256 | None = None
    layout: str = ""
    note: str = ""


class LocalFile(StrictConfig):
    """A file beside the card (a model trained with this package)."""

    kind: Literal["file"] = "file"
    filename: str = Field(description="path relative to the card's folder")
    sha256: Sha256 | None = None
    layout: str = ""
    note: str = ""
    trained_here: bool = Field(False, description="written by medfm pretrain or finetune")

    @field_validator("filename")
    @classmethod
    def _inside(cls, value: str) -> str:
        if value.startswith(("/", "~")) or ".." in value.split("/"):
            raise ValueError("the file must lie in the card's own folder")
        return value


Source = Annotated[HubFile | ArchiveFile | LocalFile, Field(discriminator="kind")]


class KeyMap(StrictConfig):
    """From the names in a checkpoint to the plain names of the network, as data."""

    nesting: tuple[str, ...] = Field(
        ("teacher", "state_dict", "model", FLAT), description="where the tensors may lie, first match wins"
    )
    drop: tuple[str, ...] = Field(
        (),
        description="tensors with one of these words between the dots, of their name in the file or of their plain name, are not needed",
    )
    within: tuple[str, ...] = Field(
        (),
        description="beginnings of names of one network in a file of several: where one occurs, the first that does is "
        "taken off and everything else is not needed",
    )
    prefixes: tuple[str, ...] = Field(("module.", "backbone."), description="taken off the front, in this order")
    layouts: tuple[Layout, ...] = Field((), description="layouts of other libraries that are translated first")
    starts: dict[str, str] = Field(
        default_factory=dict, description="beginning of a name -> its plain form; the first that fits counts"
    )
    renames: dict[str, str] = Field(default_factory=dict, description="dotted part of a name -> its plain form")
    optional: tuple[str, ...] = Field((), description="plain names that a checkpoint may lack")
    absent_together: tuple[str, ...] = Field(
        (), description="first words of plain names that a checkpoint may lack, but only all of them (a text tower)"
    )


class Weights(StrictConfig):
    """Where the weights are and how to read them."""

    needed: bool = Field(True, description="false for a fixed formula, which has no weights at all")
    sources: tuple[Source, ...] = Field((), description="in order of preference; none: no published weights exist")
    key_map: KeyMap = KeyMap()
    safe_globals: tuple[str, ...] = Field((), description="extra harmless Python names the pickle may use")


class InputSpec(StrictConfig):
    """The tensor that the network takes."""

    shape: tuple[int, ...] = Field(
        min_length=2,
        max_length=4,
        description="channels, height, width of a picture; leads, samples of a signal; channel and three sides of a volume",
    )
    dtype: Literal["float32"] = "float32"
    units: str = Field("", description="physical meaning of the values")
    channel_order: str = Field("rgb", description="colours, or leads, in the order of the network")
    other_sizes: bool = Field(False, description="whether another height and width (multiples of the patch) may be fed")


class EmbeddingSpec(StrictConfig):
    """What comes out."""

    what: Literal["cls", "pooled", "projected"] = "cls"
    dim: int = Field(ge=1)
    normalised: bool = Field(False, description="whether vectors have length 1")


class TextSpec(StrictConfig):
    """The text tower, where there is one."""

    tower: str = Field(description="what people call it")
    kind: Literal["word_pieces", "clip_bpe"] = Field(
        "word_pieces",
        description="word_pieces: BERT's, from a file; clip_bpe: CLIP's byte pairs, which come with open_clip",
    )
    tokenizer: str | None = Field(
        pattern=r"^[\w.-]+/[\w.-]+$", description="hub repository of its vocabulary; null: only beside the card"
    )
    revision: str | None = Field(None, description="commit of that repository; null: none is known")
    max_tokens: int = Field(ge=2, description="longer texts are cut off, special tokens counted")
    lower_case: bool = Field(True, description="whether texts are lower-cased first")


class TrainingSet(StrictConfig):
    """A data set the weights may have seen; evaluation on it is flagged."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the cohort adapter, or a short word")
    title: str
    status: Literal["used", "likely", "held out", "unknown"] = "likely"
    note: str = ""
    split: str | None = Field(None, description="the only split it saw; null: all of it, or not known")

    def named(self) -> str:
        """The name, with the split where one is known: ``"bmc"``, ``"mine (split train)"``."""
        return self.name if self.split in (None, "all") else f"{self.name} (split {self.split})"


class PublishedResult(StrictConfig):
    """A figure somebody published, never one that was measured here."""

    name: str
    dataset: str = Field(description="what people call it")
    cohort: str = Field(description="cohort adapter that reads it")
    target: str | None = Field(
        description="cohort column, or the label set of a multilabel cohort; null: the cohort's own target or targets"
    )
    protocol: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*@[0-9]+$", description="name@version")
    split: str = Field("test", description="which records are tested on, in words")
    metric: str
    variant: str | None = Field(None, description="such as k=20")
    value: float | None = Field(None, description="as published, 0 to 1; null: not sourced")
    spread: float | None = Field(None, ge=0, description="published standard deviation")
    source: str = Field(description="table or page the value was read from")
    sourcing: Literal["paper table", "secondary", "unverified"]
    tolerance: float = Field(0.01, gt=0, description="absolute difference still counted as reproduced")
    note: str = ""

    @model_validator(mode="after")
    def _honest(self) -> PublishedResult:
        if self.value is None and self.sourcing != "unverified":
            raise ValueError("a result without a value has sourcing 'unverified'")
        return self


class Part(StrictConfig):
    """A network beside the encoder."""

    args: dict[str, Any] = Field(default_factory=dict, description="its sizes; left out: the published ones")
    parameters: int | None = Field(None, ge=1, description="count, all tensors of the network")
    weights: Weights = Weights()


class Generator(StrictConfig):
    """The networks that make records from the encoder's codes: a latent diffusion autoencoder (LDAE)."""

    kind: Literal["ldae"] = "ldae"
    latent_scale: float = Field(
        gt=0, description="latents are multiplied by it before diffusion and divided by it before decoding"
    )
    latent_shape: tuple[int, int, int, int] = Field(description="channels and sides of the latent of one input")
    schedule: Literal["linear", "cosine"] = Field("linear", description="how the noise grows")
    timesteps: int = Field(1000, ge=2)
    prediction: Literal["epsilon", "velocity"] = Field(
        "epsilon", description="what the denoisers predict: the noise (published), or the velocity it follows from"
    )
    clip: float | None = Field(1.0, gt=0, description="clean latents are clamped to it in every step; null: never")
    steps: int = Field(100, ge=1, description="sampling steps of the published evaluation")
    autoencoder: Part = Field(Part(), description="volume to latent and back (stage 1)")
    prior: Part = Field(Part(), description="denoiser without a code (stage 2)")
    denoiser: Part = Field(Part(), description="denoiser that a code steers (stage 3)")
    head: tuple[Source, ...] = Field(
        (), max_length=3, description="files of a published linear head: weights, mean and deviation of the codes"
    )

    @field_validator("head")
    @classmethod
    def _all_or_none(cls, files: tuple[Source, ...]) -> tuple[Source, ...]:
        if len(files) not in (0, 3):
            raise ValueError("a head is three files: weights, mean, deviation")
        return files


class ClassifierSpec(StrictConfig):
    """The published classifier behind the embedding."""

    classes: tuple[str, ...] = Field(min_length=1, description="what its answers are called, in the order of the file")
    not_trained: tuple[str, ...] = Field((), description="classes that no training set had: their answers mean nothing")
    operating_points: tuple[float | None, ...] = Field(
        (), description="probability per class that is rescaled to 0.5 (output operating_point); null: not known"
    )

    @model_validator(mode="after")
    def _fits(self) -> ClassifierSpec:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ")
        foreign = [name for name in self.not_trained if name not in self.classes]
        if foreign:
            raise ValueError(f"not_trained names {foreign[0]}, which is no class")
        if self.operating_points and len(self.operating_points) != len(self.classes):
            raise ValueError("operating_points needs one entry per class")
        if any(point is not None and not 0 < point < 1 for point in self.operating_points):
            raise ValueError("an operating point lies between 0 and 1")
        return self


class EncoderSpec(StrictConfig):
    """The ``medfm:`` block."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="lower-case words with hyphens")
    title: str
    summary: str = Field(description="one sentence for the list")
    modality: str
    also_for: tuple[str, ...] = Field((), description="other modalities a general-purpose network may be used on")
    architecture: Architecture
    parameters: int | None = Field(None, ge=1, description="count, all tensors of the network")
    weights: Weights = Weights()
    input: InputSpec
    preprocessing: tuple[Step, ...]
    preprocessing_variants: dict[str, tuple[Step, ...]] = Field(
        default_factory=dict, description="other steps by name, for data sets that the publication treats otherwise"
    )
    embedding: EmbeddingSpec
    text: TextSpec | None = None
    classifier: ClassifierSpec | None = Field(None, description="the published classifier, where the card keeps it")
    generator: Generator | None = Field(None, description="networks that make records from its codes")
    gated: bool = Field(False, description="whether the hub asks for an agreement first")
    licence_note: str = Field("", description="conflicts or conditions a user must know")
    citation: str = ""
    training_data: tuple[TrainingSet, ...] = ()
    results: tuple[PublishedResult, ...] = ()
    deviations: tuple[str, ...] = Field((), description="where this differs from the publication, and traps")

    @field_validator("preprocessing")
    @classmethod
    def _steps(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        check_order(steps)
        return steps

    @field_validator("preprocessing_variants")
    @classmethod
    def _variants(cls, variants: dict[str, tuple[Step, ...]]) -> dict[str, tuple[Step, ...]]:
        for steps in variants.values():
            check_order(steps)
        return variants

    @model_validator(mode="after")
    def _one_kind(self) -> EncoderSpec:
        axes = _axes(self.preprocessing)
        if len(self.input.shape) != axes:
            needed = {2: "leads, samples", 3: "channels, height, width", 4: "channel and three sides"}[axes]
            raise ValueError(f"medfm.input.shape: the preprocessing gives {needed}, so {axes} numbers are needed")
        if any(_axes(steps) != axes for steps in self.preprocessing_variants.values()):
            raise ValueError(
                "medfm.preprocessing_variants: steps on pictures, signals and volumes cannot stand in one card"
            )
        return self


def _axes(steps: tuple[Step, ...]) -> int:
    """Axes of one preprocessed record."""
    return 2 if on_signals(steps) else 4 if on_volumes(steps) else 3


class CardHeader(StrictConfig):
    """The whole front matter."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)

    license: str
    license_name: str | None = None
    license_link: str | None = None
    language: str | None = None
    library_name: str = "medfm"
    pipeline_tag: str = "image-feature-extraction"
    base_model: str | None = None
    tags: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    model_index: tuple[dict[str, Any], ...] = Field((), alias="model-index")
    medfm: EncoderSpec
