"""Prompts as a paper asked them: its names for the classes of a data set, its templates, its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medfm.core.errors import ConfigError
from medfm.knowledge.prompts import ClassPrompts, Group, PromptSet, uniform
from medfm.knowledge.schema import Knowledge

# FLAIR's compute_text_embeddings leaves these names out of their own prompts.
_FLAIR_ALONE = "myopic maculopathy"


def published_names(knowledge: Knowledge, label_set: str) -> dict[str, str]:
    """Class id -> the text that the label set's paper asks for it with; the class's name where it gives none.

    Raises:
        UnknownNameError: There is no such label set.
        ConfigError: Two labels of the set stand for one class under different names.
    """
    chosen = knowledge.label_set(label_set)
    found: dict[str, str] = {}
    for label, class_id in chosen.labels.items():
        text = chosen.names.get(label, knowledge.entry(class_id).name)
        if found.setdefault(class_id, text) != text:
            raise ConfigError(
                f"The class '{class_id}' has two published names: '{found[class_id]}' and '{text}'.",
                where=f"label set '{label_set}' of '{knowledge.domain}'",
                fix="give each label a class of its own, or ask with method.names=own",
            )
    return found


def as_published(knowledge: Knowledge, label_set: str) -> Knowledge:
    """`knowledge` with the names, and where it has any the templates, of a label set's paper.

    Every strategy then asks in the paper's words. Classes outside the set keep their names.
    """
    names = published_names(knowledge, label_set)
    classes = tuple(c.model_copy(update={"name": names.get(c.id, c.name)}) for c in knowledge.classes)
    templates = knowledge.label_set(label_set).templates or knowledge.templates
    return knowledge.model_copy(update={"classes": classes, "templates": templates})


def flair_group(name: str, phrases: Sequence[str], templates: Sequence[str]) -> Group:
    """One class as FLAIR asks it: its phrases, then its name unless it is one of them, each in the template."""
    texts = list(phrases)
    if name not in texts and (_FLAIR_ALONE not in name or not texts):
        texts.append(name)
    return uniform(t.format(name=text) for text in texts for t in templates)


def flair_prompts(
    known: PromptSet, names: Mapping[str, Sequence[str]], templates: Sequence[str]
) -> tuple[PromptSet, tuple[str, ...]]:
    """The prompts of labels from FLAIR's dictionary, and the names that it lacks.

    Args:
        known: The dictionary as :func:`medfm.knowledge.prompt_file.prompts_from_file` reads it.
        names: Label -> category names; of several the highest score counts.
        templates: Usually the one template ``A fundus photograph of {name}``.
    """
    phrases = {entry.label: [p.text for p in entry.groups[0]] for entry in known.classes}
    classes = tuple(
        ClassPrompts(label, tuple(flair_group(name, phrases.get(name, ()), templates) for name in wanted))
        for label, wanted in names.items()
    )
    lacking = dict.fromkeys(name for wanted in names.values() for name in wanted if name not in phrases)
    return PromptSet(known.strategy, classes, known.source), tuple(lacking)
