"""Thresholds, the comparison with the untouched encoder, and files written beside a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import medfm
from medfm.core.errors import StoreError
from medfm.evaluation.predictions import Predictions
from medfm.training.finetune_batches import Labelled
from medfm.training.finetune_labels import Labels
from medfm.workflows.finetune import load_finetune_recipe
from medfm.workflows.finetune_data import Prepared
from medfm.workflows.finetune_output import _threshold, beside_probe, save_into
from tests.tiny_results import tiny_result

BINARY = Labels("binary", "binary", ("a", "b"), "x")
LOGITS = torch.tensor([[-3.0], [-2.0], [-1.0], [0.5]])


def prepared(labels: Labels, targets: list[float]) -> Prepared:
    held = Labelled(torch.zeros(len(targets), 1), torch.tensor(targets))
    return Prepared(labels, held, held, None, ())


def threshold(
    labels: Labels, targets: list[float], logits: torch.Tensor | None, recipe: str = "full"
) -> tuple[float, str]:
    tuned: Any = SimpleNamespace(validation=logits)
    return _threshold(tuned, load_finetune_recipe(recipe), prepared(labels, targets))


def test_the_threshold_is_chosen_on_validation_logits() -> None:
    value, rule = threshold(BINARY, [0.0, 0.0, 1.0, 1.0], LOGITS)
    low, high = (1 / (1 + np.exp(-x)) for x in (-2.0, -1.0))
    assert value == pytest.approx((low + high) / 2) and "4 validation records" in rule


@pytest.mark.parametrize(
    ("labels", "targets", "logits", "recipe", "said"),
    [
        (BINARY, [0.0, 1.0, 1.0, 1.0], LOGITS, "bpd-progressive@1", "by convention"),
        (BINARY, [0.0, 1.0, 1.0, 1.0], None, "full", "by convention"),
        (BINARY, [1.0, 1.0, 1.0, 1.0], LOGITS, "full", "of one class"),
        (BINARY, [0.0, 1.0, 1.0, 1.0], torch.zeros(4, 1), "full", "one score"),
        (Labels("multiclass", "multiclass", ("a", "b", "c"), "x"), [0.0, 1.0], None, "full", "not used"),
        (Labels("multilabel", "multilabel", ("a", "b"), "x"), [0.0, 1.0], None, "full", "each label"),
    ],
    ids=["published", "no validation", "one class", "one score", "several classes", "labels"],
)
def test_elsewhere_it_is_one_half(
    labels: Labels, targets: list[float], logits: torch.Tensor | None, recipe: str, said: str
) -> None:
    value, rule = threshold(labels, targets, logits, recipe)
    assert value == 0.5 and said in rule


def test_differences_are_fine_tuned_minus_untouched_on_the_common_records() -> None:
    result = replace(tiny_result(folds=1), extras={"finetune": {"recipe": "r"}})
    main = result.predictions.of_variant("main")
    flipped = main.table.assign(
        **{"score:blast": main.table["score:healthy"], "score:healthy": main.table["score:blast"]}
    )
    flipped["predicted"] = np.where(flipped["score:blast"] >= 0.5, "blast", "healthy")
    rival = Predictions(flipped, "binary", ("healthy", "blast"), "label")
    made = beside_probe(result, rival, "linear-probe@1", SimpleNamespace(id="untouched"))  # type: ignore[arg-type]
    before = made.extras["finetune"]["before"]
    assert made.extras["finetune"]["recipe"] == "r" and before["encoder"] == "untouched" and before["common"] == 40
    row = next(r for r in before["rows"] if r["metric"] == "auroc")
    own = result.summary.estimate("auroc").value
    assert row["after"]["value"] == own and row["before"]["value"] == pytest.approx(1 - own)
    assert row["difference"]["value"] == pytest.approx(2 * own - 1)
    assert row["difference"]["low"] > 0 and row["p"] < 0.05


FILES = ("result.json", "predictions.parquet", "config.yaml", "report.html", "card.md")


def saving(text: str) -> Any:
    """Stands in for a result: its ``save`` writes the files of a result folder."""

    def save(folder: Path) -> None:
        folder.mkdir()
        for name in FILES:
            (folder / name).write_text(text)

    return SimpleNamespace(save=save)


def test_the_result_lies_beside_the_model_and_a_second_one_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "keep.txt").write_text("mine")
    for text in ("first", "second"):
        save_into(saving(text), tmp_path)
        assert {(tmp_path / name).read_text() for name in FILES} == {text}
    assert {p.name for p in tmp_path.iterdir()} == {"model", *FILES}
    assert (tmp_path / "model" / "keep.txt").read_text() == "mine"


@pytest.mark.parametrize("broken", FILES)
def test_a_break_while_moving_leaves_no_result_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    save_into(saving("first"), tmp_path)
    real = Path.replace

    def failing(self: Path, target: Any) -> Any:
        if self.name == broken and self.parent.name.startswith(".result"):
            raise OSError("the disk went away")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="went away"):
        save_into(saving("second"), tmp_path)
    assert not list(tmp_path.glob(".result*"))
    with pytest.raises(StoreError, match="so it is not a result folder"):
        medfm.load_result(tmp_path)
