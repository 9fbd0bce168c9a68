"""Folds and sites: strata that balance sites beside classes, and every site tested by the others."""

from __future__ import annotations

import numpy as np

from medfm.core.errors import EvaluationError

_MOST_NAMED = 5


def site_names(sites: np.ndarray | None, count: int) -> np.ndarray:
    """Names of sites, object (count,); ``""`` where the site is unknown."""
    if sites is None:
        return np.full(count, "", dtype=object)
    return np.array(["" if v is None or v != v else str(v) for v in sites], dtype=object)


def site_strata(strata: np.ndarray, sites: np.ndarray | None, patients: np.ndarray, folds: int) -> np.ndarray:
    """int64 (n,): `strata` divided by site where that can be balanced.

    A class at a site with fewer patients than folds cannot be in every fold; such cells of a class are taken
    together, so that the class itself stays balanced. With fewer than two sites the strata come back.

    Args:
        strata: int64 (n,), the classes.
        sites: object (n,), missing where unknown.
        patients: object (n,).
        folds: Number of folds to come.
    """
    names, place = np.unique(site_names(sites, len(strata)).astype(str), return_inverse=True)
    if len(names) < 2:
        return strata
    owners = np.unique(patients.astype(str), return_inverse=True)[1].reshape(-1)
    cells = strata * (len(names) + 1) + place.reshape(-1)
    pairs = np.unique(np.column_stack([cells, owners]), axis=0)
    found, sizes = np.unique(pairs[:, 0], return_counts=True)
    small = np.isin(cells, found[sizes < folds])
    return np.where(small, strata * (len(names) + 1) + len(names), cells).astype(np.int64)


def site_folds(
    sites: np.ndarray | None, patients: np.ndarray
) -> tuple[list[tuple[str, np.ndarray, np.ndarray]], list[str]]:
    """Per site its name, the rows (int64) that train and the rows that test, in the order of the names; and notes.

    A patient with records at two sites is never on both sides: where one of the sites is tested, the patient's
    records at the other do not train.

    Args:
        sites: object (n,), missing where unknown.
        patients: object (n,).

    Raises:
        EvaluationError: A record without a site, fewer than two sites, or a site that has all patients.
    """
    names = site_names(sites, len(patients))
    missing = int((names == "").sum())
    if 0 < missing < len(names):
        raise EvaluationError(
            f"{missing} of {len(names)} records have no site.",
            where="column 'site'",
            expected="a site for every record, since every record is tested once",
            fix="fill the column, or keep the others with --where",
        )
    found = sorted(set(names.tolist()) - {""})
    if len(found) < 2:
        raise EvaluationError(
            f"Leaving one site out needs two sites; the records name {len(found)}.",
            where="column 'site'",
            fix="name the column with --map site=COLUMN, or use --set scheme.kind=kfold",
        )
    owners = patients.astype(str)
    folds, moved = [], set()
    for name in found:
        inside = names == name
        seen = np.isin(owners, owners[inside])
        moved |= set(owners[seen & ~inside].tolist())
        train = np.flatnonzero(~seen)
        if not len(train):
            raise EvaluationError(
                f"Every patient has a record at the site '{name}', so that nobody is left to train on.",
                where="column 'site'",
                fix="use --set scheme.kind=kfold",
            )
        folds.append((name, train.astype(np.int64), np.flatnonzero(inside).astype(np.int64)))
    notes = []
    if moved:
        some = ", ".join(sorted(moved)[:_MOST_NAMED]) + (" ..." if len(moved) > _MOST_NAMED else "")
        notes.append(
            f"{len(moved)} patients have records at two or more sites ({some}): where one of these sites is tested, "
            "their records elsewhere do not train."
        )
    return folds, notes
