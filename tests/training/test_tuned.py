"""A classifier's files: read back as written, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medfm.core.errors import WeightsError
from medfm.training.finetune_labels import Labels
from medfm.training.tuned import ABOUT, WEIGHTS, TunedClassifier, load_classifier, model_folder, save_classifier

KINDS = [
    Labels("binary", "binary", ("no", "yes"), "sick"),
    Labels("multiclass", "multiclass", ("a", "b", "c"), "kind"),
    Labels("multiclass", "ordinal", ("0", "1", "2"), "grade"),
    Labels("multilabel", "multilabel", ("x", "y"), "x+y"),
    Labels("regression", "regression", (), "age", 50.0, 12.0),
]


def made(labels: Labels, threshold: float = 0.3) -> TunedClassifier:
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(labels.outputs, 4, generator=source)
    bias = torch.arange(labels.outputs, 0, -1).float()  # falls, as thresholds of grades do
    if labels.kind == "ordinal":
        weight = weight[:1].expand(labels.outputs, -1)
    return TunedClassifier(labels, weight, bias, threshold, "by a test", {"recipe": {"name": "r"}})


EMBEDDINGS = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


@pytest.mark.parametrize("labels", KINDS, ids=lambda k: k.kind)
def test_files_give_the_same_scores_and_decisions(tmp_path: Path, labels: Labels) -> None:
    before = made(labels)
    save_classifier(tmp_path, before, "f" * 64)
    after = load_classifier(tmp_path)
    assert after.labels == labels and after.threshold == 0.3 and after.rule == "by a test"
    assert after.about["encoder_fingerprint"] == "f" * 64 and after.about["recipe"] == {"name": "r"}
    scores = after.scores(EMBEDDINGS)
    assert np.array_equal(scores, before.scores(EMBEDDINGS))
    decided = after.decide(scores)
    if labels.task == "regression":
        plain = EMBEDDINGS.astype(float) @ before.weight.double().numpy().T + 1.0
        assert decided == pytest.approx(plain[:, 0] * 12 + 50)
    elif labels.task == "multilabel":
        assert decided.shape == (9, 2) and set(np.unique(decided)) <= {0, 1}
    else:
        assert scores.sum(axis=1) == pytest.approx([1.0] * 9) and scores.min() >= 0
        assert (
            decided.tolist()
            == ((scores[:, 1] >= 0.3).astype(int) if labels.task == "binary" else scores.argmax(1)).tolist()
        )


def test_the_model_is_found_inside_the_result_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_classifier(tmp_path / "model", made(KINDS[0]), "f")
    assert model_folder(tmp_path) == model_folder(tmp_path / "model") == tmp_path / "model"
    assert load_classifier(tmp_path).folder == tmp_path / "model"


def test_a_folder_without_one_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no fine-tuned classifier") as found:
        load_classifier(tmp_path)
    assert "medfm finetune" in str(found.value)


def spoil_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-3] + b"abc")


def lose_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def other_format(folder: Path) -> None:
    _edit(folder, format="another-1")


def other_classes(folder: Path) -> None:
    _edit(folder, task="multiclass", kind="multiclass", classes=["a", "b", "c"])


def half_text(folder: Path) -> None:
    (folder / ABOUT).write_text('{"format": "medfm-cl')


def no_threshold(folder: Path) -> None:
    _edit(folder, threshold={})


def _edit(folder: Path, **values: object) -> None:
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({**about, **values}))


@pytest.mark.parametrize(
    "spoil",
    [spoil_weights, lose_weights, other_format, other_classes, half_text, no_threshold],
    ids=lambda f: f.__name__,
)
def test_damage_is_refused(tmp_path: Path, spoil) -> None:
    save_classifier(tmp_path, made(KINDS[0]), "f")
    spoil(tmp_path)
    with pytest.raises(WeightsError, match="damaged"):
        load_classifier(tmp_path)
