"""The mean over shared classes: what may not change it, and both readings of a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from medfm.core.errors import EvaluationError
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.transfer import TransferMap, list_transfer_maps, load_transfer_map, shared_mean

CLASSES = ("a", "b", "c", "d")
NONE = StatisticsPlan(resamples=0)
SEEDS = st.integers(0, 10_000)


def predictions(seed: int, n: int = 40, task: str = "multilabel", levels: int = 0) -> Predictions:
    """Scores of `levels` different values (ties) where it is not 0."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 4)) < 0.4).astype(float)
    scores = rng.random((n, 4)) if not levels else rng.integers(0, levels, (n, 4)) / levels
    table: dict[str, Any] = {
        "record_id": [f"r{i}" for i in range(n)],
        "patient_id": [f"p{i // 2}" for i in range(n)],
        "site": None,
        "variant": "main",
        "repeat": 0,
        "fold": 0,
    }
    if task == "multilabel":
        table |= {f"truth:{c}": truth[:, i] for i, c in enumerate(CLASSES)}
    else:
        table["truth"] = [CLASSES[i] for i in rng.integers(0, 4, n)]
        scores = scores / scores.sum(axis=1, keepdims=True)
        table["predicted"] = [CLASSES[i] for i in scores.argmax(axis=1)]
    table |= {f"score:{c}": scores[:, i] for i, c in enumerate(CLASSES)}
    return Predictions(pd.DataFrame(table), task, CLASSES, "labels")  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, levels=st.sampled_from([0, 2, 5]), chosen=st.sets(st.sampled_from(CLASSES), min_size=1))
def test_equals_sklearn_with_ties(seed: int, levels: int, chosen: set[str]) -> None:
    found = predictions(seed, levels=levels)
    truth = {c: found.table[f"truth:{c}"].to_numpy() for c in CLASSES}
    assume(all(0 < truth[c].sum() < len(truth[c]) for c in chosen))
    expected = {c: roc_auc_score(truth[c], found.table[f"score:{c}"]) for c in chosen}
    made = shared_mean(found, tuple(chosen), NONE)
    assert made.estimate.value == pytest.approx(np.mean(list(expected.values())), abs=1e-9)
    assert dict(made.classes) == pytest.approx(expected)
    # In the order of the result, whatever the order asked for.
    assert [name for name, _ in made.classes] == [c for c in CLASSES if c in chosen]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_rows_may_come_in_any_order_and_scores_on_any_scale(seed: int) -> None:
    found = predictions(seed, n=30)
    assume(all(0 < found.table[f"truth:{c}"].sum() < 30 for c in CLASSES))
    plan = StatisticsPlan(resamples=50, seed=3)
    first = shared_mean(found, ("a", "c"), plan).estimate
    shuffled = found.table.sample(frac=1, random_state=seed % 1000).reset_index(drop=True)
    assert shared_mean(
        Predictions(shuffled, found.task, CLASSES, "labels"), ("a", "c"), NONE
    ).estimate.value == pytest.approx(first.value, abs=1e-12)
    squeezed = found.table.copy()
    squeezed["score:a"] = 1 / (1 + np.exp(-10 * squeezed["score:a"]))
    again = shared_mean(Predictions(squeezed, found.task, CLASSES, "labels"), ("a", "c"), plan).estimate
    assert (again.value, again.low, again.high) == pytest.approx((first.value, first.low, first.high))


def test_turned_scores_are_the_complement() -> None:
    found = predictions(1)
    turned = found.table.copy()
    for c in CLASSES:
        turned[f"score:{c}"] = 1 - turned[f"score:{c}"]
    one = shared_mean(found, CLASSES, NONE).estimate.value
    other = shared_mean(Predictions(turned, found.task, CLASSES, "labels"), CLASSES, NONE).estimate.value
    assert one + other == pytest.approx(1.0)


def test_multiclass_is_one_against_the_rest() -> None:
    found = predictions(2, task="multiclass")
    made = shared_mean(found, ("b",), NONE)
    is_b = (found.table["truth"] == "b").to_numpy()
    assert made.estimate.value == pytest.approx(roc_auc_score(is_b, found.table["score:b"]))


def test_equal_seeds_give_equal_intervals() -> None:
    found = predictions(3)
    first, second = (shared_mean(found, CLASSES, StatisticsPlan(resamples=80, seed=5)).estimate for _ in range(2))
    assert first == second
    assert first.low is not None and first.high is not None and first.low <= first.value <= first.high
    other = shared_mean(found, CLASSES, StatisticsPlan(resamples=80, seed=6)).estimate
    assert other.value == first.value and (other.low, other.high) != (first.low, first.high)


def test_one_patient_has_no_interval() -> None:
    found = predictions(4)
    table = found.table.assign(patient_id="p")
    made = shared_mean(Predictions(table, found.task, CLASSES, "labels"), CLASSES, StatisticsPlan(resamples=50))
    assert made.estimate.low is None and made.estimate.high is None


def test_a_measurement_is_refused_in_words() -> None:
    table = predictions(0).table[["record_id", "patient_id", "site", "variant", "repeat", "fold"]]
    found = Predictions(table.assign(truth=1.0, predicted=1.0), "regression", (), "age")
    with pytest.raises(EvaluationError, match="not for a regression task") as caught:
        shared_mean(found, ("a",), NONE)
    assert caught.value.expected == "a multilabel or multiclass result"


MAP = {
    "id": "mine@1",
    "title": "Two sets",
    "source": "our own table",
    "sourcing": "own",
    "domains": {
        "one": {"title": "One", "aliases": ["first"], "classes": ["x", "y", "z"]},
        "two": {"title": "Two", "classes": ["p", "q", "r"]},
    },
    "pairs": [{"source": "one", "target": "two", "shared": {"x": ["q", "p"], "y": []}}],
}


def test_a_map_is_read_from_both_sides() -> None:
    made = TransferMap(**MAP)
    # Towards "two": what any class of "one" means there, in the order of "two".
    assert made.shared("one", "two") == ("p", "q")
    # Towards "one": the classes that mean anything in "two".
    assert made.shared("two", "one") == ("x",)


def test_a_set_shares_all_classes_with_itself_or_says_nothing_of_it() -> None:
    made = TransferMap(**MAP)
    assert made.shared("one", "one") in ((), ("x", "y", "z"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "Mine"}, "id"),
        ({"sourcing": "hearsay"}, "sourcing"),
        ({"source": ""}, "source"),
        ({"pairs": [{"source": "one", "target": "three", "shared": {}}]}, "'three' is not among the domains"),
        ({"pairs": [{"source": "one", "target": "one", "shared": {}}]}, "stand there twice"),
        ({"pairs": [*MAP["pairs"], {"source": "two", "target": "one", "shared": {}}]}, "stand there twice"),  # type: ignore[misc]
        ({"pairs": [{"source": "one", "target": "two", "shared": {"w": ["p"]}}]}, "no class 'w'"),
        ({"pairs": [{"source": "one", "target": "two", "shared": {"x": ["w"]}}]}, "no class 'w'"),
        ({"extra": 1}, "extra"),
    ],
)
def test_maps_that_contradict_themselves(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TransferMap(**{**MAP, **change})


def test_domains_are_found_by_name_alias_and_classes() -> None:
    made = TransferMap(**MAP)
    assert made.domain_of("one", ("x",)) == made.domain_of("first@corrected", ("x", "w")) == "one"
    # The name alone is not enough when no class is of that set.
    assert made.domain_of("one", ("p", "w")) is None
    assert made.domain_of("unknown", ("r", "q", "p")) == "two"
    assert made.domain_of("unknown", ("q", "p")) is None


@pytest.mark.parametrize("name", list_transfer_maps())
def test_shipped_maps_are_consistent_both_ways(name: str) -> None:
    made = load_transfer_map(name)
    for pair in made.pairs:
        there, back = made.shared(pair.source, pair.target), made.shared(pair.target, pair.source)
        assert set(there) <= set(made.domains[pair.target].classes)
        assert set(back) <= set(made.domains[pair.source].classes)
        assert bool(there) == bool(back)
