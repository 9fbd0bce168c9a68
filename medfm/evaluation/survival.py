"""Survival on embeddings: standardisation, components and penalty inside each fold, risks outside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, Silent
from medfm.evaluation.path_order import path_order
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.schemes import Fold, make_folds, split_rows
from medfm.evaluation.survival_absolute import ABSOLUTE_COLUMNS
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.survival_cox import CoxFit, fit_cox, partial_log_likelihood
from medfm.evaluation.survival_data import SurvivalData
from medfm.evaluation.survival_horizon import Scope, absolute_columns, scope_of
from medfm.evaluation.survival_metrics import (
    COLUMNS,
    auc_name,
    censoring_curve,
    censoring_weights,
    concordance,
    usual_tau,
)

GROUP_NAMES = {2: ("lower risk", "higher risk"), 3: ("low risk", "middle risk", "high risk")}
_CARRIED = ("age", "sex")


@dataclass(frozen=True)
class RiskModel:
    """Embedding -> log hazard: standardise, project on whitened components, Cox coefficients.

    Attributes:
        mean, scale: float64 (d,), of the training units; scale 1 where a dimension is constant.
        axes: float64 (d, k), components with unit variance in training.
        fit: The regression on them.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    fit: CoxFit

    def risk(self, values: np.ndarray) -> np.ndarray:
        """float64 (m,): log hazard against the average training unit."""
        return self.fit.risk((np.asarray(values, np.float64) - self.mean) / self.scale @ self.axes)


@dataclass(frozen=True)
class SurvivalRun:
    """What a survival protocol yields.

    Attributes:
        predictions: One row per tested unit and repeat, with ``risk``, ``risk_group`` and the columns
            that the metrics need.
        chosen: One entry per fold: sizes, events, components, penalty, cut points, tau.
        metrics: Headline metrics, the times of the AUC among them.
        tau: Before which Uno's C counts events.
        notes: What a reader must know.
        scope: Where absolute risks are judged; ``None`` where they cannot be.
    """

    predictions: Predictions
    chosen: tuple[dict[str, Any], ...]
    metrics: tuple[str, ...]
    tau: float
    notes: tuple[str, ...]
    scope: Scope | None = None


def run_survival(
    data: SurvivalData, protocol: Protocol, *, target: str = "event", progress: Progress | None = None
) -> SurvivalRun:
    """Fit and test `protocol` on `data`.

    Raises:
        EvaluationError: Too few events for the folds, or times of the AUC outside the follow-up.
    """
    method = protocol.method
    assert isinstance(method, Survival)
    event = data.event == 1
    patients = data.table["patient_id"].astype(str).to_numpy(dtype=object)
    split = data.table["split"].to_numpy(dtype=object)
    sites = data.table["site"].to_numpy(dtype=object) if "site" in data.table.columns else None
    order = path_order(data.table)
    folds, said = make_folds(
        protocol.scheme, split=split, patients=patients, strata=event.astype(np.int64), sites=sites, order=order
    )
    _refuse_few(folds, event, method)
    notes = [*data.notes, *(note.replace("class", "kind of outcome") for note in said)]
    if len(folds) == 1 and (split == "val").any():
        notes.append(f"{int((split == 'val').sum())} records of the split 'val' are not used.")
    curves = [censoring_curve(data.time[f.train], event[f.train]) for f in folds]
    taus = [usual_tau(c, data.time[f.train]) for c, f in zip(curves, folds, strict=True)]
    tau = method.tau if method.tau is not None else min(taus)
    scope, unjudged = scope_of(data, folds, method.horizon)
    frames, chosen = [], []
    shown = progress or Silent("fitting", len(folds), "folds")
    for number, (fold, curve) in enumerate(zip(folds, curves, strict=True)):
        seed = protocol.scheme.seed + 1000 * fold.repeat + fold.fold
        model, about = fit_risk_model(
            data.values[fold.train], data.time[fold.train], event[fold.train], patients[fold.train], method, seed=seed
        )
        risk, known = model.risk(data.values[fold.test]), model.risk(data.values[fold.train])
        share = np.arange(1, method.groups) / method.groups
        cuts = np.quantile(known, share)
        rivals = None if scope is None else _rival_risks(data, fold, patients, method, seed)
        more = {} if scope is None else absolute_columns(scope, number, fold, data, (known, risk), rivals)
        place = np.searchsorted(cuts, risk, side="right")
        time, own = data.time[fold.test], event[fold.test]
        frame = data.table.iloc[fold.test][_kept(data.table, protocol)].reset_index(drop=True)
        frames.append(
            frame.assign(
                variant=MAIN,
                repeat=fold.repeat,
                fold=fold.fold,
                time=time,
                event=data.event[fold.test].astype(np.float64),
                event_code=np.array([0, *data.codes], dtype=np.int64)[data.event[fold.test]],
                risk=risk,
                risk_group=np.array(GROUP_NAMES[method.groups], dtype=object)[place],
                stratum=float(number if method.pairs == "within_fold" else fold.repeat),
                censoring_weight=censoring_weights(curve, time, own, np.inf),
                uno_weight=censoring_weights(curve, time, own, tau),
                **more,
            )
        )
        sizes = {"train": len(fold.train), "train_events": int(event[fold.train].sum()), "test": len(fold.test)}
        sizes["test_events"] = int(own.sum())
        chosen.append(
            {"repeat": fold.repeat, "fold": fold.fold, **sizes, **about, "cut": [round(float(c), 6) for c in cuts]}
        )
        shown.advance()
    columns = COLUMNS if scope is None else (*COLUMNS, *ABSOLUTE_COLUMNS)
    predictions = Predictions(pd.concat(frames, ignore_index=True), "survival", columns, target)
    judged = () if scope is None else ("integrated_brier", "scaled_integrated_brier")
    return SurvivalRun(
        predictions,
        tuple(chosen),
        ("c_index", "c_index_uno", *_times(predictions.table, method), *judged),
        float(tau),
        (*notes, *unjudged, *_notes(chosen, method)),
        scope,
    )


def _rival_risks(
    data: SurvivalData, fold: Fold, patients: np.ndarray, method: Survival, seed: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Log hazards of the competing events together, of training and tested records; ``None`` where nothing competes.

    With fewer of them than inner folds every record gets the same hazard.
    """
    other = data.event[fold.train] > 1
    if not other.any():
        return None
    if other.sum() < method.inner_folds:
        return np.zeros(len(fold.train)), np.zeros(len(fold.test))
    model, _ = fit_risk_model(
        data.values[fold.train], data.time[fold.train], other, patients[fold.train], method, seed=seed
    )
    return model.risk(data.values[fold.train]), model.risk(data.values[fold.test])


def fit_risk_model(
    values: np.ndarray, time: np.ndarray, event: np.ndarray, patients: np.ndarray, method: Survival, *, seed: int
) -> tuple[RiskModel, dict[str, Any]]:
    """A risk model from training units alone, its components and penalty chosen by inner folds.

    Args:
        values: (n, d) embeddings.
        time: float (n,).
        event: bool (n,), the event of interest.
        patients: (n,), who never cross an inner fold.
        method: What is tried, and by what inner folds choose.
        seed: Of the inner folds.

    Returns:
        The model, and what was chosen: ``components``, ``penalty``, ``inner_score``.
    """
    pairs = _grid(values, event, method)
    if len(pairs) == 1:
        return _fit(values, time, event, *pairs[0]), {"components": pairs[0][0], "penalty": pairs[0][1]}
    inner, _ = split_rows(method.inner_folds, patients, event.astype(np.int64), seed=seed, count=len(values))
    scores = np.zeros(len(pairs))
    held = np.zeros((len(pairs), len(values)))
    strata = np.zeros(len(values))
    for number, (train, test) in enumerate(inner):
        if not event[train].any():
            continue
        strata[test] = number
        mean, scale, axes = _components(values[train], max(k for k, _ in pairs))
        projected = ((values - mean) / scale) @ axes
        fits: dict[int, np.ndarray] = {}
        for place, (k, penalty) in enumerate(pairs):
            k = min(k, axes.shape[1])
            fit = fit_cox(projected[train, :k], time[train], event[train], penalty, fits.get(k))
            fits[k] = fit.coef
            held[place, test] = fit.risk(projected[test, :k])
            if method.criterion == "partial_likelihood":
                scores[place] += partial_log_likelihood(projected[:, :k], time, event, fit.coef) - fit.log_likelihood
    if method.criterion == "c_index":
        one = np.ones((len(values), 1))
        scores = np.array([concordance(h, time, event, one, strata=strata)[0] for h in held])
    # The first best: pairs are in order from the smallest, most strongly penalised model.
    best = int(np.nanargmax(np.round(scores, 10))) if not np.isnan(scores).all() else 0
    k, penalty = pairs[best]
    model = _fit(values, time, event, k, penalty)
    return model, {"components": model.axes.shape[1], "penalty": penalty, "inner_score": float(scores[best])}


def _grid(values: np.ndarray, event: np.ndarray, method: Survival) -> list[tuple[int, float]]:
    """Pairs of components and penalty, from the simplest model on."""
    most = min(values.shape[1], len(values) - 1)
    sizes = sorted({min(k, most) for k in method.components})
    allowed = [k for k in sizes if k * method.events_per_component <= event.sum()] or sizes[:1]
    return [(k, p) for k in allowed for p in sorted(method.penalties, reverse=True)]


def _components(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, scale and whitened principal axes (d, at most k) of z-scored values."""
    values = np.asarray(values, np.float64)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 1e-12 * np.maximum(1.0, np.abs(mean)), scale, 1.0)
    Z = (values - mean) / scale
    _, sizes, right = np.linalg.svd(Z, full_matrices=False)
    there = int((sizes > (sizes[0] if len(sizes) else 0.0) * max(Z.shape) * np.finfo(np.float64).eps).sum())
    if there == 0 or sizes[0] < 1e-9:
        raise EvaluationError(
            "All training embeddings are equal, so they cannot tell who has the event sooner.",
            fix="look at the encoder and its weights",
        )
    k = min(k, there)
    # The sign of an axis is arbitrary; a fixed one makes reruns on other machines agree.
    axes = right[:k].T
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(k)])
    return mean, scale, axes * (np.sqrt(len(Z) - 1) / sizes[:k])


def _fit(values: np.ndarray, time: np.ndarray, event: np.ndarray, k: int, penalty: float) -> RiskModel:
    mean, scale, axes = _components(values, k)
    projected = ((values - mean) / scale) @ axes
    return RiskModel(mean, scale, axes, fit_cox(projected, time, event, penalty))


def _times(table: pd.DataFrame, method: Survival) -> tuple[str, ...]:
    """Names of the time-dependent AUCs: the given times, or quartiles of the event times."""
    time, event = table["time"].to_numpy(), table["event"].to_numpy() == 1
    given = method.times or tuple(np.unique([float(f"{q:.3g}") for q in np.quantile(time[event], (0.25, 0.5, 0.75))]))
    last = float(time.max())
    names = []
    for t in given:
        if (event & (time <= t)).any() and t < last:
            names.append(auc_name(t))
        elif method.times:
            raise EvaluationError(
                f"An AUC at {t:g} cannot be had: nobody had the event by then, or nobody was followed longer.",
                where="method.times",
                expected=f"times between {time[event].min():g} (first event) and {last:g} (longest follow-up)",
            )
    return tuple(dict.fromkeys(names))


def _refuse_few(folds: list[Fold], event: np.ndarray, method: Survival) -> None:
    least = min(int(event[f.train].sum()) for f in folds)
    if least < method.inner_folds:
        raise EvaluationError(
            f"A training fold holds {least} events; {method.inner_folds} inner folds need at least as many.",
            expected=f"at least {method.inner_folds} events in every training fold ({int(event.sum())} in all)",
            fix=f"use fewer inner folds (--set method.inner_folds={least}), or a cohort with more events"
            if least > 1
            else "use a cohort with more events",
        )
    if not any(event[f.test].any() for f in folds):
        raise EvaluationError(
            "No test record has the event, so nothing can be tested.",
            expected="events among the test records",
            fix="test by folds (--set scheme.kind=kfold), or follow the patients longer",
        )


def _notes(chosen: list[dict[str, Any]], method: Survival) -> list[str]:
    notes = []
    empty = sum(c["test_events"] == 0 for c in chosen)
    if empty:
        notes.append(f"{empty} of {len(chosen)} test folds hold no event and add no pair.")
    thin = min(c["train_events"] / c["components"] for c in chosen)
    if thin < 10:
        notes.append(f"As few as {thin:.1f} training events per component; about 10 are advised.")
    if len(chosen) > 1 and method.pairs == "pooled":
        notes.append("Risks of the models of different folds are compared with each other (pairs: pooled).")
    return notes


def _kept(table: pd.DataFrame, protocol: Protocol) -> list[str]:
    wanted = ["record_id", "patient_id", "site", *_CARRIED, *protocol.statistics.subgroup_columns]
    taken = {"variant", "repeat", "fold", "risk_group", "event_code", *COLUMNS, *ABSOLUTE_COLUMNS}
    return [c for c in dict.fromkeys(wanted) if c in table.columns and c not in taken]
