"""Prompt strategies: pure functions from knowledge to weighted prompt lists.

They know nothing of any text tower, so every encoder with one is asked in the same words. A
strategy has a name and a version; a change of its wording is a new version.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from medfm.core.errors import ConfigError
from medfm.core.hashing import sha256_json
from medfm.core.names import unknown_name
from medfm.knowledge.schema import Finding, Knowledge, KnowledgeClass

Pool = Literal["max", "mean"]
Prototype = Literal["unit", "mean"]


@dataclass(frozen=True)
class Prompt:
    """One text and its weight within its group (weights of a group sum to 1)."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class ClassPrompts:
    """How one label is asked for.

    Attributes:
        label: The label.
        groups: Each group of weighted prompts becomes one vector; most labels have one group, a
            parent scored through its children has one per child.
        pool: How the scores of several groups become one.
    """

    label: str
    groups: tuple[tuple[Prompt, ...], ...]
    pool: Pool = "max"

    def __post_init__(self) -> None:
        if not self.groups or not all(self.groups):
            raise ConfigError(f"The label '{self.label}' has no prompt.", expected="at least one text per label")
        for prompt in (p for group in self.groups for p in group):
            if not prompt.text.strip():
                raise ConfigError(f"The label '{self.label}' has an empty prompt.", expected="some text")
            if not 0 <= prompt.weight < float("inf"):
                raise ConfigError(f"A prompt of '{self.label}' has the weight {prompt.weight}.", expected="0 or more")
        if not all(sum(p.weight for p in group) > 0 for group in self.groups):
            raise ConfigError(f"The prompts of '{self.label}' all weigh nothing.", expected="one weight above 0")


@dataclass(frozen=True)
class PromptSet:
    """The prompts of all labels, with the strategy that made them.

    Attributes:
        strategy: ``name@version``.
        classes: One entry per label, in order.
        source: What they were made from: knowledge and its digest, or a file and its hash.
        prototype: Whether the mean of a group's unit vectors is brought to unit length again
            (CLIP, MERL) or stays as it is (FLAIR: a class whose prompts differ scores lower).
        together: Whether the texts of a group are encoded together, padded to its longest; it
            matters only for towers that average padding in (FLAIR).
    """

    strategy: str
    classes: tuple[ClassPrompts, ...]
    source: str = ""
    prototype: Prototype = "unit"
    together: bool = False

    def __post_init__(self) -> None:
        labels = [c.label for c in self.classes]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if not labels or twice:
            raise ConfigError(
                f"These labels have prompts twice: {', '.join(twice)}." if twice else "There are no labels to ask for."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in order."""
        return tuple(c.label for c in self.classes)

    def texts(self) -> list[str]:
        """Every different text once, in order of first use."""
        return list(dict.fromkeys(p.text for c in self.classes for group in c.groups for p in group))

    def digest(self) -> str:
        """SHA-256 over labels, texts, weights, pooling and averaging (not the names): equal prompts, equal digest."""
        asked: list[object] = [
            [c.label, c.pool, [[[p.text, p.weight] for p in group] for group in c.groups]] for c in self.classes
        ]
        if self.prototype != "unit" or self.together:
            asked.append([self.prototype, self.together])
        return sha256_json(asked)


@dataclass(frozen=True)
class Context:
    """What is known of the person: age in whole years and ``"male"`` or ``"female"``."""

    age: int | None = None
    sex: Literal["male", "female"] | None = None


def context_of(age: object = None, sex: object = None) -> Context:
    """The context of one cohort row: ages of 10 and more rounded to decades, unknown parts left out.

    Rounding keeps the number of different prompts small, and a prompt tells nobody's exact age.

    Args:
        age: In years; missing, not a number, or outside 0 to 120 counts as unknown.
        sex: ``male``/``m`` or ``female``/``f`` in any case; anything else counts as unknown.
    """
    try:
        years = float(str(age))
    except ValueError:
        years = math.nan
    known = 0 <= years <= 120
    rounded = (int(years) if years < 10 else int(years / 10 + 0.5) * 10) if known else None
    word = str(sex).strip().lower()
    return Context(rounded, "male" if word in ("male", "m") else "female" if word in ("female", "f") else None)


Group = tuple[Prompt, ...]


def uniform(texts: Iterable[str]) -> Group:
    """The different `texts` with equal weights that sum to 1."""
    unique = list(dict.fromkeys(texts))
    return tuple(Prompt(text, 1.0 / len(unique)) for text in unique)


def class_name(entry: KnowledgeClass) -> Group:
    """The name alone."""
    return uniform([f"{entry.name}."])


def templates(entry: KnowledgeClass, texts: Sequence[str]) -> Group:
    """The name in every template, equal weights."""
    return uniform(t.format(name=entry.name) for t in texts)


def synonyms(entry: KnowledgeClass) -> Group:
    """The name with half of the weight; the synonyms share the other half."""
    others = [s for s in dict.fromkeys(entry.synonyms) if s != entry.name]
    if not others:
        return class_name(entry)
    return (Prompt(f"{entry.name}.", 0.5), *(Prompt(f"{s}.", 0.5 / len(others)) for s in others))


def descriptors(entry: KnowledgeClass) -> Group:
    """One prompt per finding, averaged; the name alone where there are none."""
    if not entry.findings:
        return class_name(entry)
    return uniform(f"{entry.name}, seen as {_said(f)}." for f in entry.findings)


def expert(entry: KnowledgeClass, texts: Sequence[str]) -> Group:
    """Every finding, then the name, each in every template, averaged: the form of FLAIR's expert prompts."""
    said = [*(_said(f) for f in entry.findings), entry.name]
    return uniform(t.format(name=s) for s in said for t in texts)


def findings(entry: KnowledgeClass) -> Group:
    """One prompt: the name, then every finding with its leads and criterion, separated by commas."""
    return uniform([", ".join([entry.name, *(_said(f, criterion=True) for f in entry.findings)]) + "."])


def in_context(entry: KnowledgeClass, knowledge: Knowledge, context: Context) -> Group:
    """The name with the age and sex of the person, as far as both are known; else the name alone."""
    forms = knowledge.context
    if forms is None or (context.age is None and context.sex is None):
        return class_name(entry)
    if context.age is not None and context.sex is not None:
        return uniform([forms.age_and_sex.format(name=entry.name, age=context.age, sex=context.sex)])
    if context.age is not None:
        return uniform([forms.age.format(name=entry.name, age=context.age)])
    return uniform([forms.sex.format(name=entry.name, sex=context.sex)])


def finding_texts(entry: KnowledgeClass) -> tuple[str, ...]:
    """The different findings of a class in words, each with its place, without the name of the class."""
    return tuple(dict.fromkeys(_said(f) for f in entry.findings))


def _said(finding: Finding, *, criterion: bool = False) -> str:
    where = f" in {finding.where}" if finding.where else ""
    deciding = f" ({finding.criterion})" if criterion and finding.criterion else ""
    return f"{finding.seen}{where}{deciding}"


Maker = Callable[[Knowledge, str, Context], "tuple[Group, ...]"]

# name@version -> (what it does, knowledge + class id + context -> groups of prompts).
_STRATEGIES: dict[str, tuple[str, Maker]] = {
    "class-name@1": ("the name of the class alone", lambda k, c, _: (class_name(k.entry(c)),)),
    "templates@1": ("the name in each template, averaged", lambda k, c, _: (templates(k.entry(c), k.templates),)),
    "synonyms@1": ("the name (half the weight) and its synonyms", lambda k, c, _: (synonyms(k.entry(c)),)),
    "descriptors@1": ("one prompt per finding, averaged", lambda k, c, _: (descriptors(k.entry(c)),)),
    "expert@1": (
        "every finding, then the name, each in every template, averaged, as FLAIR does",
        lambda k, c, _: (expert(k.entry(c), k.templates),),
    ),
    "findings@1": ("name and all findings in one prompt, as CKEPE does", lambda k, c, _: (findings(k.entry(c)),)),
    "hierarchy@1": (
        "findings prompts; a parent with several children takes the highest score among them",
        lambda k, c, _: tuple(findings(part) for part in k.parts(c)),
    ),
    "context@1": (
        "the name with the person's age and sex",
        lambda k, c, context: (in_context(k.entry(c), k, context),),
    ),
}


def list_strategies() -> list[str]:
    """Names of the prompt strategies, each ``name@version``."""
    return sorted(_STRATEGIES)


def describe_strategy(name: str) -> str:
    """One line on what the strategy `name` does."""
    return _strategy(name)[0]


def build_prompts(
    knowledge: Knowledge,
    label_set: str | Sequence[str] | Mapping[str, Sequence[str]],
    strategy: str,
    *,
    context: Context | None = None,
) -> PromptSet:
    """The prompts of a label set under a strategy.

    Args:
        knowledge: The domain's knowledge.
        label_set: Name of one of its label sets, class ids (then the labels are these ids), or the
            class ids of each label; of several ids of one label the highest score counts.
        strategy: ``name@version``, see :func:`list_strategies`.
        context: Age and sex for ``context@1``; other strategies do not use it.

    Raises:
        UnknownNameError: A name does not exist; near ones are given.
        ConfigError: No labels.
    """
    _, make = _strategy(strategy)
    chosen: dict[str, Sequence[str]]
    if isinstance(label_set, str):
        chosen = {label: (class_id,) for label, class_id in knowledge.label_set(label_set).labels.items()}
    elif isinstance(label_set, Mapping):
        chosen = dict(label_set)
    else:
        chosen = {name: (name,) for name in label_set}
    context = context if context is not None else Context()
    return PromptSet(
        strategy,
        tuple(
            ClassPrompts(label, tuple(group for class_id in ids for group in make(knowledge, class_id, context)))
            for label, ids in chosen.items()
        ),
        f"knowledge {knowledge.domain} version {knowledge.version} ({knowledge.digest()[:12]})",
    )


def _strategy(name: str) -> tuple[str, Maker]:
    if name not in _STRATEGIES:
        raise unknown_name("prompt strategy", name, _STRATEGIES)
    return _STRATEGIES[name]
