"""Times and events of a cohort: checked, and one row per patient where the protocol asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import EvaluationError
from medfm.evaluation.survival_config import Survival

_MOST_CAUSES = 10


@dataclass(frozen=True)
class SurvivalData:
    """What a survival model is fitted on, n units (patients or records).

    Attributes:
        values: float (n, d) embeddings.
        time: float64 (n,) follow-up in the table's unit, above 0.
        event: int64 (n,): 1 the event of interest, 0 censored, 2 and above competing events.
        table: n rows: ``record_id, patient_id, site, split`` and the carried columns.
        codes: The table's own code of event 1, 2, ...
        notes: What a reader must know.
    """

    values: np.ndarray
    time: np.ndarray
    event: np.ndarray
    table: pd.DataFrame
    codes: tuple[int, ...]
    notes: tuple[str, ...] = ()


def survival_data(
    values: np.ndarray,
    cohort: Cohort,
    time: str,
    event: str,
    method: Survival,
    *,
    drop_unlabelled: bool = False,
) -> SurvivalData:
    """The units of `cohort` with their follow-up.

    Args:
        values: (n, d), one row per record of `cohort`, in its order.
        cohort: The records.
        time: Column of the follow-up time to the event or to censoring.
        event: Column of 0 (censored), 1 (event), 2 ... (competing events); truth values are read too.
        method: Which unit, which cause.
        drop_unlabelled: Leave out records whose time or event is missing instead of stopping.

    Raises:
        CohortError: There is no such column.
        EvaluationError: A time or event is missing or impossible, nobody has the event or all have
            it at the same time, or records of one patient contradict each other.
    """
    times, codes = numbers_of(cohort, time), numbers_of(cohort, event)
    known = np.isfinite(times) & np.isfinite(codes)
    notes = []
    if not known.all():
        if not drop_unlabelled:
            raise EvaluationError(
                f"{int((~known).sum())} of {len(known)} records lack a time or an event.",
                where=f"columns '{time}' and '{event}': {_ids(cohort, ~known)}",
                expected="both for every record; somebody without the event has 0 and the time last seen",
                fix="fill them in, or leave these records out (--drop-unlabelled; in Python drop_unlabelled=True)",
            )
        notes.append(f"{int((~known).sum())} records without a time or an event are left out.")
        cohort, times, codes, values = cohort.subset(known), times[known], codes[known], values[known]
    _refuse(cohort, time, event, times, codes, method)
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        raise EvaluationError(
            f"{int(broken.sum())} records have an embedding that is not finite.",
            where=_ids(cohort, broken),
            fix="embed them again, or leave them out",
        )
    chosen = [int(c) for c in np.unique(codes) if c not in (0, method.cause)]
    order = (method.cause, *chosen)
    events = np.zeros(len(codes), dtype=np.int64)
    for place, code in enumerate(order, start=1):
        events[codes == code] = place
    data = SurvivalData(np.asarray(values, np.float64), times, events, cohort.table.reset_index(drop=True), order)
    data, said = _units(data, method.unit, cohort.patients_known)
    if len(order) > 1:
        counts = ", ".join(f"{int((data.event == i).sum())} with code {c}" for i, c in enumerate(order[1:], start=2))
        said.append(
            f"Competing events ({counts}) end the follow-up like censoring in the regression and in C and AUC "
            "(cause-specific hazards); the cumulative incidence takes them into account."
        )
    return SurvivalData(data.values, data.time, data.event, data.table, order, (*notes, *said))


def numbers_of(cohort: Cohort, column: str) -> np.ndarray:
    """float64 (n,) of a column, NaN where it is empty; raises EvaluationError where it holds words."""
    series = cohort.column(column)
    if pd.api.types.is_bool_dtype(series):
        return series.to_numpy(dtype=np.float64)
    texts = series.astype(str).str.strip().str.lower()
    lowered = series.where(~texts.isin(("true", "false")), texts == "true")
    numbers = pd.to_numeric(lowered, errors="coerce").astype(np.float64)
    bad = numbers.isna() & series.notna() & (texts != "")
    if bad.any():
        raise EvaluationError(
            f"The column '{column}' holds something that is no number.",
            where=_ids(cohort, bad.to_numpy(dtype=bool)),
            expected="follow-up as a number (in days, months ...); events as 0, 1, 2 ... or true and false",
            fix="write times without their unit and name it with --unit; take dates from one another first; write words "
            "such as 'alive' as 0 (last seen without the event), 1 (the event), 2 and above (competing events)",
        )
    return numbers.to_numpy(dtype=np.float64)


def _refuse(cohort: Cohort, time: str, event: str, times: np.ndarray, codes: np.ndarray, method: Survival) -> None:
    if not len(times):
        raise EvaluationError("No record has both a time and an event.", where=f"columns '{time}' and '{event}'")
    if (times <= 0).any():
        raise EvaluationError(
            f"{int((times <= 0).sum())} records have a follow-up of 0 or less.",
            where=f"column '{time}': {_ids(cohort, times <= 0)}",
            expected="a time above 0, counted from the record on",
            fix="leave out those who had the event before the record was made",
        )
    if (codes < 0).any() or (codes % 1 != 0).any() or len(np.unique(codes)) > _MOST_CAUSES:
        raise EvaluationError(
            f"The column '{event}' does not hold codes of events.",
            where=f"values {', '.join(f'{v:g}' for v in np.unique(codes)[:8])}",
            expected="0 for censored, 1 for the event, 2 and above for competing events",
        )
    if not (codes == method.cause).any():
        there = ", ".join(f"{v:g}" for v in np.unique(codes))
        raise EvaluationError(
            f"No record has the event {method.cause}.",
            where=f"column '{event}' holds {there}",
            expected="at least one record with the event of interest",
            fix="name its code with --set method.cause=CODE, or check the rows kept by --where",
        )


def _units(data: SurvivalData, unit: str, patients_known: bool) -> tuple[SurvivalData, list[str]]:
    patients = data.table["patient_id"].astype(str).to_numpy()
    names, first, code = np.unique(patients, return_index=True, return_inverse=True)
    code = code.reshape(-1)
    if len(names) == len(patients) or not patients_known:
        return data, []
    repeated = f"{len(patients)} records of {len(names)} patients"
    if unit == "record":
        return data, [
            f"{repeated}: every record counts. Intervals of C and AUC are clustered by patient, and so is that of the "
            "hazard ratio; the Kaplan-Meier intervals and the log-rank test are not and look too sure."
        ]
    rows = np.sort(first)
    if unit == "first":
        kept = data.table.iloc[rows].reset_index(drop=True)
        one = SurvivalData(data.values[rows], data.time[rows], data.event[rows], kept, data.codes)
        return one, [f"{repeated}: only each patient's first row counts."]
    differs = (data.time != data.time[first][code]) | (data.event != data.event[first][code])
    if differs.any():
        some = sorted({str(v) for v in data.table["record_id"].to_numpy()[differs]})[:5]
        raise EvaluationError(
            f"Records of one patient have different times or events ({len(set(code[differs]))} patients).",
            where=f"records {', '.join(some)}",
            expected="one follow-up per patient",
            fix="mend the table; or take each patient's first row (--set method.unit=first), or every record as its own "
            "start of follow-up (--set method.unit=record)",
        )
    sums = np.zeros((len(names), data.values.shape[1]))
    np.add.at(sums, code, data.values)
    place = code[rows]
    means = (sums / np.bincount(code)[:, None])[place]
    kept = data.table.iloc[rows].reset_index(drop=True)
    kept = kept.assign(record_id=kept["patient_id"])
    one = SurvivalData(means, data.time[rows], data.event[rows], kept, data.codes)
    return one, [f"{repeated}: a patient's embedding is the mean over the patient's records."]


def _ids(cohort: Cohort, mask: np.ndarray) -> str:
    ids = cohort.table.loc[np.asarray(mask, bool), "record_id"].astype(str).tolist()
    return "records " + ", ".join(ids[:8]) + (" ..." if len(ids) > 8 else "")
