"""Over which times absolute risks can be judged, and what each tested record adds to that judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.evaluation.schemes import Fold
from medfm.evaluation.survival_absolute import (
    ABSOLUTE_COLUMNS,
    breslow,
    brier_rows,
    incidence,
    integrated,
    null_incidence,
    status_weights,
    time_grid,
)
from medfm.evaluation.survival_curves import StepCurve
from medfm.evaluation.survival_data import SurvivalData
from medfm.evaluation.survival_metrics import censoring_curve, usual_tau


@dataclass(frozen=True)
class Scope:
    """Where absolute risks are judged.

    Attributes:
        horizon: Time of the calibration.
        grid: float64 (k,), times over which the Brier score is integrated.
        curves: Share not yet censored, of each fold's training records; a competing event is no censoring here.
    """

    horizon: float
    grid: np.ndarray
    curves: tuple[StepCurve, ...]


def scope_of(data: SurvivalData, folds: Sequence[Fold], asked: float | None) -> tuple[Scope | None, list[str]]:
    """The scope of a run, or ``None`` and a note where risks over time cannot be judged.

    Times run from the first event to where 10 % of every fold's training records are still uncensored, and not
    beyond the longest follow-up of a tested record.

    Args:
        data: All units.
        folds: Train and test rows.
        asked: The horizon; the median event time when ``None``.

    Raises:
        EvaluationError: `asked` lies outside those times.
    """
    curves = tuple(censoring_curve(data.time[f.train], data.event[f.train] > 0) for f in folds)
    reached = min(usual_tau(c, data.time[f.train]) for c, f in zip(curves, folds, strict=True))
    tested = np.unique(np.concatenate([f.test for f in folds]))
    last = float(np.nextafter(min(reached, float(data.time[tested].max())), 0.0))
    first = float(data.time[data.event == 1].min())
    horizon = asked if asked is not None else float(f"{np.median(data.time[data.event == 1]):.3g}")
    grid = time_grid(first, last)
    if grid is not None and first <= horizon <= last:
        return Scope(float(horizon), grid, curves), []
    if asked is not None:
        raise EvaluationError(
            f"Absolute risks cannot be judged at {asked:g}: too early for an event, or too few are followed so long.",
            where="method.horizon",
            expected=f"a time between {first:g} (first event) and {last:g} (10 % of the training records uncensored)",
        )
    return None, ["Absolute risks are not judged: too few are followed beyond the first events."]


def absolute_columns(
    scope: Scope,
    place: int,
    fold: Fold,
    data: SurvivalData,
    risks: tuple[np.ndarray, np.ndarray],
    rivals: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, np.ndarray]:
    """The columns :data:`~medfm.evaluation.survival_absolute.ABSOLUTE_COLUMNS` of one fold's tested records.

    Args:
        scope: Of the run.
        place: Number of the fold.
        fold: Its rows.
        data: All units.
        risks: Log hazards of the training and of the tested records.
        rivals: The same of the competing events together; ``None`` where nothing competes.
    """
    time, codes = data.time[fold.train], data.event[fold.train]
    baseline = breslow(risks[0], time, codes == 1)
    rival = None if rivals is None else breslow(rivals[0], time, codes > 1)
    at = np.append(scope.grid, scope.horizon)
    found = incidence(risks[1], baseline, at, rival_risk=None if rivals is None else rivals[1], rival=rival)
    had, weights = status_weights(data.time[fold.test], data.event[fold.test], scope.curves[place], at)
    rows = brier_rows(found, had, weights)[:, :-1]
    null = brier_rows(null_incidence(time, codes, at), had, weights)[:, :-1]
    values = (found[:, -1], had[:, -1].astype(np.float64), weights[:, -1], integrated(rows, scope.grid))
    return dict(zip(ABSOLUTE_COLUMNS, (*values, integrated(null, scope.grid)), strict=True))
