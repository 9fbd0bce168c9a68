"""The distribution-shift table: results on several data sets, averaged over the classes they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medfm.core.errors import EvaluationError
from medfm.core.files import write_json
from medfm.evaluation.predictions import MAIN
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summary import Estimate
from medfm.evaluation.transfer import SharedMean, TransferMap, load_transfer_map, shared_mean
from medfm.reporting.banners import stamps
from medfm.reporting.result import Result, load_result
from medfm.reporting.transfer import transfer_lines, transfer_markdown, transfer_page

HOW_TO_READ = (
    "Each row averages the AUROCs of those classes of the target that the source shares. Nothing was trained on the source "
    "or run again, so a row does not say how a model trained on the source travels."
)


@dataclass(frozen=True)
class TransferRow:
    """One pair of data sets for one result on the target.

    Attributes:
        source, target: Titles of the data sets.
        result: Title of the result on the target.
        cohort: Cohort of that result, with the variant of its labels.
        mean: Mean AUROC over the shared classes, and each of them.
        all_classes: The same over every class of the result.
        n_classes: Classes of the result.
    """

    source: str
    target: str
    result: str
    cohort: str
    mean: SharedMean
    all_classes: Estimate
    n_classes: int


@dataclass(frozen=True)
class TransferTable:
    """What :func:`transfer_table` found; print it, save it, or take :meth:`to_dict`."""

    map_id: str
    title: str
    source: str
    sourcing: str
    variant: str
    rows: tuple[TransferRow, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-like data."""
        rows = [
            {
                "source": row.source,
                "target": row.target,
                "result": row.result,
                "cohort": row.cohort,
                "mean": row.mean.estimate.to_dict(),
                "classes": dict(row.mean.classes),
                "absent": list(row.mean.absent),
                "all_classes": row.all_classes.to_dict(),
                "n_classes": row.n_classes,
            }
            for row in self.rows
        ]
        return {**{k: v for k, v in asdict(self).items() if k != "rows"}, "notes": list(self.notes), "rows": rows}

    def to_markdown(self) -> str:
        """The table as Markdown."""
        return transfer_markdown(self.to_dict())

    def save(self, path: str | Path) -> Path:
        """Write :meth:`to_dict` as JSON, and as a page with the ending ``.html`` beside it.

        Raises:
            StoreError: The place cannot be written to.
        """
        from medfm.core.files import write_text

        place = Path(path)
        write_json(place, self.to_dict())
        write_text(place.with_suffix(".html"), transfer_page(self.to_dict()))
        return place

    def __str__(self) -> str:
        return transfer_lines(self.to_dict())

    def _repr_html_(self) -> str:
        from medfm.reporting.notebook import text_block

        return text_block(str(self))


def transfer_table(
    results: Result | str | Path | Sequence[Result | str | Path],
    map: str | Path | TransferMap = "merl@1",
    *,
    variant: str = MAIN,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> TransferTable:
    """Average the per-class AUROCs of results over the classes that other data sets share.

    Args:
        results: Results or their folders, one or several per data set.
        map: Shared classes: id of a shipped map, a YAML file, or a :class:`TransferMap`.
        variant: Which predictions, such as ``"main"`` or ``"fraction=0.01"``.
        resamples, seed, level: Of the patient-clustered bootstrap.

    Raises:
        EvaluationError: A result is on no data set of the map, has another kind of task, or lacks the variant.
        UnknownNameError: There is no such map.
        StoreError: A folder is not a result.
    """
    chosen = map if isinstance(map, TransferMap) else load_transfer_map(map)
    given = [results] if isinstance(results, (str, Path, Result)) else list(results)
    if not given:
        raise EvaluationError("There is no result to average.", expected="one or more result folders")
    plan = StatisticsPlan(resamples=resamples, seed=seed, level=level)
    rows: list[TransferRow] = []
    notes: list[str] = [HOW_TO_READ, *chosen.notes]
    for one in given:
        result = load_result(one) if isinstance(one, (str, Path)) else one
        notes += stamps(result.title, result.provenance)
        rows += _rows(result, chosen, variant, plan, notes)
    return TransferTable(
        chosen.id, chosen.title, chosen.source, chosen.sourcing, variant, tuple(rows), tuple(dict.fromkeys(notes))
    )


def _rows(
    result: Result, chosen: TransferMap, variant: str, plan: StatisticsPlan, notes: list[str]
) -> list[TransferRow]:
    cohort = str(result.provenance.get("cohort") or "")
    target = chosen.domain_of(cohort, result.predictions.classes)
    if target is None:
        raise EvaluationError(
            f"The result '{result.title}' is on no data set of the map {chosen.id}.",
            where=f"cohort '{cohort}', classes {', '.join(result.predictions.classes[:8])}",
            expected="a cohort called " + ", ".join(chosen.domains) + ", or one with exactly their classes",
        )
    if variant not in result.predictions.variants:
        raise EvaluationError(
            f"The result '{result.title}' has no predictions of the variant '{variant}'.",
            expected="one of " + ", ".join(result.predictions.variants),
        )
    predictions = result.predictions.of_variant(variant)
    known = result.summary.patients_known
    if not known:
        notes.append(f"Patients are unknown in {result.title}: its intervals treat every record as independent.")
    every = shared_mean(predictions, predictions.classes, plan, patients_known=known).estimate
    rows = []
    for source, domain in chosen.domains.items():
        classes = chosen.shared(source, target)
        if source == target or not classes:
            continue
        mean = shared_mean(predictions, classes, plan, patients_known=known)
        rows.append(
            TransferRow(
                domain.title, chosen.domains[target].title, result.title, cohort, mean, every, len(predictions.classes)
            )
        )
        for what, names in (
            ("absent from", mean.absent),
            ("undefined (no record with or without it) in", [c for c, v in mean.classes if v is None]),
        ):
            if names:
                notes.append(
                    f"{domain.title} to {chosen.domains[target].title}: {what} {result.title}: {', '.join(names)}."
                )
    return rows
