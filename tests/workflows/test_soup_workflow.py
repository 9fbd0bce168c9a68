"""Soups of models of known weights: against averages by hand, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import TrainingError
from medfm.encoders.load import load_encoder
from medfm.encoders.published import family_of
from medfm.training.finetune_labels import Labels
from medfm.workflows.soup import Ingredient, check_same_kind, load_ingredients, make_soup
from tests.training.tuning_parts import BINARY, signals
from tests.workflows.soup_cases import model

REGRESSION = Labels("regression", "regression", (), "age", 50.0, 10.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    table = pd.DataFrame({"record_id": ["r0"], "path": ["x"], "patient_id": ["P0"], "site": None, "split": "train"})
    return Cohort(table, "ecg", Path(tmp_path_factory.mktemp("c")), "some", synthetic=True)


@pytest.fixture(scope="module")
def parts(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[Ingredient]:
    home = tmp_path_factory.mktemp("soup")
    return load_ingredients([model(home / f"run{i}", cohort, i) for i in range(3)], "cpu")


def quality_of(scores: np.ndarray) -> float:
    """Any figure that is not the same for every soup."""
    return float(scores[:, 1].mean())


def test_a_uniform_soup_is_the_mean_of_weights_and_classifiers(parts: list[Ingredient]) -> None:
    soup = make_soup(parts, "uniform")
    states = [p.encoder.module.state_dict() for p in parts]
    for key, value in soup.network.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, torch.stack([s[key] for s in states]).mean(dim=0), atol=1e-6)
    assert torch.allclose(soup.weight, torch.stack([p.classifier.weight for p in parts]).mean(dim=0), atol=1e-6)
    assert torch.allclose(soup.bias, torch.stack([p.classifier.bias for p in parts]).mean(dim=0), atol=1e-6)
    assert soup.kept == (0, 1, 2) and soup.quality is None and soup.measured == 0 and not soup.alone
    assert soup.labels == BINARY and not soup.network.training


def test_the_models_themselves_are_not_changed(parts: list[Ingredient]) -> None:
    before = [p.encoder.fingerprint for p in parts]
    make_soup(parts, "uniform")
    assert [load_encoder(p.classifier.folder, device="cpu").fingerprint for p in parts] == before  # type: ignore[arg-type]
    state = parts[0].encoder.module.state_dict()
    again = load_encoder(parts[0].classifier.folder, device="cpu").module.state_dict()  # type: ignore[arg-type]
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_a_greedy_soup_is_chosen_by_the_scores_of_its_own_predictions(parts: list[Ingredient]) -> None:
    x = signals(6)
    soup = make_soup(parts, "greedy", choosing=x, quality=quality_of)
    embed = family_of(parts[0].encoder.card)[0].embed
    for part, value in zip(parts, soup.alone, strict=True):
        vectors = embed(part.encoder.module, x).detach().numpy()
        assert value == pytest.approx(quality_of(part.classifier.scores(vectors)), abs=1e-6)
    own = embed(soup.network, x).detach().double() @ soup.weight.double().T + soup.bias.double()
    assert soup.quality == pytest.approx(quality_of(BINARY.scores(own)), abs=1e-6)
    assert soup.kept[0] == int(np.argmax(soup.alone)) and soup.quality is not None
    assert soup.quality >= max(soup.alone) - 1e-12 and len(soup.steps) == 3


def test_a_uniform_soup_with_validation_records_has_its_figure_too(parts: list[Ingredient]) -> None:
    soup = make_soup(parts, "uniform", choosing=signals(4), quality=quality_of)
    assert soup.kept == (0, 1, 2) and soup.quality is not None and len(soup.alone) == 3 and not soup.steps


def test_measurements_are_averaged_in_their_unit(parts: list[Ingredient]) -> None:
    """Every run scales by its own records; the soup speaks the unit itself."""
    own = [
        replace(p, classifier=replace(p.classifier, labels=replace(REGRESSION, centre=40.0 + i, spread=5.0 * (i + 1))))
        for i, p in enumerate(parts)
    ]
    soup = make_soup(own, "uniform")
    vectors = np.random.default_rng(0).normal(size=(5, soup.weight.shape[1]))
    expected = np.mean([p.classifier.scores(vectors) for p in own], axis=0)
    found = soup.labels.scores(torch.from_numpy(vectors) @ soup.weight.double().T + soup.bias.double())
    assert found == pytest.approx(expected, abs=1e-4) and (soup.labels.centre, soup.labels.spread) == (0.0, 1.0)


def test_moved_statistics_need_training_records(cohort: Cohort, tmp_path: Path) -> None:
    runs = load_ingredients([model(tmp_path / f"m{i}", cohort, i, statistics=True) for i in (5, 6)], "cpu")
    with pytest.raises(TrainingError, match="changed the BatchNorm statistics of") as found:
        make_soup(runs, "uniform")
    assert "--table" in str(found.value.fix)
    x = signals(12)
    soup = make_soup(runs, "uniform", learning=x)
    norms = [m for m in soup.network.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert soup.measured == len(norms)
    seen: list[torch.Tensor] = []
    norms[0].register_forward_hook(lambda module, given, out: seen.append(given[0]))
    family_of(runs[0].encoder.card)[0].embed(soup.network, x)
    assert torch.allclose(norms[0].running_mean, seen[0].mean(dim=(0, 2)), atol=1e-4)  # type: ignore[arg-type]


def test_a_single_model_or_the_same_twice_is_no_soup(parts: list[Ingredient]) -> None:
    with pytest.raises(TrainingError, match="two models or more"):
        check_same_kind(parts[:1])
    with pytest.raises(TrainingError, match="same model is named twice"):
        check_same_kind([parts[0], parts[1], replace(parts[0], name="again")])


def test_greedy_without_records_is_refused(parts: list[Ingredient]) -> None:
    with pytest.raises(TrainingError, match="needs validation records"):
        make_soup(parts, "greedy")


def _labelled(part: Ingredient, labels: Labels) -> Ingredient:
    return replace(part, name="other", classifier=replace(part.classifier, labels=labels))


def test_what_cannot_be_averaged_is_refused_with_the_reason(parts: list[Ingredient]) -> None:
    about = parts[1].classifier.about
    start = {**about["from_encoder"], "fingerprint": "0" * 64}
    elsewhere = replace(parts[1], classifier=replace(parts[1].classifier, about={**about, "from_encoder": start}))
    wide = replace(parts[1], encoder=load_encoder("merl-tiny", "random", "cpu", architecture={"stem": 16}))
    other = replace(parts[1], classifier=replace(parts[1].classifier, weight=torch.zeros(2, 5)))
    cases = [
        (elsewhere, "encoder that training started from"),
        (wide, "network"),
        (other, "network"),
        (_labelled(parts[1], replace(BINARY, name="dead")), "target"),
        (_labelled(parts[1], replace(BINARY, classes=("yes", "no"))), "target"),
    ]
    for case, said in cases:
        with pytest.raises(TrainingError, match=f"the {said} is not the same") as found:
            check_same_kind([parts[0], case])
        assert case.name in str(found.value.where) and found.value.fix
