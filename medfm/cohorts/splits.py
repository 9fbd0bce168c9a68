"""Splits that keep patients together: k-fold, train/val/test, leave-one-site-out.

Every function takes the cohort as it is and returns row positions or a new cohort; the seed
comes as a :class:`numpy.random.Generator`. Rows without a target value are never placed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from medfm.cohorts.checks.table import is_continuous
from medfm.cohorts.cohort import SPLITS, Cohort
from medfm.core.errors import CohortError

_BINS = 5


def strata(cohort: Cohort, target: str | None) -> np.ndarray:
    """The class of every row for stratifying, as int64 (n,): -1 where the target is missing.

    A continuous target is cut at its quintiles; without a target all rows are of class 0.
    """
    if target is None:
        return np.zeros(len(cohort), dtype=np.int64)
    values = cohort.column(target)
    if is_continuous(values):
        edges = np.quantile(values.dropna(), np.arange(1, _BINS) / _BINS)
        codes = np.searchsorted(edges, values.fillna(0).to_numpy(dtype=float), side="right")
    else:
        present = values.dropna().astype(str)
        order = {name: i for i, name in enumerate(sorted(set(present)))}
        codes = np.array([order.get(str(v), -1) for v in values])
    return np.where(values.isna(), -1, codes).astype(np.int64)


def group_folds(
    cohort: Cohort,
    folds: int,
    generator: np.random.Generator,
    target: str | None = None,
    group: str = "patient_id",
) -> np.ndarray:
    """The fold of every row, int64 (n,) in 0..folds-1, -1 where the target is missing.

    Groups stay whole; classes are spread as evenly as the groups allow.

    Raises:
        CohortError: There are fewer groups than folds, or a row has no group.
    """
    if folds < 2:
        raise CohortError("A split into folds needs at least 2.", where=cohort.name)
    groups, classes = _groups(cohort, group), strata(cohort, target)
    used = np.flatnonzero(classes >= 0)
    number = len(np.unique(groups[used]))
    if number < folds:
        raise CohortError(
            f"{number} different values of {group} cannot fill {folds} folds.",
            where=cohort.name,
            expected=f"at least {folds}",
            fix="use fewer folds",
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=int(generator.integers(2**32)))
    result = np.full(len(cohort), -1, dtype=np.int64)
    smallest = np.bincount(classes[used]).max()
    if smallest < folds:
        # scikit-learn refuses when every class has fewer rows than folds: spread the groups alone.
        result[used] = _spread(groups[used], folds, generator)
        return result
    with warnings.catch_warnings():
        # A class with fewer rows than folds is check S002's to report, with the class named.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(np.zeros(len(used)), classes[used], groups[used])):
            result[used[test]] = fold
    if len(np.unique(result[used])) < folds:
        result[used] = _spread(groups[used], folds, generator)
    return result


def _spread(groups: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """Folds of whole groups in random order, each group into the fold with the fewest rows."""
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    fold_of, rows = np.zeros(len(names), dtype=np.int64), np.zeros(folds)
    order = generator.permutation(len(names))
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[group] = int(rows.argmin())
        rows[fold_of[group]] += sizes[group]
    return np.asarray(fold_of[inverse], dtype=np.int64)


def train_val_test(
    cohort: Cohort,
    generator: np.random.Generator,
    target: str | None = None,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    group: str = "patient_id",
) -> Cohort:
    """`cohort` with its `split` column filled: whole groups, classes in near-equal shares.

    Args:
        cohort: The cohort; its present splits are overwritten.
        generator: Source of randomness.
        target: Column to stratify by.
        fractions: Shares of train, val and test by rows; they sum to 1, val may be 0.
        group: Column whose values stay whole.

    Raises:
        CohortError: The fractions are wrong or there are too few groups.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6 or shares[0] == 0 or shares[2] == 0:
        raise CohortError(
            f"The fractions {tuple(fractions)} are wrong.",
            expected="train, val and test, summing to 1; only val may be 0",
        )
    groups, classes = _groups(cohort, group), strata(cohort, target)
    names, inverse = np.unique(groups, return_inverse=True)
    parts = [i for i in range(3) if shares[i] > 0]
    if len(names) < len(parts):
        raise CohortError(
            f"{len(names)} different values of {group} cannot fill {len(parts)} splits.", where=cohort.name
        )
    part_of = _deal(inverse, classes, len(names), shares, generator)
    split = pd.Series([SPLITS[part_of[i]] if c >= 0 else None for i, c in zip(inverse, classes, strict=True)])
    return _with_split(cohort, split)


def _deal(
    group: np.ndarray, classes: np.ndarray, count: int, shares: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """The part (0, 1, 2) of every group: largest groups first, each where its classes are missing most."""
    used = classes >= 0
    table = np.zeros((count, max(int(classes.max()) + 1, 1)))
    np.add.at(table, (group[used], classes[used]), 1)
    wanted = shares[:, None] * table.sum(axis=0)
    got = np.zeros_like(wanted)
    # Rare classes weigh as much as common ones.
    weight = 1 / np.maximum(table.sum(axis=0), 1)
    order = generator.permutation(count)
    order = order[np.argsort(-table[order].sum(axis=1), kind="stable")]
    part_of = np.zeros(count, dtype=np.int64)
    for position, one in enumerate(order):
        # Need of each part for this group's classes, relative to its share.
        need = ((wanted - got) * (table[one] * weight)).sum(axis=1) / np.maximum(shares, 1e-12)
        empty = [p for p in range(3) if shares[p] > 0 and not got[p].any()]
        if empty and count - position <= len(empty):
            need[[p for p in range(3) if p not in empty]] = -np.inf
        need[shares == 0] = -np.inf
        part_of[one] = int(need.argmax())
        got[part_of[one]] += table[one]
    return part_of


def leave_one_site_out(cohort: Cohort) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Per site ``(site, train rows, test rows)``; rows of patients seen at both are left out of train.

    Raises:
        CohortError: Fewer than two sites are named.
    """
    sites = cohort.table["site"]
    names = sorted({str(s) for s in sites.dropna()})
    if len(names) < 2:
        raise CohortError(
            f"Leaving one site out needs two sites; this cohort names {len(names)}.",
            where=cohort.name,
            fix="name the site column with --map site=COLUMN",
        )
    patients = cohort.table["patient_id"].to_numpy(dtype=object)
    for name in names:
        inside = (sites == name).to_numpy(dtype=bool)
        seen = set(patients[inside])
        other = sites.notna().to_numpy(dtype=bool) & ~inside
        train = [int(i) for i in np.flatnonzero(other) if patients[i] not in seen]
        yield name, np.array(train, dtype=np.int64), np.flatnonzero(inside)


def _groups(cohort: Cohort, group: str) -> np.ndarray:
    values = cohort.column(group)
    if values.isna().any():
        raise CohortError(
            f"{int(values.isna().sum())} rows have no {group}.", where=cohort.name, expected=f"a {group} in every row"
        )
    return values.astype(str).to_numpy(dtype=object)


def _with_split(cohort: Cohort, split: pd.Series) -> Cohort:
    return replace(cohort, table=cohort.table.assign(split=split.astype(object).to_numpy()))
