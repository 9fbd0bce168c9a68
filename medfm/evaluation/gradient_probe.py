"""The linear probe by gradient descent: train, score every epoch, report the one the protocol names.

Linear probes of papers are often trained by Adam instead of solved, and which epoch is printed
then decides the figure. Here it is chosen on validation records, unless a published procedure that
takes the best epoch on the test records is asked for by name; the result says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import rankdata

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, Silent
from medfm.evaluation.gradient import Path, Problem, train_linear
from medfm.evaluation.linear_probe import Outcome
from medfm.evaluation.metrics import metric
from medfm.evaluation.protocol_gradient import CHOSEN_ON_TEST, GradientProbe
from medfm.evaluation.schemes import Fold, split_rows
from medfm.evaluation.summary import Summary
from medfm.evaluation.target import Target

_HELD_OUT = 5  # one fifth of the training patients validates where the scheme names nobody
# Epochs are scored in blocks of at most this many logits.
_BLOCK = 2**24


@dataclass(frozen=True)
class _Part:
    """The records of one fold that are scored at every epoch."""

    X: np.ndarray
    target: Target


def run_gradient_probe(
    X: np.ndarray,
    target: Target,
    folds: Sequence[Fold],
    method: GradientProbe,
    *,
    patients: np.ndarray,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> list[tuple[Fold, str, Outcome]]:
    """Train `method.seeds` layers per fold and score its test units at the reported epochs.

    Args:
        X: float (n, d) embeddings.
        target: Truth of the n units; classes or labels.
        folds: Train, test and validation positions.
        method: Optimiser, schedule, which epoch is reported.
        patients: Patient of each unit, for a validation part where the fold has none.
        seed: Seed of initial weights, orders and held-out patients.
        device: Torch device.
        progress: Advanced by one per fold.

    Returns:
        Per fold, seed and reported epoch: the fold (its `repeat` counts the seeds), the variant's
        name (empty for the headline), and the scores.

    Raises:
        EvaluationError: The task is a regression, or a fold is too small.
    """
    if target.task == "regression":
        raise EvaluationError(
            "The probe by gradient descent is for classes and labels, not for a measurement.",
            fix="use --protocol linear-probe@1 (ridge)",
        )
    progress = progress or Silent("training", len(folds), "folds")
    truth, softmax = _outputs(target)
    ready: list[tuple[Fold, tuple[str, ...]]] = []
    general: list[str] = [CHOSEN_ON_TEST] if method.report_epoch == "best_test" else []
    top = max((fold.fraction for fold in folds), default=1.0)
    problems: list[Problem] = []
    for fold in folds:
        fold, said = _with_validation(fold, target, method, patients, seed)
        general += [note for note in said if note not in general]
        ready.append((fold, tuple(_missing_classes(target.take(fold.train)))))
        mean, scale = _scaling(X[fold.train], method.standardise)
        for i in range(method.seeds):
            source = np.random.default_rng([seed, fold.repeat, fold.fold, round(fold.fraction * 1e9), i])
            problems.append(Problem(fold.train, source, mean, scale))
    every = any(rule != "last" for rule in method.reported)
    paths = _train_in_parts(X, truth, problems, method, softmax, every, device, progress, len(folds))
    runs: list[tuple[Fold, str, Outcome]] = []
    for number, path in enumerate(paths):
        fold, notes = ready[number // method.seeds]
        labelled = replace(fold, repeat=fold.repeat * method.seeds + number % method.seeds)
        if fold.fraction == top:  # what holds for the whole run is said once, without a variant's name
            notes = (*general, *notes)
        runs += _reported(X, target, labelled, method, problems[number], path, notes)
    return runs


def _train_in_parts(
    X: np.ndarray,
    truth: np.ndarray,
    problems: list[Problem],
    method: GradientProbe,
    softmax: bool,
    every: bool,
    device: str | None,
    progress: Progress,
    folds: int,
) -> list[Path]:
    """Problems of one size together, so that progress shows and weights of all epochs fit in memory."""
    most = max(1, 2**28 // (method.epochs * truth.shape[1] * (X.shape[1] + 1)))
    order = sorted(range(len(problems)), key=lambda i: len(problems[i].rows))
    paths: dict[int, Path] = {}
    done = 0
    while order:
        size = len(problems[order[0]].rows)
        group = [i for i in order if len(problems[i].rows) <= size + method.batch_size][:most]
        order = [i for i in order if i not in set(group)]
        found = train_linear(
            X, truth, [problems[i] for i in group], method, softmax=softmax, every_epoch=every, device=device
        )
        paths.update(zip(group, found, strict=True))
        reached = folds * len(paths) // len(problems)
        progress.advance(reached - done)
        done = reached
    return [paths[i] for i in range(len(problems))]


def _outputs(target: Target) -> tuple[np.ndarray, bool]:
    """float64 (n, outputs) for the solver, and whether the outputs are one softmax."""
    if target.task == "multilabel":
        return target.values.astype(np.float64), False
    if target.task == "binary":
        return (target.values == 1).astype(np.float64)[:, None], False
    return np.eye(len(target.classes))[target.values], True


def _scaling(train: np.ndarray, standardise: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not standardise:
        return None, None
    mean, scale = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    # float32 input: a column that is constant up to rounding must not be blown up.
    scale[scale <= 1e-6 * np.abs(mean)] = 1.0
    scale[scale == 0] = 1.0
    return mean, scale


def _with_validation(
    fold: Fold, target: Target, method: GradientProbe, patients: np.ndarray, seed: int
) -> tuple[Fold, list[str]]:
    """The fold with a validation part where one is needed, and what was done."""
    if "best_validation" in method.reported and not len(fold.validation):
        if method.validation_by == "record":
            return _by_record(fold, method, seed)
        groups = patients[fold.train]
        if method.validation_share != 1 / _HELD_OUT:
            return _by_share(fold, target, method, groups, seed)
        parts = min(_HELD_OUT, len(np.unique(groups.astype(str))))
        if parts < 2:
            raise EvaluationError(
                "The training records of a fold come from a single patient, so none can be held out to choose the "
                "epoch.",
                fix="larger fractions (--set fractions=[1,0.1]), --set method.report_epoch=last, or a larger cohort",
            )
        strata = target.take(fold.train).strata(parts)
        pairs, _ = split_rows(parts, groups, strata, seed=seed, count=len(fold.train))
        inside, outside = pairs[0]
        fold = replace(fold, train=fold.train[inside], validation=fold.train[outside])
        share = "One fifth" if parts == _HELD_OUT else "Some"
        return fold, [f"{share} of the training patients, drawn by patient and class, chose the epoch."]
    return fold, []


def _by_record(fold: Fold, method: GradientProbe, seed: int) -> tuple[Fold, list[str]]:
    """As LDAE's program draws them: any records, patients torn apart, classes as they come."""
    order = np.random.default_rng([seed, fold.repeat, fold.fold]).permutation(len(fold.train))
    held = max(1, round(method.validation_share * len(order)))
    if held >= len(order):
        raise EvaluationError("A training set of one record cannot give any to choose the epoch.")
    outside, inside = np.sort(order[:held]), np.sort(order[held:])
    note = (
        f"{100 * method.validation_share:g} % of the training records, drawn by record, chose the epoch: records of one "
        "patient train and choose (as published; validation_by=patient is sound). The test records are not touched by this."
    )
    return replace(fold, train=fold.train[inside], validation=fold.train[outside]), [note]


def _by_share(
    fold: Fold, target: Target, method: GradientProbe, groups: np.ndarray, seed: int
) -> tuple[Fold, list[str]]:
    """A share of the training patients other than one fifth: so many of twenty parts."""
    parts = min(20, len(np.unique(groups.astype(str))))
    if parts < 2:
        raise EvaluationError(
            "The training records of a fold come from a single patient, so none can be held out to choose the epoch.",
            fix="--set method.report_epoch=last, or a larger cohort",
        )
    strata = target.take(fold.train).strata(parts)
    pairs, _ = split_rows(parts, groups, strata, seed=seed, count=len(fold.train))
    taken = min(max(1, round(method.validation_share * parts)), parts - 1)
    outside = np.sort(np.concatenate([held for _, held in pairs[:taken]]))
    inside = np.setdiff1d(np.arange(len(fold.train)), outside)
    note = f"About {100 * taken / parts:.0f} % of the training patients, drawn by patient and class, chose the epoch."
    return replace(fold, train=fold.train[inside], validation=fold.train[outside]), [note]


def _missing_classes(train: Target) -> list[str]:
    if train.task == "multilabel":
        never = [c for i, c in enumerate(train.classes) if not (train.values[:, i] == 1).any()]
        if len(never) == len(train.classes):
            raise EvaluationError(
                "No label has a positive record among the training records.", fix="use a larger training fraction"
            )
        what = "Labels without a positive training record still count in the mean over the test records"
    else:
        present = set(np.unique(train.values).tolist())
        never = [c for i, c in enumerate(train.classes) if i not in present]
        if len(present) < 2:
            raise EvaluationError(
                "The training records of a fold have a single class.",
                expected="at least two classes in every training set",
                fix="use fewer or stratified folds, or a larger training fraction",
            )
        what = "Classes without a training record still count in the mean over the test records"
    return [f"{what}: {', '.join(never)}."] if never else []


def _reported(
    X: np.ndarray,
    target: Target,
    fold: Fold,
    method: GradientProbe,
    problem: Problem,
    path: Path,
    notes: tuple[str, ...],
) -> list[tuple[Fold, str, Outcome]]:
    """The outcome of each reported epoch; the test records are looked at early only where that is asked for."""

    def part(rows: np.ndarray) -> _Part:
        values = X[rows]
        if problem.mean is not None and problem.scale is not None:
            values = ((values - problem.mean) / problem.scale).astype(np.float32)
        return _Part(values, target.take(rows))

    test = part(fold.test)
    runs = []
    for rule in method.reported:
        chosen: dict[str, float | int | str] = {}
        said = list(notes) if rule == method.report_epoch else []
        epoch = len(path.coef) - 1
        if rule != "last":
            looked_at = part(fold.validation) if rule == "best_validation" else test
            by: str = method.selection_metric
            qualities = epoch_qualities(path, looked_at.X, looked_at.target, by)
            if np.isnan(qualities).all():
                by = "log_loss"
                qualities = epoch_qualities(path, looked_at.X, looked_at.target, by)
                said.append(
                    "The records that chose the epoch are of one class; the log loss chose it, not the "
                    f"{'AUROC' if method.selection_metric == 'auroc' else 'Matthews correlation'}."
                )
            epoch = int(np.argmax(qualities))  # the earliest of equal ones
            chosen[f"{rule}_{by}"] = float(qualities[epoch])
        last = method.epochs if len(path.coef) == 1 else epoch + 1
        chosen = {"seed": fold.repeat % method.seeds, "epoch": last, **chosen}
        at = Path(path.coef[epoch : epoch + 1], path.intercept[epoch : epoch + 1])
        label = "" if rule == method.report_epoch else f"epoch={rule}"
        scores = _probabilities(at.logits(test.X)[0], target)
        standard = None if problem.scale is None else path.coef[epoch].astype(np.float64)
        runs.append((fold, label, Outcome(scores, chosen, tuple(said), scale=problem.scale, standard=standard)))
    return runs


def _probabilities(logits: np.ndarray, target: Target) -> np.ndarray:
    """float64 (n, classes) from logits (n, outputs)."""
    logits = logits.astype(np.float64)
    if target.task == "multiclass":
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))
    scores = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    return np.column_stack([1 - scores, scores]) if target.task == "binary" else scores


def epoch_qualities(path: Path, X: np.ndarray, target: Target, metric: str) -> np.ndarray:
    """float64 (epochs,): mean AUROC or Matthews correlation over the classes where defined, or minus the log loss.

    Args:
        path: Weights per epoch.
        X: float (n, d), standardised as in training.
        target: Truth of the n units.
        metric: ``"auroc"``, ``"log_loss"`` or ``"mcc"``.

    Raises:
        EvaluationError: Matthews correlation of more than two classes was asked for.
    """
    truth, softmax = _outputs(target)
    if metric == "mcc" and softmax:
        raise EvaluationError(
            f"Matthews correlation chooses epochs for two classes; '{target.name}' has {len(target.classes)}.",
            where="method.selection_metric",
            fix="--set method.selection_metric=auroc",
        )
    outputs = truth.shape[1]
    step = max(1, _BLOCK // max(1, len(X) * outputs))
    parts = []
    for first in range(0, len(path.coef), step):
        block = Path(path.coef[first : first + step], path.intercept[first : first + step])
        logits = block.logits(X).astype(np.float64)
        if metric == "log_loss":
            parts.append(-_losses(logits, truth, softmax))
            continue
        if softmax:  # the order of a class's probabilities is not that of its logits
            logits = logits - logits.max(axis=2, keepdims=True)
            logits = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        one = correlations if metric == "mcc" else aurocs
        each = np.stack([one(logits[:, :, k], truth[:, k]) for k in range(outputs)])
        defined = ~np.isnan(each)
        sums = np.where(defined, each, 0.0).sum(axis=0)
        parts.append(np.where(defined.any(axis=0), sums / np.maximum(defined.sum(axis=0), 1), np.nan))
    return np.concatenate(parts)


def correlations(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (m,): Matthews correlation of each row of logits (m, n), cut at 0, with truth (n,) of 1, 0 and NaN.

    0 where all records get one answer; NaN where the known truth has a single value.
    """
    known = ~np.isnan(truth)
    predicted, positive = logits[:, known] > 0, truth[known] == 1
    n, p, said = int(known.sum()), int(positive.sum()), predicted.sum(axis=1).astype(np.float64)
    if p in (0, n):
        return np.full(len(logits), np.nan)
    both = predicted[:, positive].sum(axis=1)
    spread = np.sqrt(said * (n - said) * p * (n - p))
    return np.divide(n * both - said * p, spread, out=np.zeros(len(logits)), where=spread > 0)


def aurocs(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (m,): the AUROC of each row of scores (m, n) against truth (n,) of 1, 0 and NaN.

    Ties count half. NaN where the known truth has a single value.
    """
    known = ~np.isnan(truth)
    scores, positive = scores[:, known], truth[known] == 1
    p, q = int(positive.sum()), int((~positive).sum())
    if not p or not q:
        return np.full(len(scores), np.nan)
    order = np.argsort(scores, axis=1)
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(1.0, p + q + 1), scores.shape), axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if tied.any():
        ranks[tied] = rankdata(scores[tied], axis=1)
    return np.asarray((ranks[:, positive].sum(axis=1) - p * (p + 1) / 2) / (p * q))


def _losses(logits: np.ndarray, truth: np.ndarray, softmax: bool) -> np.ndarray:
    """float64 (epochs,): the training loss on these records."""
    if softmax:
        top = logits.max(axis=2)
        total = top + np.log(np.exp(logits - top[:, :, None]).sum(axis=2))
        return np.asarray((total - (logits * truth).sum(axis=2)).mean(axis=1))
    known = ~np.isnan(truth)
    entries = np.logaddexp(0.0, logits) - np.where(known, truth, 0.0) * logits
    return np.asarray(np.where(known, entries, 0.0).sum(axis=(1, 2)) / max(1, int(known.sum())))


def epoch_notes(summary: Summary, method: object) -> tuple[str, ...]:
    """One sentence with the AUROC (or what chose the epoch) at every reported epoch; nothing for other methods.

    Args:
        summary: Statistics of the run.
        method: The protocol's method.
    """
    if not isinstance(method, GradientProbe) or len(method.reported) < 2 or not summary.headline:
        return ()
    # The figure that the epoch was chosen by, where the headline has it.
    by_choice = [e for e in summary.headline if e.metric.startswith(method.selection_metric)]
    first = (by_choice or summary.headline)[0]
    values = {"epoch=" + method.report_epoch: first.value}
    values.update({e.variant: e.value for e in summary.variants if e.metric == first.metric})
    shown = [
        f"{value:.4f} {_RULES[rule]}" for rule in method.reported if (value := values.get(f"epoch={rule}")) is not None
    ]
    return (f"{metric(first.metric, summary.task).title} by the epoch taken: {', '.join(shown)}.",) if shown else ()


_RULES = {
    "best_validation": "at the best epoch on validation records",
    "best_test": "at the best epoch on the test records themselves",
    "last": "after the last epoch",
}
