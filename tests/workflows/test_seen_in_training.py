"""An encoder trained here and tested on the set it was trained on: L008 says so, from the vectors alone too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import medfm
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.synthesize import synthesize
from medfm.embeddings.export import load_embeddings, save_embeddings
from medfm.encoders.card_schema import TrainingSet
from medfm.encoders.registry import get_card
from medfm.evaluation.protocol import load_protocol
from medfm.workflows.before_evaluation import check_cohort, seen_in_training
from medfm.workflows.embed import embed

NAME = "synthetic-ecgs--seed-0"  # as medfm pretrain writes the name of the cohort below


class TrainedHere:
    """A small network that says it was trained here, on the sets that its card names."""

    def __init__(self, *sets: TrainingSet) -> None:
        self._inner: Any = medfm.load_encoder("merl-tiny", weights="random")
        self.card = SimpleNamespace(spec=SimpleNamespace(training_data=sets))
        self.weights_kind = "trained here"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, batch: Any) -> Any:
        return self._inner(batch)


def seen(name: str, status: Any = "used") -> TrainingSet:
    return TrainingSet(name=name, title=name, status=status)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return medfm.load_cohort(synthesize("ecg", tmp_path_factory.mktemp("ecgs") / "out", records=30).table)


@pytest.fixture(scope="module")
def vectors(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> medfm.Embeddings:
    encoder = TrainedHere(seen(NAME), seen("left-aside", "held out"))
    return embed(encoder, cohort, cache=tmp_path_factory.mktemp("cache"))  # type: ignore[arg-type]


def finding(vectors: medfm.Embeddings, cohort: Cohort) -> tuple[str, str]:
    """Severity and detail of L008."""
    findings = check_cohort(cohort, "AFIB", "", load_protocol("linear-probe@1"), vectors, ["S001", "S002"])
    return next((f.severity, f.detail) for f in findings if f.code == "L008")


def test_the_vectors_say_what_their_encoder_was_trained_on(vectors: medfm.Embeddings) -> None:
    # A set kept from training is not named.
    assert vectors.provenance["training_data"] == [NAME]
    assert seen_in_training(vectors) == (NAME,)


def test_the_same_set_is_a_warning_and_another_is_none(vectors: medfm.Embeddings, cohort: Cohort) -> None:
    severity, detail = finding(vectors, cohort)
    assert severity == "warning" and NAME in detail
    info = {**cohort.info, "name": "clinic of the north", "source": "own", "task": "rhythm"}
    assert finding(vectors, replace(cohort, name="clinic of the north", info=info))[0] == "passed"


@pytest.mark.parametrize("ending", [".npz", ".h5", ".parquet"])
def test_a_file_of_vectors_keeps_it(ending: str, vectors: medfm.Embeddings, cohort: Cohort, tmp_path: Path) -> None:
    read = load_embeddings(save_embeddings(vectors, tmp_path / f"vectors{ending}"))
    assert seen_in_training(read) == (NAME,)
    assert finding(read, cohort)[0] == "warning"


def test_an_untrained_network_has_seen_nothing(cohort: Cohort, tmp_path: Path) -> None:
    drawn = embed(medfm.load_encoder("merl-tiny", weights="random"), cohort, cache=tmp_path)
    assert "training_data" not in drawn.provenance
    assert seen_in_training(drawn) == ()


def test_published_encoders_are_looked_up_by_their_id(vectors: medfm.Embeddings) -> None:
    about = {"encoder": "merl-resnet18", "weights_kind": "published"}
    named = [part.name for part in get_card("merl-resnet18").spec.training_data if part.status != "held out"]
    assert seen_in_training(replace(vectors, provenance=about)) == tuple(named)
    unknown = {"encoder": "of-nobody", "weights_kind": "trained here"}
    assert seen_in_training(replace(vectors, provenance=unknown)) == ()
    # Random weights have seen nothing, whatever stands beside them.
    random = {**about, "weights_kind": "random", "training_data": [NAME]}
    assert seen_in_training(replace(vectors, provenance=random)) == ()


def test_the_split_that_was_seen_is_named(cohort: Cohort, tmp_path: Path) -> None:
    part = TrainingSet(name=NAME, title=NAME, status="used", split="train")
    held = embed(TrainedHere(part), cohort, cache=tmp_path)  # type: ignore[arg-type]
    assert seen_in_training(held) == (f"{NAME} (split train)",)
    severity, detail = finding(held, cohort)
    assert severity == "warning"
    assert detail.endswith("figures of another split are of records that it has not seen, figures of folds are not")
    whole = TrainingSet(name=NAME, title=NAME, status="used", split="all")
    assert whole.named() == NAME and seen("bmc").named() == "bmc"
