"""Less data on purpose: few-shot sets by patient and nested fractions of the patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.splits import strata
from medfm.core.errors import CohortError


def few_shot(
    cohort: Cohort, target: str, shots: int, generator: np.random.Generator, *, per_patient: int | None = 1
) -> np.ndarray:
    """Row positions of `shots` records per class, from as many different patients as there are.

    Args:
        cohort: The training records.
        target: The class column.
        shots: Records per class.
        generator: Source of randomness.
        per_patient: Records a patient may give to a class before other patients have given
            theirs; ``None`` draws records freely.

    Returns:
        int64 positions in table order, exactly `shots` per class.

    Raises:
        CohortError: A class has fewer than `shots` records.
    """
    if shots < 1:
        raise CohortError(f"{shots} shots per class are too few.", expected="1 or more")
    classes = strata(cohort, target)
    patients = cohort.table["patient_id"].to_numpy(dtype=object)
    chosen: list[int] = []
    for code in np.unique(classes[classes >= 0]):
        rows = generator.permutation(np.flatnonzero(classes == code))
        if len(rows) < shots:
            name = cohort.column(target).iloc[int(rows[0])]
            raise CohortError(
                f"The class '{name}' has {len(rows)} records, fewer than {shots} shots.",
                where=cohort.name,
                fix="use fewer shots",
            )
        chosen += [int(r) for r in by_turn(rows, patients, per_patient)[:shots]]
    return np.array(sorted(chosen), dtype=np.int64)


def by_turn(rows: np.ndarray, patients: np.ndarray, per_patient: int | None) -> np.ndarray:
    """`rows` in an order in which a patient's further records come after those of all other patients.

    Args:
        rows: int (m,) positions in random order.
        patients: object (n,), the patient of each position.
        per_patient: Records a patient gives at a time; ``None`` leaves the order as it is.
    """
    if per_patient is None:
        return rows
    # A patient's n-th records come after every other patient's (n-1)-th: a stable sort by turn.
    return rows[np.argsort(_turn(patients[rows]) // per_patient, kind="stable")]


def _turn(patients: np.ndarray) -> np.ndarray:
    """For every row how many rows of the same patient came before it."""
    counts: dict[object, int] = {}
    turns = np.zeros(len(patients), dtype=np.int64)
    for i, patient in enumerate(patients):
        turns[i] = counts.get(patient, 0)
        counts[patient] = int(turns[i]) + 1
    return turns


def nested_fractions(
    cohort: Cohort, fractions: Sequence[float], generator: np.random.Generator, target: str | None = None
) -> dict[float, np.ndarray]:
    """For each fraction the row positions of that share of the patients, each inside the larger.

    Patients are drawn in one order per class (the class most of a patient's records have), so
    classes keep their shares; every class keeps at least one patient.

    Args:
        cohort: The training records.
        fractions: Shares of the patients in (0, 1], such as ``(0.01, 0.1, 1.0)``.
        generator: Source of randomness.
        target: The class column; ``None`` draws without regard to classes.

    Returns:
        Fraction -> int64 positions in table order. ``1.0`` holds every row with a target.

    Raises:
        CohortError: A fraction is not in (0, 1].
    """
    wrong = [f for f in fractions if not 0 < f <= 1]
    if wrong:
        raise CohortError(f"{wrong[0]} is not a fraction of the patients.", expected="above 0, at most 1")
    classes = strata(cohort, target)
    used = np.flatnonzero(classes >= 0)
    names, inverse = np.unique(cohort.table["patient_id"].to_numpy(dtype=str)[used], return_inverse=True)
    table = np.zeros((len(names), max(int(classes.max()) + 1, 1)))
    np.add.at(table, (inverse, classes[used]), 1)
    share = np.empty(len(names))
    rank = np.empty(len(names), dtype=np.int64)
    main = _main_class(table)
    for code in np.unique(main):
        order = generator.permutation(np.flatnonzero(main == code))
        share[order] = (np.arange(len(order)) + 1) / len(order)
        rank[order] = np.arange(len(order))
    kept = {}
    for fraction in fractions:
        # Within a class the first ceil-free share of its patients; the first patient is always in.
        patients = (share <= fraction + 1e-9) | (rank == 0)
        patients |= _missing_classes(table, patients, share)
        kept[fraction] = used[patients[inverse]]
    return kept


def _main_class(table: np.ndarray) -> np.ndarray:
    """The class most of a patient's records have; on a tie the rarer one."""
    rarity = 1 / np.maximum(table.sum(axis=0), 1)
    return np.asarray((table + 1e-6 * rarity).argmax(axis=1))


def _missing_classes(table: np.ndarray, patients: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Patients to add so that every class has one; the choice does not depend on the fraction."""
    extra = np.zeros(len(patients), dtype=bool)
    for code in range(table.shape[1]):
        holders = np.flatnonzero(table[:, code] > 0)
        if len(holders) and not patients[holders].any():
            extra[holders[share[holders].argmin()]] = True
    return extra
