"""Zero-shot classifiers against open_clip's builder and FLAIR's adapter, from golden figures; never skipped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fill import filled_input, golden

from medfm.embeddings.texts import TextCache
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.target import Target
from medfm.evaluation.zero_shot import class_vectors, zero_shot_predictions, zero_shot_scores
from medfm.knowledge.prompts import ClassPrompts, Prompt, PromptSet


def asked(features: np.ndarray, **rule: object) -> tuple[PromptSet, TextCache]:
    """Prompts and a tower whose vectors are `features` (classes, prompts, width)."""
    texts = {
        f"class {c} prompt {p}": features[c, p] for c in range(features.shape[0]) for p in range(features.shape[1])
    }
    names = list(texts)
    step = features.shape[1]
    classes = tuple(
        ClassPrompts(str(c), (tuple(Prompt(t, 1 / step) for t in names[c * step : (c + 1) * step]),))
        for c in range(features.shape[0])
    )
    cache = TextCache(lambda wanted: np.stack([texts[t] for t in wanted]), "golden")
    return PromptSet("templates@1", classes, "golden", **rule), cache  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    base = filled_input("clip-zeroshot/1", (5, 1, 512))
    texts = base + np.float32(0.7) * filled_input("clip-zeroshot/0", (5, 4, 512))
    images = filled_input("clip-zeroshot/2", (6, 512)) + np.float32(0.12) * base[[0, 1, 2, 3, 4, 0], 0]
    return texts, images, golden("clip-zeroshot")


def test_template_ensembles_are_open_clips(clip) -> None:
    texts, images, expected = clip
    vectors = class_vectors(*asked(texts))
    np.testing.assert_allclose(vectors.values, expected["class_weights"].T, rtol=0, atol=1e-6)
    cosines = zero_shot_scores(images, vectors)
    # The logits are float32 and 100 times larger: 1e-6 in the cosine.
    np.testing.assert_allclose(cosines, expected["logits"] / 100, rtol=0, atol=1e-6)
    np.testing.assert_allclose(cosines / 0.07, expected["logits_scale_init"], rtol=0, atol=2e-6 / 0.07)
    assert np.array_equal(cosines.argmax(axis=1), expected["argmax"])


def test_the_other_orders_of_averaging_do_not_pass(clip) -> None:
    texts, images, expected = clip
    cosines = 100 * zero_shot_scores(images, class_vectors(*asked(texts)))
    plain = 100 * zero_shot_scores(images, class_vectors(*asked(texts, prototype="mean")))
    assert np.abs(cosines - expected["wrong_no_first_normalise_logits"]).max() > 1e-3
    assert np.abs(cosines - expected["logits_mean_of_template_logits"]).max() > 1e-3
    # The plain mean of unit vectors is the mean of the templates' logits: FLAIR's order, not CLIP's.
    np.testing.assert_allclose(plain, expected["logits_mean_of_template_logits"], rtol=0, atol=1e-4)


def predictions(cosines: np.ndarray, truth: np.ndarray, temperature: float):
    classes = tuple(str(c) for c in range(cosines.shape[1]))
    task = "binary" if len(classes) == 2 else "multiclass"
    target = Target("label", task, classes, truth.astype(np.int64))
    records = pd.DataFrame({"record_id": [f"r{i}" for i in range(len(truth))], "patient_id": [f"p{i}" for i in range(len(truth))]})  # fmt: skip
    return zero_shot_predictions(cosines, classes, target, records, temperature=temperature)


def test_probabilities_of_the_softmax_are_open_clips(clip) -> None:
    texts, images, expected = clip
    cosines = zero_shot_scores(images, class_vectors(*asked(texts)))
    made = predictions(cosines, expected["argmax"], 0.01)
    shown = made.table[[f"score:{c}" for c in range(5)]].to_numpy()
    np.testing.assert_allclose(shown, expected["probs_scale100"], rtol=0, atol=2e-5)


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=-1, keepdims=True)).astype(np.float32)


def flair_case(case: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Descriptions (C, 3, 64), test records (n, 64), truth (n,), golden arrays, by the rule of README.json."""
    classes, count = ((4, 16), (2, 12))[case]
    around = filled_input(f"flair-adapters/{case}/proto", (classes, 64))
    truth = (3 * np.arange(count) + 1) % classes
    records = unit(around[truth] + 2.0 * filled_input(f"flair-adapters/{case}/test", (count, 64)).astype(np.float64))
    texts = unit(
        around[:, None] + 1.5 * filled_input(f"flair-adapters/{case}/desc", (classes, 3, 64)).astype(np.float64)
    )
    found = {k.split("/", 1)[1]: v for k, v in golden("flair-adapters").items() if k.startswith(f"{case}/")}
    return texts, records, truth, found


@pytest.mark.parametrize("case", [0, 1])
def test_flairs_prototypes_and_probabilities(case: int) -> None:
    texts, records, truth, expected = flair_case(case)
    assert np.array_equal(truth, expected["yte"])
    vectors = class_vectors(*asked(texts, prototype="mean"))
    np.testing.assert_allclose(vectors.values, expected["text_prototypes"], rtol=0, atol=1e-6)
    assert (np.linalg.norm(vectors.values, axis=1) < 0.99).all()
    made = predictions(zero_shot_scores(records, vectors), truth, float(np.exp(-3.0)))
    shown = made.table[[f"score:{c}" for c in range(texts.shape[0])]].to_numpy()
    np.testing.assert_allclose(shown, expected["zeroshot_probs"], rtol=0, atol=5e-6)
    renormalised = class_vectors(*asked(texts))
    assert np.abs(renormalised.values - expected["text_prototypes"]).max() > 1e-2


@pytest.mark.parametrize("case", [0, 1])
def test_flairs_figures(case: int) -> None:
    texts, records, truth, expected = flair_case(case)
    made = predictions(
        zero_shot_scores(records, class_vectors(*asked(texts, prototype="mean"))), truth, float(np.exp(-3))
    )
    two = texts.shape[0] == 2
    names = {
        "aca": "balanced_accuracy",
        "kappa": "kappa" if two else "quadratic_kappa",
        "auc_avg": "auroc" if two else "auroc_ovr_macro",
        "f1_avg": "f1_macro",
        "specificity_avg": "specificity_macro",
        "sensitivity_avg": "mean_per_class_recall",
    }
    found = evaluate(made, list(names.values()))
    for theirs, ours in names.items():
        # Published figures are rounded to 3 digits, and so is every class before averaging.
        assert found[ours] == pytest.approx(float(expected[f"metrics_zeroshot/{theirs}"]), abs=1.1e-3), theirs
