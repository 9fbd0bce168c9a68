"""The tiny recipes on synthetic pairs: zero-shot on held-out synthetic patients is above chance, with interval."""

from __future__ import annotations

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
from medfm.knowledge.prompts import PromptSet, build_prompts
from medfm.training.log import read_log
from medfm.workflows.pretrain import pretrain

LABEL_SETS = {"histopathology": "nct-crc-quilt", "retina": "idrid"}


def predictions(encoder: Encoder, cohort: medfm.Cohort) -> Predictions:
    prompts = build_prompts(load_knowledge(cohort.modality), LABEL_SETS[cohort.modality], "class-name@1")
    present = set(cohort.table["label"].astype(str))
    asked = PromptSet(prompts.strategy, tuple(c for c in prompts.classes if c.label in present), prompts.source)
    texts = TextCache(lambda t: encoder.encode_text(t).cpu().numpy(), encoder.text_fingerprint or "")
    vectors = class_vectors(asked, texts)
    target = make_target(cohort, "label", "multiclass")
    order = [list(vectors.labels).index(name) for name in target.classes]
    scores = zero_shot_scores(medfm.embed(encoder, cohort).values, vectors)[:, order]
    return zero_shot_predictions(scores, target.classes, target, cohort.table)


def measured(folder: Path, cohort: medfm.Cohort, resamples: int) -> tuple[object, object]:
    """AUROC of the trained encoder, and its gain over the same network before training, on the split test."""
    held_out = cohort.of_split("test")
    assert not set(held_out.table["patient_id"]) & set(cohort.of_split("train").table["patient_id"])
    ours = predictions(medfm.load_encoder(folder), held_out)
    theirs = predictions(medfm.load_encoder(folder, weights="random"), held_out)
    plan = StatisticsPlan(resamples=resamples)
    (gain,) = compare_pair(match(theirs, ours), [metric("auroc", "multiclass")], plan)
    return summarise(ours, plan, metrics=["auroc"]).estimate("auroc"), gain


def test_a_short_run_is_already_above_chance(tmp_path: Path) -> None:
    cohort = medfm.load_cohort(synthesize("histopathology", tmp_path / "tissue", records=120, size=64).table)
    changes = {"epochs": 6, "batch_size": 12, "optimisation": {"lr": 0.002, "warmup": 4}}
    result = pretrain(cohort, "convirt-smoke", tmp_path / "run", overrides=changes)
    totals = [row["total"] for row in read_log(result.folder / "log.jsonl")]
    assert np.mean(totals[-6:]) < np.mean(totals[:6]) - 0.2
    found, _ = measured(result.folder, cohort, 200)
    assert found.low is not None and found.low > 0.5, found  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("recipe", "modality", "records", "size", "least", "gained"),
    # Measured with seeds 0 and 1, lower ends: AUROC 0.86 and 0.84, gain 0.20 and 0.19; AUROC 0.84 and 0.88, gain 0.25
    # and 0.33. With 450 photographs one of two seeds learns nothing. Smaller pictures than the page's, which take
    # longer to draw than to learn from, and are made smaller anyway. ConVIRT is above.
    [
        ("quiltnet-tiny", "histopathology", 400, 80, 0.75, 0.1),
        ("flair-tiny", "retina", 700, 144, 0.7, 0.1),
    ],
)
def test_the_tiny_recipes_reach_zero_shot_on_held_out_patients(
    recipe: str, modality: str, records: int, size: int, least: float, gained: float, tmp_path: Path
) -> None:
    cohort = medfm.load_cohort(synthesize(modality, tmp_path / modality, records=records, size=size).table)
    result = pretrain(cohort, recipe, tmp_path / "run")
    found, gain = measured(result.folder, cohort, 1000)
    assert found.low is not None and found.low > least, found  # type: ignore[attr-defined]
    assert gain.low is not None and gain.low > gained, gain  # type: ignore[attr-defined]
