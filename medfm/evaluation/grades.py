"""Grades: classes that are steps of one scale, in rising order as a label set of the knowledge says.

Sorted by their letters, "mild" comes before "no retinopathy", and a weighted kappa means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from medfm.core.errors import MedfmError
from medfm.evaluation.metrics import default_metrics
from medfm.knowledge.load import list_knowledge, load_knowledge
from medfm.knowledge.matching import match_classes
from medfm.knowledge.schema import Knowledge

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.evaluation.target import Target

KAPPA = "quadratic_kappa"
_FEWEST = 3


def grade_order(
    cohort: Cohort, classes: Sequence[str], label_set: str | None = None
) -> tuple[str, tuple[str, ...]] | None:
    """The label set by which `classes` are grades, and the classes in its order; ``None`` where they are none.

    Asked are the label set given, else the cohort's own, else, of classes written as words, every
    label set of the modality's knowledge that is one of grades. Two classes have no order that
    matters, and a class that the set lacks leaves all of them as they are.

    Args:
        cohort: Whose labels they are.
        classes: At least three class names.
        label_set: Name of a label set of the modality's knowledge.
    """
    if len(classes) < _FEWEST or cohort.modality not in list_knowledge():
        return None
    knowledge = _knowledge(cohort.modality)
    named = label_set or cohort.info.get("label_set")
    if named is not None:
        return _ordered(knowledge, str(named), classes)
    if any(name.strip().isdigit() for name in classes):
        return None
    found = (_ordered(knowledge, name, classes, in_words=True) for name in knowledge.label_sets)
    return next((order for order in found if order is not None), None)


def headline_with_kappa(names: Sequence[str], truth: Target) -> tuple[str, ...]:
    """The metrics of a protocol; of grades, where it names none, the task's own and the quadratic kappa."""
    if names or truth.grades is None:
        return tuple(names)
    return (*default_metrics(truth.task), KAPPA)


def order_notes(truth: Target, metrics: Sequence[str]) -> list[str]:
    """What a reader must know of the order of the classes: whose it is, or that a weighted kappa lacks one."""
    if truth.task != "multiclass":
        return []
    if truth.grades is not None:
        return [f"The classes are grades, in the order of the label set '{truth.grades}': {', '.join(truth.classes)}."]
    numbers = all(name.lstrip("-").isdigit() for name in truth.classes)
    weighted = [name for name in metrics if name.endswith("_kappa")]
    if not weighted or numbers:
        return []
    return [f"No label set says that these classes are grades: {weighted[0]} takes them in alphabetical order."]


def _ordered(
    knowledge: Knowledge, name: str, classes: Sequence[str], in_words: bool = False
) -> tuple[str, tuple[str, ...]] | None:
    chosen = knowledge.label_sets.get(name)
    if chosen is None or not chosen.grades:
        return None
    try:
        # Codes such as G3 mean something only where the label set was named.
        ids = match_classes(knowledge, classes, None if in_words else name)
    except MedfmError:
        return None
    place = {class_id: i for i, class_id in enumerate(chosen.labels.values())}
    if any(len(found) != 1 or found[0] not in place for found in ids.values()):
        return None
    steps = {label: place[found[0]] for label, found in ids.items()}
    if len(set(steps.values())) < len(steps):
        return None
    return name, tuple(sorted(classes, key=steps.__getitem__))


@lru_cache(maxsize=4)
def _knowledge(domain: str) -> Knowledge:
    return load_knowledge(domain)
