"""The tiny recipe on synthetic pairs: zero-shot on held-out synthetic patients is far above chance, with interval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import medfm
from medfm.cohorts.synthesize import synthesize
from medfm.embeddings.texts import TextCache
from medfm.encoders.encoder import Encoder
from medfm.evaluation.metrics import metric
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.evaluation.target import make_target
from medfm.evaluation.zero_shot import class_vectors, zero_shot_predictions, zero_shot_scores
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import build_prompts
from medfm.training.log import read_log
from medfm.workflows.pretrain import pretrain

LABEL_SET = "cpsc2018"


def predictions(encoder: Encoder, cohort: medfm.Cohort, strategy: str) -> Predictions:
    prompts = build_prompts(load_knowledge("ecg"), LABEL_SET, strategy)
    texts = TextCache(lambda t: encoder.encode_text(t).cpu().numpy(), encoder.text_fingerprint or "")
    vectors = class_vectors(prompts, texts)
    values = medfm.embed(encoder, cohort).values
    target = make_target(cohort, list(vectors.labels), "multilabel")
    return zero_shot_predictions(zero_shot_scores(values, vectors), vectors.labels, target, cohort.table)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_tiny_recipe_reaches_zero_shot_on_held_out_patients(tmp_path: Path) -> None:
    cohort = medfm.load_cohort(synthesize("ecg", tmp_path / "ecg", records=800).table)
    result = pretrain(cohort, "merl-tiny", tmp_path / "run")
    rows = read_log(tmp_path / "run/log.jsonl")
    assert np.mean([r["total"] for r in rows[-10:]]) < np.mean([r["total"] for r in rows[:10]]) - 3
    held_out = cohort.of_split("test")
    assert not set(held_out.table["patient_id"]) & set(cohort.of_split("train").table["patient_id"])

    trained = medfm.load_encoder(result.folder)
    untrained = medfm.load_encoder(result.folder, weights="random")
    plan = StatisticsPlan(resamples=1000)
    measured: dict[str, object] = {"training_seconds": sum(r["seconds"] for r in rows), "steps": len(rows)}
    for strategy in ("class-name@1", "synonyms@1", "templates@1"):
        ours = predictions(trained, held_out, strategy)
        theirs = predictions(untrained, held_out, strategy)
        found = summarise(ours, plan, metrics=["auroc"]).estimate("auroc")
        chance = summarise(theirs, plan, metrics=["auroc"]).estimate("auroc")
        (gain,) = compare_pair(match(theirs, ours), [metric("auroc", "multilabel")], plan)
        measured[strategy] = {
            "trained": [found.value, found.low, found.high],
            "untrained": [chance.value, chance.low, chance.high],
            "gain": [gain.difference, gain.low, gain.high],
        }
        # Measured 0.81, intervals from 0.78, gains from 0.23 (with 1200 recordings 0.83 to 0.85, from 0.81; with 500
        # 0.70, from 0.67); untrained 0.54; the margin is for other machines' rounding.
        assert found.low is not None and found.low > 0.7, measured
        assert gain.low is not None and gain.low > 0.15, measured
    (tmp_path / "measured.json").write_text(json.dumps(measured, indent=1))
