"""Which units train and which test: fixed splits, folds, folds inside train, small fractions.

A unit is a record, or a patient for bags of cells. All randomness comes from the seed of the
scheme; unshuffled folds depend on the order of the units only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from medfm.core.errors import EvaluationError
from medfm.evaluation.balanced_folds import balanced_folds
from medfm.evaluation.path_order import patients_by_order
from medfm.evaluation.protocol import Scheme
from medfm.evaluation.site_folds import site_folds, site_strata


@dataclass(frozen=True)
class Fold:
    """One training: positions (int64) of the units that train, validate and test.

    `validation` is empty where there is none. `variant`, `repeat` and `fold` label the
    predictions.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray
    repeat: int = 0
    fold: int = 0
    fraction: float = 1.0


_NONE = np.empty(0, dtype=np.int64)


def make_folds(
    scheme: Scheme,
    *,
    split: np.ndarray,
    patients: np.ndarray,
    strata: np.ndarray,
    sites: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> tuple[list[Fold], list[str]]:
    """The folds of `scheme`, and notes a reader must know.

    Args:
        scheme: Kind, folds, shuffling, grouping, repeats, seed.
        split: object (n,): ``"train"``, ``"val"``, ``"test"`` or missing.
        patients: object (n,): the patient of each unit.
        strata: int64 (n,): what stratified folds balance.
        sites: object (n,), missing where unknown; ``None`` where no site is known.
        order: int64 (n,), the units' places by path, for ``draw: published``; ``None``: as they stand.

    Raises:
        EvaluationError: The split lacks train or test, there are too few patients or sites, or the folds cannot be
            balanced.
    """
    if scheme.kind == "leave_one_site_out":
        found, notes = site_folds(sites, patients)
        return [Fold(train, test, _NONE, 0, i) for i, (_, train, test) in enumerate(found)], notes
    if scheme.balance_sites and scheme.stratify:
        strata = site_strata(strata, sites, patients, scheme.folds)
    if scheme.kind == "balanced_kfold":
        return _balanced(scheme, patients, strata, np.arange(len(patients)) if order is None else order)
    split = np.array(["" if v is None or v != v else str(v) for v in split], dtype=object)
    kind = scheme.kind
    if kind == "split_or_kfold":
        kind = "split" if (split == "test").any() and (split == "train").any() else "kfold"
    if kind == "kfold":
        return _k_folds(scheme, np.arange(len(split)), patients, strata, tested_inside=True)
    train, validation, test = (np.flatnonzero(split == name) for name in ("train", "val", "test"))
    for name, rows in (("train", train), ("test", test)):
        if not len(rows):
            raise EvaluationError(
                f"No record of the cohort has the split '{name}'.",
                where="column 'split'",
                expected="'train' and 'test' (and 'val' if there is one)",
                fix="give a split column, split the cohort by patient first, or use --set scheme.kind=kfold",
            )
    if kind == "split":
        return [Fold(train, test, validation)], []
    folds, notes = _k_folds(scheme, train, patients, strata, tested_inside=False)
    if len(validation):
        notes.append("The cohort's val records are not used: validation folds are drawn inside train.")
    return [replace(fold, validation=fold.test, test=test) for fold in folds], notes


def _balanced(
    scheme: Scheme, patients: np.ndarray, strata: np.ndarray, order: np.ndarray
) -> tuple[list[Fold], list[str]]:
    """Balanced folds as positions of units; a patient is positive where any of the units is."""
    if not set(np.unique(strata).tolist()) <= {0, 1}:
        raise EvaluationError(
            "Balanced folds need two classes.", where="scheme.kind", fix="use k folds (--set scheme.kind=kfold)"
        )
    names, owner = np.unique(patients.astype(str), return_inverse=True)
    positive = np.bincount(owner, weights=strata, minlength=len(names)) > 0
    # The published program shuffles patients in the order in which their files are listed, ours in that of their ids.
    listed = np.arange(len(names))
    if scheme.draw == "published":
        listed = np.searchsorted(names, patients_by_order(patients, order).astype(str))
    folds = []
    for f in balanced_folds(
        positive[listed], runs=scheme.repeats, folds=scheme.folds, draw=scheme.draw, seed=scheme.seed
    ):
        train, test = (np.flatnonzero(np.isin(owner, listed[part])) for part in (f.train, f.test))
        folds.append(Fold(train, test, _NONE, f.run - 1, f.fold))
    over = int((~positive).sum() - positive.sum())
    note = (
        f"Every test fold holds equally many positive and negative patients: the prevalence is forced to 50 %, where "
        f"{100 * positive.mean():.0f} % of the cohort's patients are positive. Accuracy, F1, precision and predictive values "
        "belong to that prevalence and are not those of the cohort"
    )
    return folds, [note + (f", and {over} negative patients are not tested in a repeat." if over else ".")]


def folds_planned(scheme: Scheme, inner: int | None, split: Iterable[object]) -> int:
    """Over how many folds the patients of a class are spread at most; 1 where there are none.

    Args:
        scheme: Which records train and which test.
        inner: Folds inside the training records of a fixed split, if a setting is chosen by them.
        split: As of :func:`make_folds`.
    """
    names = {str(value) for value in split if value is not None and value == value}
    fixed = scheme.kind == "split" or (scheme.kind == "split_or_kfold" and {"train", "test"} <= names)
    return (inner or 1) if fixed else scheme.folds


def _k_folds(
    scheme: Scheme, rows: np.ndarray, patients: np.ndarray, strata: np.ndarray, *, tested_inside: bool
) -> tuple[list[Fold], list[str]]:
    folds: list[Fold] = []
    notes: list[str] = []
    for repeat in range(scheme.repeats):
        parts, said = split_rows(
            scheme.folds,
            patients[rows] if scheme.group_by_patient else None,
            strata[rows] if scheme.stratify else None,
            seed=scheme.seed + repeat if scheme.shuffle else None,
            count=len(rows),
        )
        notes += [note for note in said if note not in notes]
        folds += [Fold(rows[a], rows[b], _NONE, repeat, i) for i, (a, b) in enumerate(parts)]
    if tested_inside and scheme.repeats > 1 and not scheme.shuffle:
        notes.append("Unshuffled folds are the same in every repeat.")
    return folds, notes


def split_rows(
    folds: int, patients: np.ndarray | None, strata: np.ndarray | None, *, seed: int | None, count: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[str]]:
    """`folds` pairs of positions (train, test) over `count` units, and notes.

    Args:
        folds: Number of folds.
        patients: Groups that never cross a fold, or ``None``.
        strata: Classes to balance, or ``None``.
        seed: Seed of the shuffling; ``None`` keeps the order of the units.
        count: Number of units.

    Raises:
        EvaluationError: Fewer units or patients than folds.
    """
    notes: list[str] = []
    groups = None
    if patients is not None:
        groups = np.unique(patients.astype(str), return_inverse=True)[1]
        if groups.max(initial=-1) + 1 == count:
            groups = None  # every unit is its own patient: plain folds, much quicker
    units = count if groups is None else int(groups.max()) + 1
    what = "records" if groups is None else "patients"
    if units < folds:
        raise EvaluationError(
            f"{units} {what} cannot be cut into {folds} folds.",
            expected=f"at least {folds} {what}",
            fix=f"use fewer folds (--set scheme.folds={units}) or a larger cohort"
            if units > 1
            else "use a larger cohort",
        )
    if strata is not None:
        held = np.array([_units_of(strata == s, groups) for s in np.unique(strata)])
        if held.max() < folds:
            strata = None
            notes.append(f"No class has {folds} {what}; the folds are not stratified.")
        elif held.min() < folds:
            notes.append(
                f"{int((held < folds).sum())} of {len(held)} classes have fewer than {folds} {what}: "
                "some folds test or train without them."
            )
    shuffle = seed is not None
    splitter: KFold | StratifiedKFold | GroupKFold | StratifiedGroupKFold
    if groups is None:
        kind = KFold if strata is None else StratifiedKFold
        splitter = kind(folds, shuffle=shuffle, random_state=seed)
    elif strata is None:
        groups = groups if seed is None else np.random.default_rng(seed).permutation(units)[groups]
        splitter = GroupKFold(folds)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=shuffle, random_state=seed)
    with warnings.catch_warnings():
        # scikit-learn warns of rare classes; the notes above say it with counts.
        warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(np.zeros(count), strata, groups))
    if any(len(test) == 0 for _, test in parts):
        raise EvaluationError(f"The {folds} folds by patient leave a fold empty.", fix="use fewer folds")
    return [(a.astype(np.int64), b.astype(np.int64)) for a, b in parts], notes


def _units_of(mask: np.ndarray, groups: np.ndarray | None) -> int:
    return int(mask.sum()) if groups is None else len(np.unique(groups[mask]))


def draw_fractions(
    folds: list[Fold],
    fractions: tuple[float, ...],
    draws: int,
    *,
    patients: np.ndarray,
    strata: np.ndarray,
    generator: Callable[[int], np.random.Generator],
) -> list[Fold]:
    """Training subsets by patient: nested, stratified, every class kept.

    Per fold and draw the patients of each stratum (a patient's most frequent one) are put in a
    random order once; a fraction f takes the first ceil(f x count), at least one, so that the
    1 % subset lies inside the 10 % subset. A fraction of 1 is the fold itself.

    Args:
        folds: The full folds.
        fractions: Shares in (0, 1].
        draws: Draws for each fraction below 1.
        patients: The patient of each unit.
        strata: The class of each unit.
        generator: Gives the random generator of draw number i.

    Raises:
        EvaluationError: A fraction is outside (0, 1].
    """
    bad = [f for f in fractions if not 0 < f <= 1]
    if bad:
        raise EvaluationError(f"A fraction of {bad[0]:g} cannot be drawn.", expected="shares in (0, 1]")
    drawn: list[Fold] = []
    for number, fold in enumerate(folds):
        if 1.0 in fractions:
            drawn.append(fold)
        small = sorted(f for f in fractions if f < 1)
        for draw in range(draws if small else 0):
            order = _ordered_patients(fold.train, patients, strata, generator(number * draws + draw))
            for fraction in small:
                kept = {p for members in order for p in members[: int(np.ceil(fraction * len(members) - 1e-9))]}
                rows = fold.train[[p in kept for p in patients[fold.train]]]
                drawn.append(replace(fold, train=rows, repeat=fold.repeat * draws + draw, fraction=fraction))
    return drawn


def draw_fractions_by_record(folds: list[Fold], fractions: tuple[float, ...], draws: int, *, seed: int) -> list[Fold]:
    """Training subsets as MERL's program draws them: by record, unstratified, not nested.

    Draw i is ``train_test_split(train_size=f, random_state=seed + i)`` of scikit-learn over the
    training rows in their order: floor(f x count) rows. A patient's records may be torn apart and
    classes may lack. Source: finetune/main_single.py of cheliu-computation/MERL-ICML2024 at 38799b7.

    Args:
        folds: The full folds.
        fractions: Shares in (0, 1].
        draws: Draws for each fraction below 1.
        seed: Of the first draw; 42 as published.

    Raises:
        EvaluationError: A fraction is outside (0, 1], or would hold no record.
    """
    from sklearn.model_selection import train_test_split

    bad = [f for f in fractions if not 0 < f <= 1]
    if bad:
        raise EvaluationError(f"A fraction of {bad[0]:g} cannot be drawn.", expected="shares in (0, 1]")
    drawn: list[Fold] = []
    for fold in folds:
        if 1.0 in fractions:
            drawn.append(fold)
        for draw in range(draws):
            for fraction in sorted(f for f in fractions if f < 1):
                if int(fraction * len(fold.train)) < 1:
                    raise EvaluationError(
                        f"{100 * fraction:g} % of {len(fold.train)} training records is less than one record.",
                        fix="use larger fractions (--set fractions=[1,0.1])",
                    )
                rows, _ = train_test_split(fold.train, train_size=fraction, random_state=seed + draw)
                drawn.append(replace(fold, train=rows, repeat=fold.repeat * draws + draw, fraction=fraction))
    return drawn


def _ordered_patients(
    rows: np.ndarray, patients: np.ndarray, strata: np.ndarray, generator: np.random.Generator
) -> list[list[object]]:
    """Per stratum its patients in random order."""
    seen: dict[object, list[int]] = {}
    for row in rows:
        seen.setdefault(patients[row], []).append(int(strata[row]))
    by_stratum: dict[int, list[object]] = {}
    for patient, values in seen.items():
        by_stratum.setdefault(int(np.bincount(np.array(values)).argmax()), []).append(patient)
    return [[members[i] for i in generator.permutation(len(members))] for _, members in sorted(by_stratum.items())]
