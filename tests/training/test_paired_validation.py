"""Judging epochs: losses over validation pairs, and zero-shot AUROC where labels may be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pair_parts import held, network, pairs, recipe, tokens
from sklearn.metrics import roc_auc_score

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import TrainingError, UnknownNameError
from medfm.objectives.merl import cma_loss
from medfm.training.merl import MerlPairs
from medfm.training.paired_validation import validation_losses, zero_shot_judge
from medfm.training.pairs_config import ZeroShotSelection


def model() -> MerlPairs:
    return MerlPairs(network(), recipe().text).train()


def test_means_over_whole_batches_in_evaluation_mode() -> None:
    judged, data, config = model(), pairs(11), recipe()
    found = validation_losses(judged, data, config)
    assert judged.training
    judged.eval()
    wanted = []
    with torch.no_grad():
        for start in (0, 4):
            rows = torch.arange(start, start + 4)
            out = judged(data.records.held[rows], *data.text_of(rows))
            wanted.append(float(cma_loss(out.signal, out.text)))
    assert found["val_cma"] == pytest.approx(np.mean(wanted), rel=1e-5)
    assert found["val_total"] == pytest.approx(found["val_cma"] + found["val_uma"], rel=1e-5)
    assert 0 <= found["val_top1"] <= found["val_top5"] <= 1
    assert validation_losses(judged, data, config) == found


def test_small_sets_are_one_batch_and_one_pair_is_refused() -> None:
    assert validation_losses(model(), pairs(3), recipe())["val_top5"] == 1.0
    with pytest.raises(TrainingError, match="1 validation pairs"):
        validation_losses(model(), pairs(1), recipe())


def cohort(count: int, **columns: list) -> Cohort:
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(count)],
            "path": [f"r{i}.hea" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "site": None,
            "split": "val",
            **columns,
        }
    )
    return Cohort(table, "ecg", Path())


def tokenise(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = tokens(max(len(texts), 1), seed=len(texts[0]))
    return ids[: len(texts)], mask[: len(texts)]


def test_zero_shot_is_the_macro_auroc_of_cosines() -> None:
    judged, records = model(), held(8)
    truth = {"AFIB": [0, 1] * 4, "STE": [1, 1, 1, 1, 0, 0, 0, 0], "PAC": [0] * 8}
    judge = zero_shot_judge(ZeroShotSelection(label_set="cpsc2018"), cohort(8, **truth), records, tokenise)
    assert judge.prompts.labels == ("AFIB", "STE")  # in the order of the set; PAC has one class only, others no column
    found = judge(judged, batch=3)
    assert judged.training
    judged.eval()
    with torch.no_grad():
        signal = torch.nn.functional.normalize(judged.network(records.held), dim=1)
        texts = [g[0].text.lower() for c in judge.prompts.classes for g in c.groups]
        text = torch.nn.functional.normalize(judged.network.text(*tokenise(texts)), dim=1)
    cosines = (signal @ text.T).numpy()
    wanted = np.mean([roc_auc_score(truth[name], cosines[:, i]) for i, name in enumerate(("AFIB", "STE"))])
    assert found == pytest.approx(wanted, abs=1e-6)


def test_rows_of_unreadable_records_are_left_out() -> None:
    labels = cohort(5, AFIB=[1, 0, 1, 0, 0])
    judge = zero_shot_judge(ZeroShotSelection(label_set="cpsc2018"), labels, held(5).take([0, 3]), tokenise)
    assert judge.truth[:, 0].tolist() == [1, 0]


def test_wrong_names_and_missing_labels() -> None:
    with pytest.raises(TrainingError, match="No label of 'cpsc2018' can be scored") as caught:
        zero_shot_judge(ZeroShotSelection(label_set="cpsc2018"), cohort(4, AFIB=[1, 1, 1, 1]), held(4), tokenise)
    assert "selection=validation_loss" in str(caught.value)
    with pytest.raises(UnknownNameError, match="did you mean 'cpsc2018'"):
        zero_shot_judge(ZeroShotSelection(label_set="cpsc2081"), cohort(4), held(4), tokenise)
