"""Which texts a record may be shown with, and which of them it is in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medfm.core.config import read_yaml
from medfm.core.errors import ConfigError, TrainingError
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import build_prompts
from medfm.knowledge.schema import Knowledge
from medfm.training.towers_config import NAME, Categories, FlairText, TowersText

_STRATEGIES = ("synonyms@1", "findings@1")
_STREAM = 11  # keeps these draws apart from those of the order


@dataclass(frozen=True)
class TextChoices:
    """The texts of every record, by category.

    Attributes:
        options: For each record its categories, each with its number and the rows of its texts.
        texts: The different texts.
        categories: Their names by number.
    """

    options: tuple[tuple[tuple[int, tuple[int, ...]], ...], ...]
    texts: tuple[str, ...]
    categories: tuple[str, ...] = ()

    def draw(self, positions: Sequence[int], seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Text row and category of each record: int64 (n,) and (n,), a function of record, seed and step alone.

        A category of the record is drawn first, then one of its texts, both uniformly.
        """
        rows, groups = [], []
        for position in positions:
            source = np.random.default_rng(np.random.SeedSequence([seed, _STREAM, step, position]))
            own = self.options[position]
            group, texts = own[source.integers(len(own))] if len(own) > 1 else own[0]
            groups.append(group)
            rows.append(texts[source.integers(len(texts))] if len(texts) > 1 else texts[0])
        return torch.tensor(rows), torch.tensor(groups)

    def take(self, positions: Sequence[int]) -> TextChoices:
        """Those of the records at `positions`, in that order."""
        return TextChoices(tuple(self.options[i] for i in positions), self.texts, self.categories)


def text_choices(table: pd.DataFrame, rule: TowersText, modality: str) -> TextChoices:
    """The choices of every row of `table`.

    Args:
        table: With the column of the reports and those of the categories.
        rule: The recipe's ``text``.
        modality: Whose knowledge names the categories.

    Raises:
        TrainingError: A row has no text or no category (see :func:`usable`), or no label set knows its value.
        ConfigError: The dictionary is not a mapping of names to lists.
    """
    places: dict[str, int] = {}
    numbers: dict[str, int] = {}

    def rows(texts: Sequence[str]) -> tuple[int, ...]:
        return tuple(places.setdefault(text, len(places)) for text in dict.fromkeys(texts))

    named: list[list[str]] | None = None
    phrases: Mapping[str, Sequence[str]] = {}
    if isinstance(rule, FlairText) and rule.categories:
        knowledge = load_knowledge(modality) if _needs_knowledge(rule) else None
        named = category_names(table, rule, knowledge)
        phrases = _phrases(rule, knowledge)
    options = []
    reports = [str(value) for value in table[rule.column]] if rule.column in table else [""] * len(table)
    for row, report in enumerate(reports):
        own = [""] if named is None else named[row]
        if isinstance(rule, FlairText) and rule.source == "categories":
            made = [(name, [rule.template.replace(NAME, p) for p in (name, *phrases.get(name, ()))]) for name in own]
        else:
            # Without categories a text is its own: equal texts are partners.
            made = [(name if named is not None else report, [report]) for name in own]
        options.append(tuple((numbers.setdefault(name, len(numbers)), rows(texts)) for name, texts in made))
    return TextChoices(tuple(options), tuple(places), tuple(numbers))


def usable(table: pd.DataFrame, rule: FlairText, modality: str) -> np.ndarray:
    """bool (n,): rows with a category, none of which contains a word of ``leave_out``.

    Raises:
        TrainingError: There is no such column.
    """
    knowledge = load_knowledge(modality) if _needs_knowledge(rule) else None
    named = category_names(table, rule, knowledge)
    return np.array([bool(own) and not any(word in name for name in own for word in rule.leave_out) for own in named])


def category_names(table: pd.DataFrame, rule: FlairText, knowledge: Knowledge | None) -> list[list[str]]:
    """The names of the categories of every row, in order of the columns, each once."""
    found: list[list[str]] = [[] for _ in range(len(table))]
    for entry in rule.categories:
        if entry.column not in table.columns:
            raise TrainingError(
                f"The cohort has no column '{entry.column}' with categories.",
                fix="name yours in text.categories of the recipe, or --map " + entry.column + "=COLUMN",
            )
        names = _names(entry, knowledge)
        for row, value in enumerate(table[entry.column]):
            for word in _words(value):
                name = names.get(word) if names else word
                if name is None:
                    raise TrainingError(
                        f"The category '{word}' of the column '{entry.column}' has no name.",
                        expected=", ".join(names),
                        fix=f"another text.categories.label_set, or a line '{word}: NAME' under names",
                    )
                if name not in found[row]:
                    found[row].append(name)
    return found


def _words(value: object) -> list[str]:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return []
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return [word for word in (part.strip() for part in str(value).split("|")) if word]


def _names(entry: Categories, knowledge: Knowledge | None) -> dict[str, str]:
    names = dict(entry.names)
    if entry.label_set is not None and knowledge is not None:
        shown = build_prompts(knowledge, entry.label_set, "class-name@1")
        published = knowledge.label_sets[entry.label_set].names
        for label in shown.classes:
            names.setdefault(label.label, published.get(label.label, label.groups[0][0].text))
    return names


def _needs_knowledge(rule: FlairText) -> bool:
    return any(entry.label_set is not None for entry in rule.categories)


def _phrases(rule: FlairText, knowledge: Knowledge | None) -> dict[str, tuple[str, ...]]:
    """Other words for the categories: of the file, else of the knowledge base's classes."""
    if rule.dictionary is not None:
        values = read_yaml(Path(rule.dictionary))
        if not isinstance(values, Mapping) or not all(isinstance(v, list) for v in values.values()):
            raise ConfigError(
                "The dictionary is not a mapping of category names to lists of phrases.",
                where=rule.dictionary,
                expected="normal: [healthy, no findings]",
            )
        return {str(name): tuple(map(str, texts)) for name, texts in values.items()}
    found: dict[str, tuple[str, ...]] = {}
    if not rule.knowledge or knowledge is None:
        return found
    for entry in rule.categories:
        if entry.label_set is None:
            continue
        names = _names(entry, knowledge)
        for strategy in _STRATEGIES:
            for label in build_prompts(knowledge, entry.label_set, strategy).classes:
                # The template decides how a prompt ends.
                texts = tuple(p.text.rstrip(". ") for group in label.groups for p in group)
                found[names[label.label]] = (*found.get(names[label.label], ()), *texts)
    return found
