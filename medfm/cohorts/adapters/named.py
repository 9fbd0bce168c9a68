"""Sets with several tasks or several ways to label: ``SET[-TASK][@VARIANT]``."""

from __future__ import annotations

from functools import cache

from typing_extensions import Self

from medfm.cohorts.adapters.base import Adapter


class NamedAdapter(Adapter):
    """An adapter that is built once per task and label variant; the first of each is the default.

    Attributes:
        chosen_task: The task of this object; ``None`` where the set has one.
        labelling: The label variant of this object; empty where the set has one.
    """

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        self.chosen_task = task or (self.tasks[0] if self.tasks else None)
        self.labelling = labelling or (self.variants[0] if self.variants else "")

    @property
    def name(self) -> str:
        """``ptbxl-super``, or ``ptbxl-super@published`` under a label variant that is not the first."""
        name = f"{self.id}-{self.chosen_task}" if self.chosen_task else self.id
        return name if self.labelling in ("", *self.variants[:1]) else f"{name}@{self.labelling}"

    def cohort_names(self) -> list[str]:
        """Every task under every label variant."""
        names = [f"{self.id}-{task}" for task in self.tasks] or [self.id]
        return [*names, *(f"{name}@{variant}" for variant in self.variants[1:] for name in names)]

    def variant(self, task: str | None = None, labels: str | None = None) -> Self:
        """As of :meth:`Adapter.variant`."""
        super().variant(task, labels)
        if task is None and labels is None:
            return self
        return _variant(type(self), task or self.chosen_task, labels or self.labelling)  # type: ignore[return-value]


@cache
def _variant(kind: type[NamedAdapter], task: str | None, labelling: str) -> NamedAdapter:
    return kind(task, labelling)
