"""What stands beside the figures of a zero-shot run: texts, prompts, sensitivity, strategies compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.embeddings.texts import TextCache
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import Protocol, ZeroShot
from medfm.evaluation.summary import Summary
from medfm.evaluation.target import Target
from medfm.evaluation.zero_shot_sensitivity import BEST_F1_FLAW, best_f1, prompt_sensitivity
from medfm.knowledge.prompts import ClassPrompts, describe_strategy
from medfm.workflows.compare import compare
from medfm.workflows.zero_shot_prompts import FILE, Question, Questions

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort

# Records times prompts of a sensitivity table: about ten seconds on one core. Beyond, a sample of records serves.
_MOST_SCORES = 40_000_000


@dataclass(frozen=True)
class Scored:
    """Cosines of every strategy.

    Attributes:
        asked: The questions, with the weights that were used.
        cosines: float64 (n, labels) for each.
        values: float32 (n, d), the embeddings.
        truth: The labels of the n records.
        cohort: The n records.
        notes: What a reader must know.
    """

    asked: tuple[Question, ...]
    cosines: tuple[np.ndarray, ...]
    values: np.ndarray
    truth: Target
    cohort: Cohort
    notes: tuple[str, ...]

    def variants(self) -> Iterator[tuple[str, Question, np.ndarray]]:
        """Name of the variant, question and cosines; the first is the headline."""
        for number, (question, cosines) in enumerate(zip(self.asked, self.cosines, strict=True)):
            yield MAIN if number == 0 else question.strategy, question, cosines


@dataclass(frozen=True)
class _Strategy:
    """One variant as a result of its own, for the comparison."""

    predictions: Predictions
    summary: Summary
    title: str


def zero_shot_extras(
    asked: Questions,
    scored: Scored,
    predictions: Predictions,
    summary: Summary,
    plan: Protocol,
    texts: TextCache,
    *,
    lower_case: bool,
    shown: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Plain data for ``extras["zero_shot"]``; see docs/zeroshot.md for the keys."""
    method = plan.method
    assert isinstance(method, ZeroShot)
    prompts, note = _prompt_rows(scored, texts, lower_case, plan.statistics.seed)
    made: dict[str, Any] = {
        "strategies": [_about(variant, question) for variant, question, _ in scored.variants()],
        "classes": {label: list(ids) for label, ids in asked.classes.items()},
        "label_set": asked.label_set,
        "knowledge": None
        if asked.knowledge is None
        else {
            "domain": asked.knowledge.domain,
            "version": asked.knowledge.version,
            "sha256": asked.knowledge.digest(),
            "reviewed_by": asked.knowledge.reviewed_by,
        },
        "prompt_file": asked.file,
        "stand_in": asked.stand_in,
        "lower_case": lower_case,
        "texts": [dict(entry) for entry in shown],
        "prompts": prompts,
        "sensitivity_note": note,
        "comparison": _comparison(scored, predictions, summary, plan),
    }
    if method.best_f1:
        found = best_f1(scored.cosines[0], truth_matrix(scored.truth), tuple(scored.truth.classes))
        made["best_f1"] = [asdict(row) for row in found]
        made["best_f1_flaw"] = BEST_F1_FLAW
    return made


def truth_matrix(truth: Target) -> np.ndarray:
    """float64 (n, classes) of 1, 0 and NaN for unknown; one class against the rest for a label column."""
    if truth.task == "multilabel":
        return truth.values
    return (truth.values[:, None] == np.arange(len(truth.classes))[None, :]).astype(np.float64)


def _about(variant: str, question: Question) -> dict[str, Any]:
    prompts = question.prompts
    count = sum(len(group) for entry in prompts.classes for group in entry.groups)
    return {
        "variant": variant,
        "strategy": prompts.strategy,
        "does": "texts of a file as they are" if question.strategy == FILE else describe_strategy(question.strategy),
        "source": prompts.source,
        "prompts": count,
        "sha256": prompts.digest(),
    }


def _prompt_rows(scored: Scored, texts: TextCache, lower_case: bool, seed: int) -> tuple[list[dict[str, Any]], str]:
    """A row per prompt and strategy, with the label's AUROC without it where the label has others."""
    truth = truth_matrix(scored.truth)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for variant, question, _ in scored.variants():
        several = [entry for entry in question.prompts.classes if _count(entry) > 1]
        without: dict[tuple[str, int], tuple[float | None, float | None]] = {}
        if several and question.in_context is None:
            part = replace(question.prompts, classes=tuple(several))
            labels = [question.prompts.labels.index(entry.label) for entry in several]
            chosen = _sample(len(truth), sum(map(_count, several)), seed)
            if len(chosen) < len(truth):
                notes.append(f"{variant}: computed on a random sample of {len(chosen)} records, to save time.")
            found = prompt_sensitivity(
                part, scored.values[chosen], truth[chosen][:, labels], texts, lower_case=lower_case
            )
            seen: dict[str, int] = {}
            for row in found:
                without[(row.label, seen.setdefault(row.label, 0))] = (row.auroc, row.without)
                seen[row.label] += 1
        for entry in question.prompts.classes:
            number = 0
            for g, group in enumerate(entry.groups):
                for prompt in group:
                    auroc, rest = without.get((entry.label, number), (None, None))
                    rows.append(
                        {
                            "variant": variant,
                            "label": entry.label,
                            "group": g,
                            "text": prompt.text,
                            "weight": prompt.weight,
                            "auroc": auroc,
                            "without": rest,
                            "change": None if auroc is None or rest is None else rest - auroc,
                        }
                    )
                    number += 1
        if question.in_context is not None:
            notes.append(f"{variant}: prompts differ from record to record; those shown are for an unknown person.")
    return rows, " ".join(notes)


def _count(entry: ClassPrompts) -> int:
    return sum(len(group) for group in entry.groups)


def _sample(records: int, prompts: int, seed: int) -> np.ndarray:
    most = max(1000, _MOST_SCORES // max(prompts, 1))
    if records <= most:
        return np.arange(records)
    return np.sort(np.random.default_rng(seed).permutation(records)[:most])


def _comparison(scored: Scored, predictions: Predictions, summary: Summary, plan: Protocol) -> dict[str, Any] | None:
    """Every further strategy against the headline, paired and clustered; ``None`` with one strategy."""
    if len(scored.asked) < 2:
        return None
    parts = []
    for variant, question, _ in scored.variants():
        own = predictions.of_variant(variant)
        table = own.table.assign(variant=MAIN)
        renamed = Predictions(table, own.task, own.classes, own.target)
        parts.append(_Strategy(renamed, summary, question.prompts.strategy))
    return compare(
        parts[0],
        *parts[1:],
        metrics=[estimate.metric for estimate in summary.headline],
        seed=plan.statistics.seed,
        resamples=None if plan.statistics.resamples >= 1000 else plan.statistics.resamples,
        level=plan.statistics.level,
    ).to_dict()
