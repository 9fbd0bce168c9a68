"""Compare results record by record: a reference against one or several others.

The first result is the reference; every difference is "other minus reference" on their common
records, with Holm's or Benjamini and Hochberg's correction over all metrics and all comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.files import write_json
from medfm.evaluation.metrics import metric, metrics_for
from medfm.evaluation.multiple import benjamini_hochberg, holm
from medfm.evaluation.paired import PairedDifference, compare_pair, match
from medfm.evaluation.predictions import MAIN, Predictions, TaskKind
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summary import Summary

LEVEL_OF_CLAIM = 0.05
Correction = Literal["holm", "bh"]
_CORRECTIONS = {"holm": ("Holm", holm), "bh": ("BH", benjamini_hochberg)}
_RESAMPLES = 1000
_RESAMPLES_EACH = 200


class Comparable(Protocol):
    """What is needed of a result: ``medfm.Result`` has it."""

    @property
    def predictions(self) -> Predictions:
        """Predictions per record."""

    @property
    def summary(self) -> Summary:
        """Statistics."""

    @property
    def title(self) -> str:
        """What people call it."""


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of one result against the reference.

    Attributes:
        other: Title of the other result.
        title: Metric for people.
        found: Values, difference (other minus reference), interval, uncorrected p.
        p_holm: Corrected over all rows by Holm; ``None`` where there is no p.
        verdict: One sentence.
        winner: ``"other"``, ``"reference"`` or ``None`` when no difference is shown.
        p_bh: Corrected over all rows by Benjamini and Hochberg.
    """

    other: str
    title: str
    found: PairedDifference
    p_holm: float | None
    verdict: str
    winner: str | None
    p_bh: float | None = None

    def corrected(self, correction: Correction) -> float | None:
        """The p-value that verdicts rest on."""
        return self.p_bh if correction == "bh" else self.p_holm


@dataclass(frozen=True)
class Overlap:
    """How many records two results share; ``n_patients`` is ``None`` when patients are unknown."""

    other: str
    n_common: int
    n_reference: int
    n_other: int
    n_patients: int | None


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found; print it, or take :meth:`to_dict`.

    Attributes:
        reference: Title of the reference result.
        target: What was predicted.
        task: Kind of task.
        variant: Which predictions were compared.
        overlaps: One per other result.
        rows: Other results by metrics.
        level: Of the intervals.
        notes: What a reader must know.
        required: The metric on which every other result had to be better, if any.
        correction: By which verdicts were reached: ``"holm"`` or ``"bh"``.
    """

    reference: str
    target: str
    task: TaskKind
    variant: str
    overlaps: tuple[Overlap, ...]
    rows: tuple[ComparisonRow, ...]
    level: float
    notes: tuple[str, ...] = ()
    required: str | None = None
    correction: Correction = "holm"

    @property
    def passed(self) -> bool:
        """Whether every other result is better than the reference on the required metric.

        Better means a corrected p < 0.05 in the right direction; true when none was required.
        """
        rows = [row for row in self.rows if row.found.metric == self.required]
        return all(row.winner == "other" for row in rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-like data."""
        rows = [
            {
                **asdict(row.found),
                "other": row.other,
                "title": row.title,
                "p_holm": row.p_holm,
                "p_bh": row.p_bh,
                "winner": row.winner,
                "verdict": row.verdict,
            }
            for row in self.rows
        ]
        return {
            "reference": self.reference,
            "target": self.target,
            "task": self.task,
            "variant": self.variant,
            "level": self.level,
            "overlaps": [asdict(overlap) for overlap in self.overlaps],
            "rows": rows,
            "notes": list(self.notes),
            "required": self.required,
            "correction": self.correction,
            "passed": self.passed,
        }

    def save(self, path: str | Path) -> Path:
        """Write :meth:`to_dict` as JSON, and as a page with the ending ``.html`` beside it.

        Raises:
            StoreError: The place cannot be written to.
        """
        from medfm.reporting.comparison import save_comparison_page

        place = Path(path)
        write_json(place, self.to_dict())
        save_comparison_page(self.to_dict(), place.with_suffix(".html"))
        return place

    def _repr_html_(self) -> str:
        from medfm.reporting.notebook import text_block

        return text_block(str(self))

    def __str__(self) -> str:
        lines = [f"Reference: {self.reference}  (target '{self.target}', {self.task})"]
        for overlap in self.overlaps:
            lines += ["", f"{overlap.other}, on {_records(overlap)}"]
            rows = [row for row in self.rows if row.other == overlap.other]
            lines += _text_table(rows, self.level, self.correction)
            lines += ["", *(f"  {row.verdict}" for row in rows)]
        if self.notes:
            lines += ["", *(f"Note: {note}" for note in self.notes)]
        if self.required is not None:
            lines.append(f"Required: better on {self.required}: {'yes' if self.passed else 'no'}.")
        return "\n".join(lines)


def compare(
    reference: Comparable | str | Path,
    *others: Comparable | str | Path | Sequence[Comparable | str | Path],
    metrics: Sequence[str] = (),
    seed: int = 0,
    resamples: int | None = None,
    level: float = 0.95,
    variant: str = MAIN,
    require_better: str | None = None,
    correction: Correction = "holm",
) -> Comparison:
    """Compare one or several results with a reference on their common records.

    Args:
        reference: A result or the folder of one.
        others: Results or folders; a list of them counts as several.
        metrics: Names; the reference's headline metrics when empty.
        seed: Of the bootstrap.
        resamples: Of the bootstrap; when ``None`` 1000, or 200 per comparison if that is more, so that
            Holm's correction cannot hide a clear difference behind the bootstrap's smallest p, 2 / (B + 1).
        level: Of the intervals.
        variant: Which predictions to compare, such as ``"main"`` or ``"fraction=0.01"``.
        require_better: A metric (compared in any case) for :attr:`Comparison.passed`.
        correction: ``"holm"`` holds the chance of any false claim in the table at 5 %, ``"bh"`` (Benjamini and
            Hochberg) the expected share of false ones among the claims.

    Raises:
        EvaluationError: An unknown correction; nothing to compare with; another task, target or classes; no common
            record; a common record with another truth or patient; a variant that is absent.
        UnknownNameError: A metric does not exist.
        StoreError: A folder is not a result.
    """
    from medfm.reporting.banners import stamps

    if correction not in get_args(Correction):
        raise EvaluationError(f"'{correction}' is no correction of p-values.", expected="holm or bh")
    flat: list[Comparable | str | Path] = []
    for other in others:
        flat += list(other) if isinstance(other, (list, tuple)) else [other]  # type: ignore[list-item]
    if not flat:
        raise EvaluationError("There is nothing to compare the reference with.", expected="two or more results")
    loaded = [_load(given) for given in (reference, *flat)]
    titles = _distinct([result.title for result in loaded])
    base = loaded[0]
    names = tuple(metrics) or tuple(e.metric for e in base.summary.headline)
    # The required metric is compared with the others, so that its p-value is corrected as well.
    chosen = metrics_for([*names, *([require_better] if require_better else [])], base.predictions.task)
    comparisons = len(chosen) * len(flat)
    count = max(_RESAMPLES, _RESAMPLES_EACH * comparisons) if resamples is None else resamples
    plan = StatisticsPlan(seed=seed, resamples=count, level=level)
    found: list[tuple[str, PairedDifference]] = []
    overlaps = []
    notes = [
        line for title, r in zip(titles, loaded, strict=True) for line in stamps(title, getattr(r, "provenance", {}))
    ]
    for title, result in zip(titles[1:], loaded[1:], strict=True):
        known = base.summary.patients_known and result.summary.patients_known
        parts = [_variant(r.predictions, variant, t) for r, t in ((base, titles[0]), (result, title))]
        pair = match(*parts, patients_known=known)
        overlaps.append(
            Overlap(title, pair.n_common, pair.n_first, pair.n_second, pair.clusters[0].count if known else None)
        )
        if pair.n_common < max(pair.n_first, pair.n_second):
            notes.append(
                f"{titles[0]} has {pair.n_first} records and {title} {pair.n_second}; only the "
                f"{pair.n_common} common ones are compared, so the values differ from their reports."
            )
        if not known:
            notes.append(
                f"Patients are unknown for {title} or the reference: intervals and p-values treat every record "
                "as independent and are too optimistic if several come from one patient."
            )
        found += [(title, row) for row in compare_pair(pair, chosen, plan)]
    by_holm, by_bh = (_corrected(found, correct) for _, correct in _CORRECTIONS.values())
    corrected = by_bh if correction == "bh" else by_holm
    if count and 2 * comparisons / (count + 1) >= LEVEL_OF_CLAIM:
        notes.append(
            f"With {count} resamples and {comparisons} comparisons the bootstrap cannot show any difference; "
            f"ask for {_RESAMPLES_EACH * comparisons} resamples or more."
        )
    notes.append(
        f"p-values in the column '{_CORRECTIONS[correction][0]}' are corrected over the "
        f"{sum(p is not None for p in corrected)} comparisons of this table; a verdict rests on them."
    )
    if correction == "bh":
        notes.append(
            "Benjamini and Hochberg's correction: of the differences called shown, 5 % on average may be false. It is "
            "for looking through many comparisons; a single claim needs Holm's."
        )
    rows = tuple(
        _row(titles[0], title, row, p_holm, p_bh, correction, base.predictions.task)
        for (title, row), p_holm, p_bh in zip(found, by_holm, by_bh, strict=True)
    )
    return Comparison(
        reference=titles[0],
        target=base.predictions.target,
        task=base.predictions.task,
        variant=variant,
        overlaps=tuple(overlaps),
        rows=rows,
        level=level,
        notes=tuple(dict.fromkeys(notes)),
        required=require_better,
        correction=correction,
    )


def _load(given: Comparable | str | Path) -> Comparable:
    if not isinstance(given, (str, Path)):
        return given
    from medfm.reporting.result import load_result

    loaded: Comparable = load_result(given)
    return loaded


def _variant(predictions: Predictions, variant: str, title: str) -> Predictions:
    if variant not in predictions.variants:
        raise EvaluationError(
            f"The result '{title}' has no predictions of the variant '{variant}'.",
            expected="one of " + ", ".join(predictions.variants),
        )
    return predictions.of_variant(variant)


def _distinct(titles: list[str]) -> list[str]:
    """Titles with a number where two are equal."""
    return [t if titles.count(t) == 1 else f"{t} [{titles[: i + 1].count(t)}]" for i, t in enumerate(titles)]


def _corrected(
    found: Sequence[tuple[str, PairedDifference]], correct: Callable[[Sequence[float]], np.ndarray]
) -> list[float | None]:
    places = [i for i, (_, row) in enumerate(found) if row.p is not None]
    result: list[float | None] = [None] * len(found)
    if places:
        values = correct([p for _, row in found if (p := row.p) is not None])
        for place, value in zip(places, values, strict=True):
            result[place] = float(value)
    return result


def _row(
    reference: str,
    other: str,
    row: PairedDifference,
    p_holm: float | None,
    p_bh: float | None,
    correction: Correction,
    task: TaskKind,
) -> ComparisonRow:
    title = metric(row.metric, task).title
    p = p_bh if correction == "bh" else p_holm
    winner = None
    if row.difference is None:
        verdict = f"{title}: cannot be compared ({row.note})."
    elif p is None:
        verdict = f"{title}: differs by {row.difference:+.3f}, but nothing can be said about chance ({row.note})."
    else:
        gain = row.difference > 0 if row.better == "higher" else row.difference < 0
        shown = f"{row.difference:+.3f}, p {_equals(p)} after {_CORRECTIONS[correction][0]}"
        if p < LEVEL_OF_CLAIM and row.difference != 0:
            winner = "other" if gain else "reference"
            name = other if gain else reference
            verdict = f"{title}: {name} is better ({shown})."
        elif row.low is not None and row.high is not None:
            verdict = (
                f"{title}: no difference shown ({shown}); these data allow differences "
                f"from {row.low:+.3f} to {row.high:+.3f}."
            )
        else:
            verdict = f"{title}: no difference shown ({shown})."
    return ComparisonRow(other, title, row, p_holm, verdict, winner, p_bh)


def _records(overlap: Overlap) -> str:
    patients = "" if overlap.n_patients is None else f" of {overlap.n_patients} patients"
    return f"{overlap.n_common} common records{patients}"


def _text_table(rows: Sequence[ComparisonRow], level: float, correction: Correction) -> list[str]:
    name = _CORRECTIONS[correction][0]
    header = ["metric", "reference", "other", "difference", f"{100 * level:g} % interval", "p", name, "method"]
    cells = [header]
    for row in rows:
        f = row.found
        interval = "" if f.low is None or f.high is None else f"{f.low:+.3f} to {f.high:+.3f}"
        cells.append(
            [
                row.title,
                *("" if v is None else f"{v:.3f}" for v in (f.first, f.second)),
                "" if f.difference is None else f"{f.difference:+.3f}",
                interval,
                *("" if v is None else _p(v) for v in (f.p, row.corrected(correction))),
                f.method + "".join(f"; {_TESTS[name]} p {_equals(value)}" for name, value in f.others.items()),
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]


_TESTS = {
    "mcnemar_exact": "McNemar exact",
    "nadeau_bengio": "Nadeau-Bengio",
    "wilcoxon_repeats": "Wilcoxon over means of repeats",
}


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _equals(value: float) -> str:
    shown = _p(value)
    return shown.replace("<", "< ") if shown.startswith("<") else f"= {shown}"
