"""What the adapters of tissue patches share: class lists by paper, and what a paper tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.named import NamedAdapter
from medfm.core.errors import CohortError

OFFICIAL, QUILT, PATHGEN = "official", "quilt", "pathgen"
# quilt: wisdomikezogwo/quilt1m@20a5824, eval/en_classnames.json and eval/histopathology_datasets.py.
# pathgen: PathFoundation/PathGen-1.6M@308b5a2, Zero-shot_classification/*.py.
SLIDE_IS_PATIENT = "the patient of a patch is not published: its slide stands in for the patient"
WHOLE_SET = "as published: PathGen's zero-shot figures are over these records as a whole, so all of them are 'test'"
ORDER = (
    "class names are those of the paper's zero-shot code; figures under another variant are of another task: "
    "do not compare them"
)


def label_set_name(cohort: str) -> str:
    """The label set of a cohort's classes: ``"sicapv2-quilt"`` of ``"sicapv2@quilt"``, ``"nct-crc"`` of ``"nct_crc"``."""
    return cohort.replace("_", "-").replace("@", "-")


class PatchAdapter(NamedAdapter):
    """A set of tissue patches.

    ``official`` gives the release's own classes; ``quilt`` and ``pathgen`` those of QuiltNet's and PathGen's
    evaluation, their records and splits included.

    Attributes:
        class_names: Per task and label variant (``"lung@quilt"``; ``"@quilt"`` of a set with one task) the
            name of every class by its code in the release. A code that is absent is left out of that variant.
        partial_expected: Variants for which :attr:`expected` holds; all when empty.
    """

    modality = "histopathology"
    variants: tuple[str, ...] = (OFFICIAL, QUILT, PATHGEN)
    class_names: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    partial_expected: tuple[str, ...] = ()

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.label_set = label_set_name(self.name)

    @property
    def names(self) -> Mapping[str, str]:
        """Code -> class name of this task and variant, in the order of the label numbers."""
        return self.class_names[f"{self.chosen_task or ''}@{self.labelling}"]

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per patch."""
        yield from self.find(source).rows

    def found(self, rows: list[Row], total: int, partial: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> Found:
        """The `rows` of `total` patches with the notes that every such table carries."""
        said = list(notes)
        if len(rows) < total:
            said.append(f"{total - len(rows):,} of {total:,} patches are left out: no class of this variant")
        if self.labelling != OFFICIAL:
            said.append(ORDER)
        if self.labelling == PATHGEN:
            said.append(WHOLE_SET)
        holds = not self.partial_expected or self.labelling in self.partial_expected
        return Found(rows, tuple(said), partial, None if holds else {})

    def code(self, value: str, known: Mapping[str, object] | tuple[str, ...], where: str) -> str:
        """`value`, if it is a class of the release.

        Raises:
            CohortError: It is another one.
        """
        if value not in known:
            raise CohortError(
                f"'{value}' is no class of {self.title}.",
                where=where,
                expected=", ".join(known),
                fix="get the set again",
            )
        return value
