"""k shots per class: which records train, choose settings and test, drawn again and again."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.evaluation.protocol_adapters import FewShot
from medfm.evaluation.schemes import Fold
from medfm.evaluation.target import Target


@dataclass(frozen=True)
class ShotFold:
    """One training set of `shots` records per class; ``fold.repeat`` counts the draws."""

    shots: int
    fold: Fold


def draw_shots(
    folds: list[Fold], plan: FewShot, target: Target, patients: np.ndarray, *, validate: bool
) -> tuple[list[ShotFold], list[str]]:
    """Training sets of every number of shots, nested: those of 2 shots lie inside those of 4.

    Args:
        folds: Where training, validation and test records come from.
        plan: Shots, draws, seed.
        target: Classes of all units.
        patients: object (n,), the patient of each unit.
        validate: Also draw validation shots: from the fold's validation records where there are
            any, else from the training records of patients who are in no training set of the draw.

    Returns:
        Per fold, draw and number of shots one entry, and notes. Numbers of shots that some class
        cannot give are left out, with a note.

    Raises:
        EvaluationError: Not a task of one class per record, or no number of shots can be drawn.
    """
    if target.task not in ("binary", "multiclass"):
        raise EvaluationError(
            f"Shots per class need one class per record; this is a {target.task} task.",
            expected="a single column of classes",
            fix="name one column with --target, or use medfm probe with --set fractions=[1,0.1]",
        )
    notes: list[str] = []
    found: list[ShotFold] = []
    for number, fold in enumerate(folds):
        counts = np.bincount(target.values[fold.train], minlength=len(target.classes))
        rarest = int(counts.argmin())
        usable = [k for k in plan.shots if k <= counts[rarest]]
        if not usable:
            raise EvaluationError(
                f"The class '{target.classes[rarest]}' has {counts[rarest]} training records, fewer than "
                f"{plan.shots[0]} shots.",
                fix="fewer shots (--shots), or do without the class (--leave-out)",
            )
        if len(usable) < len(plan.shots):
            left = ", ".join(str(k) for k in plan.shots if k not in usable)
            _note(
                notes,
                f"Not drawn: {left} shots; the class '{target.classes[rarest]}' has {counts[rarest]} training records.",
            )
        for draw in range(plan.draws):
            source = np.random.default_rng([plan.seed, number, draw])
            order = [
                by_turn(source.permutation(_of_class(fold.train, target, c)), patients, plan.per_patient)
                for c in range(len(target.classes))
            ]
            largest = np.concatenate([rows[: usable[-1]] for rows in order])
            pool = _validation_pool(fold, largest, target, patients, source, plan, notes) if validate else []
            for k in usable:
                train = np.sort(np.concatenate([rows[:k] for rows in order]))
                chosen = [rows[: plan.validation_shots or k] for rows in pool]
                validation = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)
                drawn = replace(fold, train=train, validation=validation, repeat=fold.repeat * plan.draws + draw)
                found.append(ShotFold(k, drawn))
    # A number of shots that only some folds can give would average over other records than the rest.
    shared = set.intersection(*({s.shots for s in found if s.fold.fold == f.fold} for f in folds))
    found = [s for s in found if s.shots in shared]
    if not found:
        raise EvaluationError("No number of shots can be drawn in every fold.", fix="fewer shots (--shots)")
    return found, notes


def _of_class(rows: np.ndarray, target: Target, position: int) -> np.ndarray:
    return rows[target.values[rows] == position]


def _validation_pool(
    fold: Fold,
    largest: np.ndarray,
    target: Target,
    patients: np.ndarray,
    source: np.random.Generator,
    plan: FewShot,
    notes: list[str],
) -> list[np.ndarray]:
    """Per class the validation candidates in drawing order; classes may have few or none."""
    rows = fold.validation
    if not len(rows):
        taken = set(patients[largest].tolist())
        rows = fold.train[[p not in taken for p in patients[fold.train].tolist()]]
        if not len(rows):
            raise EvaluationError(
                "No training patient is left to choose the settings of the method.",
                expected="more training patients than the largest number of shots, or records with the split 'val'",
                fix="fewer shots (--shots), or --set method.search=none",
            )
        _note(notes, "Settings were chosen on further training shots, of patients who train nothing in that draw.")
    else:
        _note(notes, "Settings were chosen on shots of the split 'val'.")
    pools = [
        by_turn(source.permutation(_of_class(rows, target, c)), patients, plan.per_patient)
        for c in range(len(target.classes))
    ]
    missing = [target.classes[c] for c, rows in enumerate(pools) if not len(rows)]
    if missing:
        _note(notes, f"No record of the class {', '.join(missing)} was left for choosing settings in some draws.")
    return pools


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def flair_split(
    labels: np.ndarray, seed: int, *, train: str, val: str, test: str, balance: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One random hold-out as FLAIR's program draws it: by record and class, not by patient.

    Source: flair/transferability/data/dataloader.py of jusiro/FLAIR at d6652d5.

    Args:
        labels: int (n,) classes.
        seed: The number that the program calls a fold.
        train, val, test: ``"20%"`` of each class, or ``"5"`` of each class.
        balance: Top every training class up to the largest, with replacement.

    Returns:
        Row numbers of train, validation and test, in the program's order.
    """
    # Python's generator with the program's seed, but of our own: the global one is left alone.
    source = random.Random(seed)
    order = list(range(len(labels)))
    source.shuffle(order)
    parts: tuple[list[list[int]], list[list[int]], list[list[int]]] = ([], [], [])
    for label in np.unique(labels):
        rows = [i for i in order if labels[i] == label]
        start = 0
        for part, amount in ((2, test), (0, train), (1, val)):
            count = int(int(amount[:-1]) / 100 * len(rows)) if amount.endswith("%") else int(amount)
            parts[part].append(rows[start : start + count])
            start += count
    if balance:
        most = max(len(rows) for rows in parts[0])
        for rows in parts[0]:
            rows += source.choices(rows, k=most - len(rows))
    made = [np.array([i for rows in part for i in rows], dtype=np.int64) for part in parts]
    return made[0], made[1], made[2]


def draw_shots_as_flair(count: int, plan: FewShot, target: Target) -> tuple[list[ShotFold], list[str]]:
    """`plan.draws` hold-outs for every number of shots over all `count` units, as published.

    Raises:
        EvaluationError: Not a task of one class per record, or a class is too small.
    """
    if target.task not in ("binary", "multiclass"):
        raise EvaluationError(f"Shots per class need one class per record; this is a {target.task} task.")
    found = []
    for draw in range(plan.draws):
        for k in plan.shots:
            train, _, test = flair_split(target.values, plan.seed + draw, train=str(k), val="0", test=plan.flair_test)
            sizes = np.bincount(target.values[train], minlength=len(target.classes))
            if sizes.min() < k or not len(test):
                name = target.classes[int(sizes.argmin())]
                raise EvaluationError(
                    f"The class '{name}' is too small for {k} shots beside a test part of {plan.flair_test}.",
                    where=f"{count} records",
                    fix="fewer shots (--shots)",
                )
            found.append(ShotFold(k, Fold(train, np.sort(test), np.empty(0, dtype=np.int64), repeat=draw)))
    return found, [
        "Training and test records are drawn by record, not by patient, over the whole cohort; test parts of the draws "
        "overlap (as published)."
    ]


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
