"""A split into train, val and test that keeps patients together. (Folds are a matter of evaluation/schemes.py.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

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


def _groups(cohort: Cohort, group: str) -> np.ndarray:
    values = cohort.column(group)
    if values.isna().any():
        raise CohortError(
            f"{int(values.isna().sum())} rows have no {group}.", where=cohort.name, expected=f"a {group} in every row"
        )
    return values.astype(str).to_numpy(dtype=object)


def _with_split(cohort: Cohort, split: pd.Series) -> Cohort:
    return replace(cohort, table=cohort.table.assign(split=split.astype(object).to_numpy()))
