"""Fit one few-shot method on every drawn training set and score its test records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, Silent
from medfm.evaluation.adapters.attentive import fit_attentive, score_attentive
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.moments import moment_features
from medfm.evaluation.adapters.texts import run_clip_adapter, run_tip_adapter, run_zero_shot_linear
from medfm.evaluation.linear_probe import Outcome, run_linear_probe
from medfm.evaluation.protocol import LinearProbe, Protocol, Selection
from medfm.evaluation.protocol_adapters import (
    AdapterMethod,
    AttentiveProbe,
    ClipAdapter,
    MomentProbe,
    TipAdapter,
    ZeroShotLinear,
)
from medfm.evaluation.shots import ShotFold
from medfm.evaluation.target import Target

FewShotMethod = LinearProbe | AdapterMethod


def few_shot_method(plan: Protocol) -> FewShotMethod:
    """The method of a protocol that can be fitted on shots.

    Raises:
        EvaluationError: It is of another kind.
    """
    kinds = (LinearProbe, ClipAdapter, TipAdapter, ZeroShotLinear, AttentiveProbe, MomentProbe)
    if not isinstance(plan.method, kinds):
        raise EvaluationError(
            f"The protocol '{plan.id}' is of the method '{plan.method.kind}', which is not fitted on shots.",
            expected="few-shot-lp@1, flair-lp@1, clip-adapter@1, tip-adapter@1, tip-adapter-f@1, zero-shot-lp@1, "
            "attentive-probe@1 or moment-probe@1",
        )
    return plan.method


def needs_validation(method: FewShotMethod) -> bool:
    """Whether settings are chosen on validation shots."""
    if isinstance(method, LinearProbe):
        return method.selection.rule == "validation"
    if isinstance(method, ClipAdapter):
        return method.search == "validation" and len(method.ratio) > 1
    if isinstance(method, TipAdapter):
        searching = method.search == "validation" and len(method.alpha) * len(method.beta) > 1
        return searching or (method.train_keys and method.epoch == "best_validation")
    if isinstance(method, ZeroShotLinear):
        return method.search == "validation" and len(method.grid) > 1
    return False


def tuned_on_test(method: FewShotMethod) -> bool:
    """Whether anything is chosen on the test records, as some published procedures do."""
    if isinstance(method, ClipAdapter):
        return method.search == "test" and len(method.ratio) > 1
    if isinstance(method, TipAdapter):
        searching = method.search == "test" and len(method.alpha) * len(method.beta) > 1
        return searching or (method.train_keys and method.epoch == "best_test")
    return isinstance(method, ZeroShotLinear) and method.search == "test" and len(method.grid) > 1


def run_few_shot(
    inputs: AdapterInputs,
    target: Target,
    drawn: Sequence[ShotFold],
    method: FewShotMethod,
    *,
    patients: np.ndarray,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Scores of the test records of every training set, in the order of `drawn`.

    Draws and folds of one number of shots are trained together where the method trains.

    Args:
        inputs: Embeddings, text vectors, tokens.
        target: Classes of the n records.
        drawn: From :mod:`medfm.evaluation.shots`.
        method: What to fit.
        patients: Patient of each record, for inner folds.
        seed: Of first weights, orders and inner folds.
        device: Torch device; the CPU by default.
        progress: Advanced by one per training set.

    Raises:
        EvaluationError: The method needs texts or tokens that are not there.
    """
    progress = progress or Silent("fitting", len(drawn), "training sets")
    place = torch.device(device or "cpu")
    if isinstance(method, MomentProbe):
        features = moment_features(inputs.patch_tokens(), method)
        method, inputs = LinearProbe(selection=Selection(rule="inner_cv")), AdapterInputs(features)
    if isinstance(method, LinearProbe):
        return run_linear_probe(
            inputs.values,
            target,
            [d.fold for d in drawn],
            method,
            patients=patients,
            seed=seed,
            device=device,
            progress=progress,
        )
    found: dict[int, Outcome] = {}
    for group in same_size(drawn):
        part = [drawn[i] for i in group]
        sources = [np.random.default_rng([seed, d.shots, d.fold.repeat, d.fold.fold]) for d in part]
        outcomes: list[Outcome]
        if isinstance(method, ClipAdapter):
            outcomes = run_clip_adapter(inputs, target, part, method, sources, place)
        elif isinstance(method, TipAdapter):
            outcomes = run_tip_adapter(inputs, target, part, method, sources, place)
        elif isinstance(method, ZeroShotLinear):
            outcomes = run_zero_shot_linear(inputs, target, part, method)
        else:
            outcomes = _attentive(inputs, target, part, method, sources, place)
        found.update(zip(group, outcomes, strict=True))
        progress.advance(len(group))
    return [found[i] for i in range(len(drawn))]


def same_size(drawn: Sequence[ShotFold]) -> list[list[int]]:
    """Positions of training sets that can be stacked: as many shots and as many records."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, one in enumerate(drawn):
        groups.setdefault((one.shots, len(one.fold.train)), []).append(i)
    return list(groups.values())


def _attentive(
    inputs: AdapterInputs,
    target: Target,
    part: Sequence[ShotFold],
    method: AttentiveProbe,
    sources: Sequence[np.random.Generator],
    device: torch.device,
) -> list[Outcome]:
    tokens = inputs.patch_tokens()
    rows = np.stack([d.fold.train for d in part])
    probes = fit_attentive(tokens, rows, target.values, len(target.classes), method, sources, device)
    chosen: dict[str, Any] = {"epochs": method.training.epochs}
    return [Outcome(score_attentive(probes, tokens, d.fold.test, p), chosen) for p, d in enumerate(part)]
