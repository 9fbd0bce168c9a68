"""What classes are called in the knowledge, where the user of a fine-tuning run says so: for its zero-shot reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from medfm.core.errors import ConfigError
from medfm.knowledge.load import list_knowledge, load_knowledge, own_label_set
from medfm.knowledge.matching import match_classes

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.evaluation.target import Target

MAPPED = "map_class"


def with_names(cohort: Cohort, label_set: str | None, map_class: Mapping[str, str] | None) -> Cohort:
    """`cohort` that says what its classes are called: the label set (also of grades) and single classes.

    Raises:
        ConfigError: There is no knowledge of the modality.
        UnknownNameError: It has no such label set.
    """
    if label_set is None and not map_class:
        return cohort
    if cohort.modality not in list_knowledge():
        raise ConfigError(
            f"There is no knowledge of {cohort.modality} that could name classes.",
            where="--label-set, --map-class",
            expected=f"a modality among {', '.join(list_knowledge())}",
            fix="leave them away: there is then no zero-shot reading",
        )
    if label_set is not None:
        own_label_set(load_knowledge(cohort.modality), label_set)
    own = {
        **({} if label_set is None else {"label_set": label_set}),
        **({MAPPED: dict(map_class)} if map_class else {}),
    }
    return replace(cohort, info={**cohort.info, **own})


def check_names(cohort: Cohort, truth: Target, asked: bool) -> None:
    """Refuse names without prompts before the work, where the user named some (`asked`).

    Without that the reading comes by itself, and what it lacks is said in a note.

    Raises:
        ConfigError: A class has no prompt, or a name is of no class.
    """
    if not asked or truth.task not in ("binary", "multiclass"):
        return
    label_set, given = cohort.info.get("label_set"), cohort.info.get(MAPPED)
    try:
        match_classes(load_knowledge(cohort.modality), truth.classes, label_set, given)
    except ConfigError as error:
        fix = (error.fix or "").split(", or leave its records out")[0]  # with an option that this verb has not
        raise ConfigError(
            error.what,
            where=error.where,
            expected=error.expected,
            fix=f"{fix}; or leave its records out (--where), or --label-set and --map-class: there is then no reading",
        ) from error
