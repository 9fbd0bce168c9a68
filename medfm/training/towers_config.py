"""Recipes of networks with a picture tower and a text tower: CLIP, FLAIR, ConVIRT."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig
from medfm.training.pairs_config import PairsOptimisation, PairsRecipe, TextRule
from medfm.training.text_window_rule import TextWindow

NAME = "{name}"


class TowersText(TextRule):
    """Where the texts are and what of the text tower learns."""

    trained_layers: int | Literal["all"] = Field(
        "all", description="how many last layers of the tower learn; 0: none of it, all: everything"
    )


class Categories(StrictConfig):
    """One column that says what is in the picture."""

    column: str = Field(description="column of the cohort; several categories of one record stand between '|'")
    label_set: str | None = Field(
        None, description="label set of the knowledge base that names the values [the values are names]"
    )
    names: dict[str, str] = Field({}, description="value -> name, where no label set has it")


class FlairText(TowersText):
    """FLAIR's texts: prompts around a category, drawn in every step."""

    source: Literal["categories", "reports"] = Field(
        "reports", description="prompts made of categories, or reports; categories say who is whose partner"
    )
    categories: tuple[Categories, ...] = Field((), description="columns with categories; none: equal reports belong")
    template: str = Field("A fundus photograph of {name}", description="prompt around a category")
    knowledge: bool = Field(
        True, description="draw from name, synonyms and findings of the knowledge base, not the name alone"
    )
    dictionary: str | None = Field(
        None, description="YAML file, category name -> list of phrases, instead of the knowledge base (FLAIR's own)"
    )
    leave_out: tuple[str, ...] = Field(
        (), description="records with a category that contains one of these are left out"
    )

    @model_validator(mode="after")
    def _prompts(self) -> FlairText:
        if self.source == "categories" and not self.categories:
            raise ValueError("source categories needs text.categories: at least one column")
        if NAME not in self.template:
            raise ValueError("template must hold {name}")
        return self


class Start(StrictConfig):
    """The first weights of the network, apart from those of the text tower (text.start)."""

    kind: Literal["random", "network", "picture_tower"] = Field(
        "random", description="random; a whole network of this architecture; the picture tower alone"
    )
    card: str | None = Field(None, description="id of the card whose weights are looked for on this machine")
    weights: str | None = Field(None, description="the file, instead")

    @model_validator(mode="after")
    def _named(self) -> Start:
        if self.kind == "random" and (self.card or self.weights):
            raise ValueError("weights are named, but start.kind is random")
        if self.kind != "random" and not (self.card or self.weights):
            raise ValueError("start needs start.card or start.weights")
        return self


class TowersOptimisation(PairsOptimisation):
    """AdamW or Adam, with or without decay of vectors."""

    optimiser: Literal["adamw", "adam"] = Field("adamw", description="adam: decay is part of the gradient (ConVIRT)")
    eps: float = Field(1e-8, gt=0, description="keeps the division by the second moment finite")
    decay: Literal["all", "matrices"] = Field(
        "all", description="what decays: everything, or only tensors of two and more axes (open_clip)"
    )
    schedule: Literal["warmup_cosine", "warm_restarts", "convirt_port"] = Field(  # type: ignore[assignment]
        "warmup_cosine",
        description="convirt_port: constant for ten epochs, then a cosine per epoch as long as an epoch has steps",
    )
    warmup_epochs: int | None = Field(None, ge=0, description="the warm-up in epochs, instead of warmup")
    cosine_epochs: int | None = Field(
        None,
        ge=1,
        description="end of the cosine, counted from the start, where it is not that of the run (FLAIR: 100)",
    )


class TowersRecipe(PairsRecipe):
    """What recipes of two towers have beyond those of every recipe on pairs."""

    any_picture: bool = Field(
        False, description="train on pictures of another modality than the card's; the result is of the cohort's"
    )
    start: Start = Start()
    augmentation: Literal["none", "open_clip", "flair", "convirt", "convirt_port", "tissue"] = Field(
        "none", description="named set of random changes of the pictures"
    )
    balance: str | None = Field(
        None, description="column whose values become equally frequent, drawn with replacement (FLAIR: the data set)"
    )
    text: TowersText = TowersText()
    optimisation: TowersOptimisation = TowersOptimisation()


class ClipRecipe(TowersRecipe):
    """A recipe of the CLIP family (QuiltNet, PathGen): every picture against every text of the batch."""

    family: Literal["clip"] = Field("clip", description="family of the recipe")
    encoder: str = Field("quiltnet-tiny", description="id of the model card whose architecture is trained")
    loss: Literal["clip", "siglip", "coca"] = Field(
        "clip", description="who is whose partner; each pair on its own; clip and a decoder that writes the text"
    )
    scale: float | None = Field(None, gt=0, le=100, description="first multiplier of the cosines [1 / 0.07; siglip 10]")
    bias: float = Field(-10.0, description="first value added to every logit (siglip)")
    caption: Annotated[float, Field(ge=0)] = Field(2.0, description="weight of the decoder's loss (coca)")
    decoder_layers: int = Field(2, ge=1, description="layers of the decoder, which is not part of the encoder (coca)")

    @model_validator(mode="after")
    def _one_text(self) -> ClipRecipe:
        if self.loss == "coca" and self.text.window.kind == "sentences":
            raise ValueError(
                "the decoder of loss coca writes one text per picture: text.window.kind sentences does not fit"
            )
        return self


class FlairRecipe(TowersRecipe):
    """A recipe of the FLAIR family: pictures and texts of one category are partners."""

    family: Literal["flair"] = Field("flair", description="family of the recipe")
    encoder: str = Field("flair-tiny", description="id of the model card whose architecture is trained")
    text: FlairText = FlairText()


class ConvirtRecipe(TowersRecipe):
    """A recipe of the ConVIRT family: two directions of different weight, a temperature that is not learned."""

    family: Literal["convirt"] = Field("convirt", description="family of the recipe")
    encoder: str = Field("convirt-tiny", description="id of the model card whose architecture is trained")
    temperature: float = Field(0.1, gt=0, description="divides the cosines")
    image_to_text: float = Field(0.75, ge=0, le=1, description="weight of the direction from picture to text")
    any_picture: bool = Field(
        True, description="pictures of another modality than the card's may be taken, as long as they have texts"
    )
    text: TowersText = TowersText(window=TextWindow(kind="random_sentence"))
