"""Make one network of several fine-tuned models: the average of their weights, and of their classifiers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from medfm.core.errors import TrainingError
from medfm.encoders.encoder import Encoder
from medfm.encoders.published import family_of
from medfm.training.finetune_batches import Inputs
from medfm.training.finetune_labels import Labels
from medfm.training.soup import (
    SoupRule,
    Tasted,
    average_states,
    greedy_choice,
    measure_statistics,
    moved_statistics,
)
from medfm.training.tuned import TunedClassifier, load_classifier, save_classifier

if TYPE_CHECKING:
    from medfm.encoders.card_schema import TrainingSet

Quality = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Ingredient:
    """A fine-tuned model, and what it is called in messages."""

    name: str
    encoder: Encoder
    classifier: TunedClassifier


@dataclass(frozen=True)
class Soup:
    """What :func:`make_soup` gives.

    Attributes:
        network: The averaged network, on the CPU, in evaluation mode.
        weight: float32 (outputs, d) of the averaged classifier.
        bias: float32 (outputs,).
        labels: What it predicts; a regression in its own unit.
        kept: Numbers of the models that are in it.
        alone: Quality of each model by itself on validation records; empty without such records.
        steps: Of the greedy choice; empty for a uniform soup.
        quality: Of the soup on validation records; ``None`` without such records.
        measured: Number of BatchNorm layers whose statistics were measured anew.
    """

    network: nn.Module
    weight: Tensor
    bias: Tensor
    labels: Labels
    kept: tuple[int, ...]
    alone: tuple[float, ...] = ()
    steps: tuple[Tasted, ...] = ()
    quality: float | None = None
    measured: int = 0


def load_ingredients(folders: Sequence[str | Path], device: str = "auto") -> list[Ingredient]:
    """The models in folders of fine-tuning runs (or the ``model`` folders in them).

    Raises:
        WeightsError: A folder holds none, or one that is damaged.
    """
    from medfm.encoders.load import load_encoder

    found = []
    for folder in folders:
        classifier = load_classifier(folder)
        assert classifier.folder is not None
        variant = classifier.about.get("preprocessing_variant")
        found.append(
            Ingredient(str(folder), load_encoder(classifier.folder, device=device, variant=variant), classifier)
        )
    return found


def check_same_kind(ingredients: Sequence[Ingredient]) -> None:
    """Refuse models whose average means nothing.

    Raises:
        TrainingError: Fewer than two models, the same one twice, another start, architecture, preprocessing or target.
    """
    if len(ingredients) < 2:
        raise TrainingError("A soup is made of two models or more.", fix="name another run")
    first = ingredients[0]
    for other in ingredients[1:]:
        for what, one, two in (
            ("network", _network(first), _network(other)),
            ("preprocessing", first.encoder.preprocess.digest, other.encoder.preprocess.digest),
            ("encoder that training started from", _start(first), _start(other)),
            ("target", _target(first), _target(other)),
        ):
            if one != two:
                raise TrainingError(
                    f"These models cannot be averaged: the {what} is not the same.",
                    where=f"{first.name} ({_short(one)}), {other.name} ({_short(two)})",
                    expected="models fine-tuned from the same weights for the same classes",
                    fix="leave one out; predictions of any models can be averaged instead (medfm predict for each)",
                )
    seen: dict[str, str] = {}
    for part in ingredients:
        key = part.encoder.fingerprint + str(part.classifier.about.get("weights_sha256"))
        if key in seen:
            raise TrainingError(
                "The same model is named twice.", where=f"{seen[key]}, {part.name}", fix="leave one out"
            )
        seen[key] = part.name


def _network(one: Ingredient) -> str:
    spec = one.encoder.card.spec.architecture
    return f"{spec.family} {dict(sorted(spec.args.items()))}, {tuple(one.classifier.weight.shape)}"


def _start(one: Ingredient) -> str:
    start = one.classifier.about.get("from_encoder") or {}
    return f"{start.get('id')}, fingerprint {start.get('fingerprint')}"


def _target(one: Ingredient) -> str:
    labels = one.classifier.labels
    return f"{labels.kind} '{labels.name}': {', '.join(labels.classes) or 'a measurement'}"


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


class _Pot:
    """Averages of the ingredients' networks, one at a time."""

    def __init__(self, ingredients: Sequence[Ingredient], learning: Inputs | None) -> None:
        self.parts, self.learning = ingredients, learning
        self.device = ingredients[0].encoder.device
        self.network = copy.deepcopy(ingredients[0].encoder.module)
        family = family_of(ingredients[0].encoder.card)[0]
        self.embed: Callable[[Tensor], Tensor] = lambda x: family.embed(self.network, x)
        self.measured = 0

    def stir(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Average these models into the network; the averaged classifier, float64."""
        states = [self.parts[i].encoder.module.state_dict() for i in numbers]
        self.network.load_state_dict(average_states([{k: v.cpu() for k, v in s.items()} for s in states]))
        moved = moved_statistics(self.network, states)
        if moved and self.learning is None:
            raise TrainingError(
                f"The runs changed the BatchNorm statistics of {len(moved)} layers, and the statistics of an averaged "
                "network are not the average of those.",
                expected="training records to measure them on",
                fix="--table TABLE with the records of the split 'train', or runs with trained_batchnorm: eval",
            )
        if moved and self.learning is not None:
            measure_statistics(self.network, moved, self.embed, self.learning, self.device)
        self.measured = len(moved)
        lines = [_affine(self.parts[i].classifier) for i in numbers]
        weight, bias = (torch.stack(every).mean(dim=0) for every in zip(*lines, strict=True))
        return weight, bias

    @torch.inference_mode()
    def vectors(self, inputs: Inputs) -> Tensor:
        """float64 (n, d)."""
        self.network.eval()
        parts = []
        for start in range(0, len(inputs), 64):
            rows = torch.stack([inputs[i] for i in range(start, min(start + 64, len(inputs)))])
            parts.append(self.embed(rows.to(self.device)).double().cpu())
        return torch.cat(parts)


def _affine(classifier: TunedClassifier) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64; of a regression in its own unit, since every run scales it by its own records."""
    weight, bias, labels = classifier.weight.double(), classifier.bias.double(), classifier.labels
    if labels.kind != "regression":
        return weight, bias
    return weight * labels.spread, bias * labels.spread + labels.centre


def make_soup(
    ingredients: Sequence[Ingredient],
    rule: SoupRule,
    *,
    learning: Inputs | None = None,
    choosing: Inputs | None = None,
    quality: Quality | None = None,
) -> Soup:
    """Average fine-tuned models: all of them, or those that a greedy search on validation records keeps.

    Args:
        ingredients: From :func:`load_ingredients`.
        rule: ``"uniform"`` or ``"greedy"``.
        learning: Preprocessed training records, for BatchNorm statistics; needed only where those moved.
        choosing: Preprocessed validation records that no model has learned from.
        quality: Scores of those records -> quality, higher is better.

    Raises:
        TrainingError: The models do not fit each other, or records that are needed are missing.
    """
    check_same_kind(ingredients)
    if rule == "greedy" and (choosing is None or quality is None):
        raise TrainingError(
            "A greedy soup needs validation records to choose by.", fix="--rule uniform, or --table TABLE"
        )
    given = ingredients[0].classifier.labels
    labels = Labels(given.task, given.kind, given.classes, given.name)
    pot = _Pot(ingredients, learning)
    numbers, alone = list(range(len(ingredients))), []
    steps: list[Tasted] = []

    def taste(kept: Sequence[int]) -> float:
        assert choosing is not None and quality is not None
        weight, bias = pot.stir(kept)
        return quality(labels.scores(pot.vectors(choosing) @ weight.T + bias))

    if choosing is not None and quality is not None:
        alone = [taste([i]) for i in numbers]
        if rule == "greedy":
            numbers, steps = greedy_choice(alone, taste)
    final = taste(numbers) if alone else None
    weight, bias = pot.stir(numbers)
    return Soup(
        pot.network.cpu().eval(),
        weight.float(),
        bias.float(),
        labels,
        tuple(numbers),
        tuple(alone),
        tuple(steps),
        final,
        pot.measured,
    )


def write_soup(
    folder: Path,
    soup: Soup,
    ingredients: Sequence[Ingredient],
    *,
    encoder_id: str,
    title: str,
    prose: str,
    threshold: float,
    rule: str,
    about: dict[str, Any],
    training_data: Sequence[TrainingSet] | None = None,
    device: str = "auto",
) -> tuple[TunedClassifier, Encoder]:
    """Write the soup as a model that loads like any fine-tuned one; give its classifier and encoder back as they load."""
    from medfm.encoders.load import load_encoder
    from medfm.encoders.save import save_encoder
    from medfm.reporting.words import count

    first = ingredients[0]
    kept = [ingredients[i] for i in soup.kept]
    seen: dict[tuple[str, str | None], TrainingSet] = {}
    for one in kept:
        seen |= {(s.name, s.split): s for s in one.encoder.card.spec.training_data}
    deviations = dict.fromkeys(line for one in kept for line in one.encoder.card.spec.deviations)
    save_encoder(
        folder,
        soup.network,
        first.encoder.card,
        encoder_id=encoder_id,
        title=title,
        summary=f"Average of the weights of {count(len(soup.kept), 'fine-tuned model')} ('{soup.labels.name}').",
        prose=prose,
        training_data=list(seen.values()) if training_data is None else training_data,
        deviations=list(deviations),
    )
    fresh = load_encoder(folder, device=device, variant=first.encoder.variant)
    known = {key: first.classifier.about.get(key) for key in ("from_encoder", "preprocessing_variant")}
    synthetic = any(one.classifier.about.get("synthetic") for one in kept)
    classifier = TunedClassifier(
        soup.labels, soup.weight, soup.bias, threshold, rule, {**known, "synthetic": synthetic, **about}, folder
    )
    save_classifier(folder, classifier, fresh.fingerprint)
    return load_classifier(folder), fresh
