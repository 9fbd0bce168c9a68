"""A few-shot evaluation: shots drawn, the method and what it is compared with fitted, predictions kept.

Variants of the predictions: ``main`` is the method at the largest number of shots; ``shots=4`` the
method at another; ``linear-probe,shots=16`` the plain linear probe on the same shots;
``zero-shot`` the texts alone on the same test records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from medfm.core.progress import Progress, Silent
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.run import few_shot_method, needs_validation, run_few_shot, tuned_on_test
from medfm.evaluation.adapters.texts import zero_shot_outcome
from medfm.evaluation.evaluate import Evaluation, evaluation_of
from medfm.evaluation.linear_probe import Outcome
from medfm.evaluation.path_order import path_order
from medfm.evaluation.protocol import LinearProbe, Protocol, Selection
from medfm.evaluation.protocol_adapters import TUNED_ON_TEST, FewShot
from medfm.evaluation.schemes import Fold, make_folds
from medfm.evaluation.shots import ShotFold, draw_shots, draw_shots_as_flair
from medfm.evaluation.target import Target

REFERENCE, ZERO_SHOT = "linear-probe", "zero-shot"


def evaluate_few_shot(
    inputs: AdapterInputs,
    table: pd.DataFrame,
    truth: Target,
    plan: Protocol,
    *,
    device: str | None = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, list[int]]:
    """Run `plan` on n records.

    Args:
        inputs: Embeddings, text vectors and tokens of the n records.
        table: Their cohort table, in the same order.
        truth: Their classes.
        plan: Protocol with a few-shot method; without a plan of shots the defaults serve.
        device: Torch device.
        progress: Advanced by one per fitted training set.

    Returns:
        The evaluation, and the numbers of shots that were drawn.

    Raises:
        EvaluationError: The data or inputs do not allow it.
    """
    method, few = few_shot_method(plan), plan.few_shot or FewShot()
    patients = table["patient_id"].astype(str).to_numpy(dtype=object)
    validate = needs_validation(method)
    if few.draw == "flair":
        drawn, notes = draw_shots_as_flair(len(table), few, truth)
    else:
        split, sites = (table[column].to_numpy(dtype=object) for column in ("split", "site"))
        strata = truth.strata(plan.scheme.folds)
        folds, notes = make_folds(
            plan.scheme, split=split, patients=patients, strata=strata, sites=sites, order=path_order(table)
        )
        drawn, said = draw_shots(folds, few, truth, patients, validate=validate)
        notes += said
    if tuned_on_test(method):
        notes.insert(0, TUNED_ON_TEST)
    levels = sorted({d.shots for d in drawn})
    notes.append(f"The headline uses {levels[-1]} shots per class; the predictions of {few.draws} draws are pooled.")
    plain = reference_probe(validate)
    compared = method != plain
    progress = progress or Silent("fitting", len(drawn) * (1 + compared), "training sets")

    def fitted(what: object) -> list[Outcome]:
        return run_few_shot(
            inputs,
            truth,
            drawn,
            what,  # type: ignore[arg-type]
            patients=patients,
            seed=few.seed,
            device=device,
            progress=progress,
        )

    runs = _labelled(drawn, fitted(method), "", levels[-1])
    if compared:
        # Its notes on inner folds and edges of the grid would drown those of the method.
        quiet = [replace(outcome, notes=()) for outcome in fitted(plain)]
        runs += _labelled(drawn, quiet, REFERENCE, levels[-1])
    if inputs.text is not None:
        runs += _zero_shot(inputs, truth, drawn)
    return evaluation_of(runs, inputs.values, table, truth, plan, notes, None), levels


def reference_probe(validate: bool) -> LinearProbe:
    """The plain linear probe that every method is compared with.

    Its C comes from inner folds over the shots; where the method chooses its settings on
    validation shots, C is chosen on the same ones, so that both see as many labels.
    """
    return LinearProbe(selection=Selection(rule="validation" if validate else "inner_cv"))


def _labelled(
    drawn: Sequence[ShotFold], outcomes: Sequence[Outcome], name: str, top: int
) -> list[tuple[Fold, str, Outcome]]:
    runs = []
    for one, outcome in zip(drawn, outcomes, strict=True):
        label = f"shots={one.shots}" if name or one.shots != top else ""
        outcome = replace(outcome, chosen={"shots": one.shots, **outcome.chosen})
        runs.append((one.fold, ",".join(part for part in (name, label) if part), outcome))
    return runs


def _zero_shot(inputs: AdapterInputs, truth: Target, drawn: Sequence[ShotFold]) -> list[tuple[Fold, str, Outcome]]:
    """Once per different set of test records; nothing depends on the shots."""
    runs, seen = [], set()
    for one in drawn:
        key = one.fold.test.tobytes()
        if key not in seen:
            seen.add(key)
            none = np.empty(0, dtype=np.int64)
            fold = replace(one.fold, train=none, validation=none)
            runs.append((fold, ZERO_SHOT, zero_shot_outcome(inputs, truth, one)))
    return runs
