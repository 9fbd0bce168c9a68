"""What verbs on a table share: refusals before the work, where vectors come from, how a run ends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medfm.core.errors import ConfigError, StoreError
from medfm.embeddings.embeddings import Embeddings
from medfm.workflows.finetune import FinetuneRun
from medfm.workflows.table_run import (
    EvaluationRun,
    embed_with,
    load_with_tower,
    need_one_source,
    refuse_existing,
    save_explained,
    with_weights_note,
)


def test_an_existing_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    for out in (None, tmp_path / "new", str(tmp_path / "new")):
        refuse_existing(out, overwrite=False)
    refuse_existing(tmp_path, overwrite=True)
    with pytest.raises(StoreError, match="exists already") as caught:
        refuse_existing(str(tmp_path), overwrite=False)
    assert "--overwrite" in str(caught.value.fix)


@pytest.mark.parametrize(("encoder", "embeddings"), [(None, None), ("e", "e.npz"), ("e", Path("e.npz"))])
def test_vectors_come_from_one_place(encoder: str | None, embeddings: Any) -> None:
    with pytest.raises(ConfigError, match="either an encoder or a file"):
        need_one_source(encoder, embeddings)


def test_either_place_will_do() -> None:
    need_one_source("e", None)
    need_one_source(None, "e.npz")


VECTORS = Embeddings(np.zeros((1, 2), np.float32), ("r",), {"encoder": "e"})
ENCODER: Any = SimpleNamespace(weights_note="random weights, seed 0")


def test_the_provenance_says_where_the_weights_come_from() -> None:
    found = with_weights_note(VECTORS, ENCODER)
    assert found.provenance == {"encoder": "e", "weights_note": "random weights, seed 0"}
    assert VECTORS.provenance == {"encoder": "e"} and found.values is VECTORS.values


def test_embedding_passes_its_settings_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def embed(*args: Any, **settings: Any) -> Embeddings:
        seen.append((args, settings))
        return VECTORS

    monkeypatch.setattr("medfm.workflows.embed.embed", embed)
    cohort: Any = object()
    assert "weights_note" in embed_with(ENCODER, cohort, {"cache": "c"}, None).provenance
    assert embed_with(ENCODER, cohort, None, None).record_ids == ("r",)
    assert seen == [((ENCODER, cohort), {"progress": None, "cache": "c"}), ((ENCODER, cohort), {"progress": None})]


@pytest.mark.parametrize("embeddings", [None, "e.npz"])
def test_a_file_of_embeddings_stands_in_for_the_encoder_alone(monkeypatch: pytest.MonkeyPatch, embeddings: Any) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("medfm.cohorts.load.load_cohort", lambda table, **more: asked.update(table=table, **more))
    monkeypatch.setattr("medfm.embeddings.export.load_embeddings", lambda file: VECTORS)
    monkeypatch.setattr("medfm.encoders.load.load_encoder", lambda name, **more: asked.update(more) or ENCODER)
    _, source, tower = load_with_tower(
        "t.csv", "e", weights="w", preprocessing="p", embeddings=embeddings, cohort={"root": "x"}, device="cpu"
    )
    assert tower is ENCODER and source is (ENCODER if embeddings is None else VECTORS)
    assert asked == {"table": "t.csv", "root": "x", "weights": "w", "device": "cpu", "variant": "p"}


class Kept:
    """A result as far as saving goes."""

    def __init__(self, name: str = "plain") -> None:
        self.name = name

    def save(self, out: Any, **settings: Any) -> Path:
        self.saved = settings
        return Path(out)


def test_without_a_folder_nothing_is_drawn_or_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfm.workflows.explanations.explained", lambda *_, **__: pytest.fail("drawn"))
    result: Any = Kept()
    cohort: Any = None
    assert save_explained(result, cohort, None, "none", None, overwrite=False, explanations=True) == (result, None)


def test_a_saved_result_is_the_explained_one(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Any = Kept("explained")
    wishes: list[bool] = []
    monkeypatch.setattr(
        "medfm.workflows.explanations.explained",
        lambda *_, wanted: wishes.append(wanted) or (drawn, {"r": b"png"}),
    )
    plain: Any = Kept()
    cohort: Any = None
    result, folder = save_explained(plain, cohort, None, "none", "runs/a", overwrite=True, explanations=False)
    assert result is drawn and folder == Path("runs/a") and wishes == [False]
    assert drawn.saved == {"overwrite": True, "images": {"r": b"png"}} and not hasattr(plain, "saved")


def test_a_fine_tuning_is_a_run_too(tmp_path: Path) -> None:
    result: Any = Kept()
    run = FinetuneRun(result, tmp_path, 2)
    assert isinstance(run, EvaluationRun) and (run.result, run.out, run.failed) == (result, tmp_path, 2)
    assert run == FinetuneRun(result=result, out=tmp_path, failed=2)
