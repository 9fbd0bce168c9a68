"""Tables of a result as text cells, shared by the page and the card."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medfm.cohorts.findings import Finding
from medfm.evaluation.summary import ClassRow, Estimate, FoldRow, GroupRow, Summary
from medfm.reporting.words import figure, word


@dataclass(frozen=True)
class Table:
    """Header and rows of text; the first column names the row, the others are figures or text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    figures: bool = True


def with_interval(estimate: Estimate | None) -> str:
    """``"0.870 (0.830–0.900)"``, or a dash."""
    if estimate is None or estimate.value is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return figure(estimate.value)
    return f"{figure(estimate.value)} ({figure(estimate.low)}–{figure(estimate.high)})"


def _columns(groups: Iterable[Sequence[Estimate]]) -> list[str]:
    return list(dict.fromkeys(e.metric for group in groups for e in group))


def _cells(estimates: Sequence[Estimate], metrics: Sequence[str]) -> tuple[str, ...]:
    found = {e.metric: e for e in estimates}
    return tuple(with_interval(found.get(m)) for m in metrics)


def class_table(rows: Sequence[ClassRow], patients_known: bool = True, *, labels: bool = False) -> Table | None:
    """A row per class with its size and figures; no count of patients where these are unknown.

    With `labels` (multilabel) the rows are labels, whose sizes are their positives.
    """
    if not rows:
        return None
    metrics = _columns(row.estimates for row in rows)
    table = Table(
        (*(("label", "positives") if labels else ("class", "records")), "patients", *(word(m).title for m in metrics)),
        tuple((r.name, str(r.n_records), str(r.n_patients), *_cells(r.estimates, metrics)) for r in rows),
        f"{'Records with each label against those without it' if labels else 'Each class against all others'}. Brackets "
        "give the confidence interval." + _bare(row.estimates for row in rows),
    )
    return table if patients_known else _without(table, "patients")


def _bare(groups: Iterable[Sequence[Estimate]]) -> str:
    """Why a figure stands without brackets, where one does; else nothing."""
    if not any(e.value is not None and e.low is None for group in groups for e in group):
        return ""
    return (
        " A figure without brackets has no interval: it was the same in all resamples (a figure of exactly 1 on few patients "
        "is no proof of perfection), undefined in most, or nothing was resampled."
    )


def _without(table: Table, column: str) -> Table:
    """The table without one column."""
    at = table.header.index(column)
    rows = tuple(row[:at] + row[at + 1 :] for row in table.rows)
    return replace(table, header=table.header[:at] + table.header[at + 1 :], rows=rows)


def group_table(rows: Sequence[GroupRow], minimum: int, patients_known: bool = True) -> Table | None:
    """A row per site or subgroup; groups that are too small show neither size nor figure."""
    if not rows:
        return None
    metrics = _columns(row.estimates for row in rows if not row.suppressed)
    columns = {row.column for row in rows}
    cells = []
    for row in rows:
        name = row.value if len(columns) == 1 else f"{row.column}: {row.value}"
        if row.suppressed:
            cells.append((name, "hidden", "hidden", *("–" for _ in metrics)))
        else:
            cells.append((name, _whole(row.n_records), _whole(row.n_patients), *_cells(row.estimates, metrics)))
    hidden = any(row.suppressed for row in rows)
    note = (
        f"hidden: < {minimum} {'patients' if patients_known else 'records'}, or the next smallest group where a hidden "
        "one could be worked out by subtraction. Such figures would be unreliable and could identify people."
    )
    head = next(iter(columns)) if len(columns) == 1 else "group"
    table = Table(
        (head, "records", "patients", *(word(m).title for m in metrics)),
        tuple(cells),
        ((note if hidden else "") + _bare(row.estimates for row in rows)).strip(),
    )
    return table if patients_known else _without(table, "patients")


def _whole(number: int | None) -> str:
    return "–" if number is None else str(number)


def variant_table(summary: Summary, main: str = "") -> Table | None:
    """A row per variant with its headline figures; `main` says what the headline is, such as ``"k=1"``."""
    if not summary.variants:
        return None
    groups: dict[str, list[Estimate]] = {f"main ({main})" if main else "main": list(summary.headline)}
    for estimate in summary.variants:
        groups.setdefault(estimate.variant, []).append(estimate)
    metrics = _columns(groups.values())
    rows = tuple((name, *_cells(estimates, metrics)) for name, estimates in groups.items())
    return Table(("variant", *(word(m).title for m in metrics)), rows, "“main” is the headline above.")


def fold_table(folds: Sequence[FoldRow], std: str = "sample", variant: str = "main") -> Table | None:
    """A row per fold of one variant, closed by the papers' mean ± standard deviation over folds.

    Args:
        folds: The folds of all variants.
        std: ``"sample"`` or ``"population"`` deviation, as the protocol's paper has it.
        variant: Which variant is shown.
    """
    rows = [row for row in folds if row.variant == variant]
    if len(rows) < 2:
        return None
    metrics = list(dict.fromkeys(m for row in rows for m in row.metrics))
    repeated = len({row.repeat for row in rows}) > 1
    cells = [
        (
            f"{row.repeat}.{row.fold}" if repeated else str(row.fold),
            str(row.n_records),
            *(figure(row.metrics.get(m)) for m in metrics),
        )
        for row in rows
    ]
    cells.append(("mean ± SD", "", *(mean_and_sd([row.metrics.get(m) for row in rows], std) for m in metrics)))
    return Table(
        ("repeat.fold" if repeated else "fold", "records", *(word(m).title for m in metrics)),
        tuple(cells),
        "Mean and standard deviation over folds are what papers print; they are not a confidence interval.",
    )


def mean_and_sd(values: Sequence[float | None], std: str = "sample") -> str:
    """``"0.870 ± 0.012"`` over the defined values; ``std`` as for :func:`fold_table`."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    if len(known) == 1:
        return figure(known[0])
    deviation = statistics.pstdev(known) if std == "population" else statistics.stdev(known)
    return f"{figure(statistics.fmean(known))} ± {figure(deviation)}"


_MOST_ROWS = 60


def record_table(records: Any) -> Table | None:
    """A list of like groups (one per training) as a table; ``None`` for anything else."""
    if not isinstance(records, list) or not records or not all(isinstance(r, dict) for r in records):
        return None
    columns = list(dict.fromkeys(key for record in records for key in record))
    rows = tuple(tuple(_cell(record.get(c)) for c in columns) for record in records[:_MOST_ROWS])
    left = len(records) - len(rows)
    return Table(tuple(columns), rows, f"{left} further rows are in result.json." if left > 0 else "")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return figure(value) if isinstance(value, float) else str(value)


def check_table(findings: Sequence[Finding]) -> Table | None:
    """A row per check that ran: code, title, outcome, what was found."""
    if not findings:
        return None
    order = {"error": 0, "warning": 1, "info": 2, "passed": 3}
    rows = []
    for finding in sorted(findings, key=lambda f: (order[f.severity], f.code)):
        outcome = {"error": "failed", "warning": "warning", "info": "note", "passed": "passed"}[finding.severity]
        if finding.allowed:
            outcome += ", allowed by the user"
        detail = finding.detail
        if finding.records and finding.severity != "passed":
            end = "" if not detail or detail[-1] in ".!?" else "."
            detail = f"{detail}{end} Records: {', '.join(finding.records)}.".strip()
        rows.append((finding.code, finding.title, outcome, detail))
    return Table(("code", "check", "outcome", "what was found"), tuple(rows), figures=False)


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as ``(key.key, text)`` rows; empty groups and ``None`` are left out."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        if item is None or (isinstance(item, (dict, list, str)) and not item):
            continue
        if isinstance(item, Mapping):
            rows += flat(item, f"{prefix}{key}.")
        elif isinstance(item, list):
            shown = ", ".join(_plain(part) for part in item[:12])
            rows.append((f"{prefix}{key}", shown + (f" … ({len(item)} in all)" if len(item) > 12 else "")))
        else:
            rows.append((f"{prefix}{key}", _plain(item)))
    return rows


def _plain(value: Any) -> str:
    """A setting for people: ``yes`` and ``no`` instead of Python's words."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def error_table(errors: Sequence[Mapping[str, str]], task: str) -> Table | None:
    """The most confident errors as rows, for results whose records have no picture."""
    if not errors:
        return None
    rows = tuple((e["id"], e["truth"], e["predicted"], e["score"]) for e in errors)
    return Table(("record", "truth", "predicted", "error" if task == "regression" else "score"), rows, figures=False)


def calibration_rows(summary: Summary) -> Table | None:
    """The calibration figures with their intervals."""
    calibration = summary.calibration
    if calibration is None:
        return None
    rows: list[tuple[str, str]] = [("expected calibration error", with_interval(calibration.ece))]
    if calibration.mce is not None:
        rows.append(("maximum calibration error", with_interval(calibration.mce)))
    rows.append(("Brier score", with_interval(calibration.brier)))
    if calibration.slope is not None:
        rows.append(
            ("slope (1 is best; below 1 is too sure)", value_with_ends(calibration.slope, calibration.slope_interval))
        )
    if calibration.intercept is not None:
        rows.append(("intercept (0 is best)", value_with_ends(calibration.intercept, calibration.intercept_interval)))
    if calibration.in_the_large is not None:
        shift = value_with_ends(calibration.in_the_large, calibration.in_the_large_interval)
        rows.append(("calibration in the large (0 is best)", shift))
    return Table(("figure", "value"), tuple(rows), calibration.note)


def value_with_ends(value: float, ends: tuple[float, float] | None) -> str:
    """``"0.870 (0.830–0.900)"``, or the value alone without an interval."""
    return figure(value) if ends is None else f"{figure(value)} ({figure(ends[0])}–{figure(ends[1])})"
