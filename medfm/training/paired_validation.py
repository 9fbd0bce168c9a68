"""Judging an epoch on validation pairs: by the loss without labels, or by zero-shot with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import TrainingError
from medfm.core.names import did_you_mean
from medfm.embeddings.texts import TextCache
from medfm.evaluation.zero_shot import class_vectors, zero_shot_scores
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import PromptSet, build_prompts
from medfm.training.pair_families import pair_loss
from medfm.training.pair_model import PairModel
from medfm.training.pairs import Pairs
from medfm.training.pairs_config import PairsRecipe, ZeroShotSelection
from medfm.training.record_tensors import RecordTensors

Tokenise = Callable[[list[str]], tuple[Tensor, Tensor]]


@torch.no_grad()
def validation_losses(model: PairModel, pairs: Pairs, config: PairsRecipe) -> dict[str, float]:
    """Mean loss terms and accuracies over batches of the validation pairs, as ``val_total``, ``val_top1`` ...

    The model is in evaluation mode (no dropout, kept batch statistics) and returned to training mode.
    All batches have one size, so that epochs and runs compare; the last incomplete one is left out.

    Raises:
        TrainingError: Fewer than two pairs.
    """
    size = min(config.batch_size, len(pairs))
    if size < 2:
        raise TrainingError(f"There are {len(pairs)} validation pairs.", expected="at least 2")
    model.eval()
    device = next(model.parameters()).device
    rows: list[dict[str, float]] = []
    for start in range(0, len(pairs) - size + 1, size):
        positions = torch.arange(start, start + size)
        records = torch.stack([pairs.records[int(i)] for i in positions]).to(device)
        # Where a record has several texts, every epoch is judged by the same draw of them.
        text, groups = pairs.drawn(positions, config.seed, 0)
        terms, accuracy = pair_loss(model(records, *(part.to(device) for part in text)), config, None, groups)
        rows.append({**{k: float(v) for k, v in terms.items()}, **accuracy})
    model.train()
    return {f"val_{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}


@dataclass(frozen=True)
class ZeroShotJudge:
    """Macro AUROC of prompts on the validation records, the published way to choose the epoch.

    It uses labels, so a model chosen by it is not free of labels.

    Attributes:
        records: The n labelled records.
        prompts: Of the labels that have a positive and a negative record.
        truth: int64 (n, labels).
        tokenise: Texts -> (ids, mask).
    """

    records: RecordTensors
    prompts: PromptSet
    truth: np.ndarray
    tokenise: Tokenise

    @torch.no_grad()
    def __call__(self, model: PairModel, batch: int = 64) -> float:
        """The macro AUROC (0 to 1) over the labels, and the model back in training mode."""
        from sklearn.metrics import roc_auc_score

        model.eval()
        device = next(model.parameters()).device
        parts = []
        for start in range(0, len(self.records), batch):
            stop = min(start + batch, len(self.records))
            records = torch.stack([self.records[i] for i in range(start, stop)])
            parts.append(model.network(records.to(device)).float().cpu().numpy())

        def encode(texts: list[str]) -> np.ndarray:
            ids, mask = self.tokenise(texts)
            return np.asarray(model.embed_text(ids.to(device), mask.to(device)).float().cpu().numpy())

        scores = zero_shot_scores(np.concatenate(parts), class_vectors(self.prompts, TextCache(encode, "this epoch")))
        model.train()
        return float(np.mean([roc_auc_score(self.truth[:, i], scores[:, i]) for i in range(scores.shape[1])]))


def zero_shot_judge(
    rule: ZeroShotSelection, cohort: Cohort, records: RecordTensors, tokenise: Tokenise
) -> ZeroShotJudge:
    """The judge for `records`, which were loaded from `cohort`.

    Raises:
        TrainingError: No label of the set is a column with a positive and a negative record.
        UnknownNameError: No such label set or strategy.
    """
    knowledge = load_knowledge(cohort.modality)
    prompts = build_prompts(knowledge, rule.label_set, rule.strategy)
    table = cohort.table.iloc[list(records.rows)]
    kept, truth = [], []
    for entry in prompts.classes:
        if entry.label not in table.columns:
            continue
        # Words, as in a column that happens to bear a label's name, are no labels.
        values = pd.to_numeric(table[entry.label], errors="coerce").to_numpy(dtype=float)
        if set(np.unique(values)) == {0.0, 1.0}:
            kept.append(entry)
            truth.append(values.astype(np.int64))
    if not kept:
        raise TrainingError(
            f"No label of '{rule.label_set}' can be scored on the {len(records)} validation records.",
            expected="columns of 0 and 1 named as the labels: " + ", ".join(prompts.labels[:8]),
            fix=f"--set selection=validation_loss; {did_you_mean(prompts.labels[0], map(str, table.columns))}",
        )
    chosen = PromptSet(prompts.strategy, tuple(kept), prompts.source)
    return ZeroShotJudge(records, chosen, np.stack(truth, axis=1), tokenise)
