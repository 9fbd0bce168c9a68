"""Brain age: a ridge probe of age with its errors, and the gap corrected for age."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ConfigError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.brain_age import age_biases, gap_figures
from medfm.evaluation.evaluate import embedded_records
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import LinearProbe, Protocol
from medfm.evaluation.schemes import make_folds
from medfm.evaluation.target import labelled, make_target
from medfm.workflows.probe import probe

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.reporting.result import Result

PROTOCOL = "brain-age@1"


def is_brain_age(plan: Protocol) -> bool:
    """Whether a protocol of this name asks for gaps beside the probe's figures."""
    return plan.id.split("@")[0] == "brain-age" and isinstance(plan.method, LinearProbe)


def brain_age(
    embeddings: Embeddings, cohort: Cohort, target: str = "age", protocol: str | Protocol = PROTOCOL, **settings: Any
) -> Result:
    """MAE, RMSE and R2 of predicted age with intervals, and the bias-corrected brain-age gap per record.

    The gaps are the columns ``gap`` and ``corrected_gap`` of the predictions, in years; their figures are
    ``result.extras["brain_age"]``. `settings` as of :func:`medfm.workflows.probe.probe`.

    Raises:
        ConfigError: The protocol is no brain-age protocol.
        EvaluationError: Ages are missing or do not vary, or there are too few patients.
    """
    result = probe(embeddings, cohort, target, protocol, task="regression", **settings)
    if not is_brain_age(result.protocol):
        raise ConfigError(f"The protocol '{result.protocol.id}' gives no brain-age gap.", expected=PROTOCOL)
    return with_age_gaps(result, embeddings, cohort, target)


def with_age_gaps(result: Result, embeddings: Embeddings, cohort: Cohort, target: str) -> Result:
    """The result with the gaps of its tested records; no tested record helps to correct them."""
    plan, method = result.protocol, result.protocol.method
    assert isinstance(method, LinearProbe)
    if result.config.get("drop_unlabelled"):
        cohort = labelled(cohort, target)
    cohort, values, _ = embedded_records(embeddings, cohort)
    ages = make_target(cohort, target, "regression")
    table = cohort.table
    patients = table["patient_id"].astype(str).to_numpy(dtype=object)
    strata = ages.strata(plan.scheme.folds)
    split, sites = (table[column].to_numpy(dtype=object) for column in ("split", "site"))
    folds, _ = make_folds(plan.scheme, split=split, patients=patients, strata=strata, sites=sites)
    chosen = {(c["repeat"], c["fold"]): c["C"] for c in result.extras["chosen"] if c["variant"] == MAIN}
    strengths = [float(chosen[fold.repeat, fold.fold]) for fold in folds]
    biases = age_biases(values, ages, folds, method, strengths, patients=patients, seed=plan.scheme.seed)
    made = result.predictions.table
    age, predicted = made["truth"].to_numpy(np.float64), made["predicted"].to_numpy(np.float64)
    corrected = np.full(len(made), np.nan)
    for fold, bias in zip(folds, biases, strict=True):
        own = ((made["repeat"] == fold.repeat) & (made["fold"] == fold.fold) & (made["variant"] == MAIN)).to_numpy()
        corrected[own] = bias.corrected(age[own], predicted[own])
    made = made.assign(gap=predicted - age, corrected_gap=corrected)
    main = made[made["variant"] == MAIN].reset_index(drop=True)
    figures = gap_figures(main, plan.statistics)
    figures["bias"] = {
        f"repeat {fold.repeat}, fold {fold.fold}": {"slope": b.slope, "intercept": b.intercept, "n": b.n}
        for fold, b in zip(folds, biases, strict=True)
    }
    predictions = Predictions(made, result.predictions.task, result.predictions.classes, result.predictions.target)
    return replace(result, predictions=predictions, extras={**result.extras, "brain_age": figures})
