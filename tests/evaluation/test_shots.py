"""Shots per class: nested, by patient, never from the test part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.config import build
from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.protocol_adapters import FewShot
from medfm.evaluation.schemes import Fold
from medfm.evaluation.shots import by_turn, draw_shots, draw_shots_as_flair, flair_split
from medfm.evaluation.target import Target

NONE = np.empty(0, dtype=np.int64)


def target(values, classes=3):
    return Target("y", "multiclass", tuple("abcdef"[:classes]), np.asarray(values, dtype=np.int64))


def setting(n=90, per=1, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    patients = np.array([f"p{i // per}" for i in range(n)], dtype=object)
    return target(rng.permutation(np.arange(n) % classes), classes), patients


def plan(**values):
    return FewShot(**values)


def test_exact_counts_nested_and_reproducible():
    truth, patients = setting()
    fold = Fold(np.arange(60), np.arange(60, 90), NONE)
    drawn, notes = draw_shots([fold], plan(shots=(1, 2, 8), draws=4), truth, patients, validate=False)
    assert len(drawn) == 12 and not notes
    for one in drawn:
        assert np.bincount(truth.values[one.fold.train]).tolist() == [one.shots] * 3
        assert set(one.fold.train.tolist()) <= set(range(60)) and not len(one.fold.validation)
        np.testing.assert_array_equal(one.fold.test, fold.test)
    by = {(d.fold.repeat, d.shots): set(d.fold.train.tolist()) for d in drawn}
    for repeat in range(4):
        assert by[repeat, 1] < by[repeat, 2] < by[repeat, 8]
    assert len({frozenset(by[r, 8]) for r in range(4)}) == 4
    again, _ = draw_shots([fold], plan(shots=(1, 2, 8), draws=4), truth, patients, validate=False)
    assert all(np.array_equal(a.fold.train, b.fold.train) for a, b in zip(drawn, again, strict=True))


def test_other_seed_other_shots():
    truth, patients = setting()
    fold = Fold(np.arange(60), np.arange(60, 90), NONE)
    first, _ = draw_shots([fold], plan(shots=(8,), draws=1, seed=0), truth, patients, validate=False)
    second, _ = draw_shots([fold], plan(shots=(8,), draws=1, seed=1), truth, patients, validate=False)
    assert not np.array_equal(first[0].fold.train, second[0].fold.train)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_shots_come_from_as_many_patients_as_there_are(seed, per, shots):
    truth, patients = setting(96, per, 2, seed)
    fold = Fold(np.arange(72), np.arange(72, 96), NONE)
    drawn, _ = draw_shots([fold], plan(shots=(shots,), draws=2, seed=seed), truth, patients, validate=True)
    for one in drawn:
        for c in range(2):
            rows = one.fold.train[truth.values[one.fold.train] == c]
            available = len(set(patients[:72][truth.values[:72] == c]))
            assert len(set(patients[rows])) == min(shots, available)
        assert not set(patients[one.fold.train]) & set(patients[one.fold.validation])
        assert set(one.fold.validation.tolist()) <= set(range(72))


def test_validation_shots_come_from_the_val_split_where_there_is_one():
    truth, patients = setting()
    truth = target(np.arange(90) % 3)
    fold = Fold(np.arange(40), np.arange(60, 90), np.arange(40, 60))
    drawn, notes = draw_shots([fold], plan(shots=(2, 4), draws=2), truth, patients, validate=True)
    assert any("split 'val'" in note for note in notes)
    for one in drawn:
        assert set(one.fold.validation.tolist()) <= set(range(40, 60))
        assert np.bincount(truth.values[one.fold.validation]).tolist() == [one.shots] * 3


def test_the_number_of_validation_shots_can_be_set():
    truth, patients = setting()
    fold = Fold(np.arange(60), np.arange(60, 90), NONE)
    drawn, _ = draw_shots([fold], plan(shots=(4,), draws=1, validation_shots=2), truth, patients, validate=True)
    assert np.bincount(truth.values[drawn[0].fold.validation]).tolist() == [2, 2, 2]


def test_levels_that_a_class_cannot_give_are_left_out_with_a_note():
    values = [0] * 30 + [1] * 3 + [0, 1] * 5
    fold = Fold(np.arange(33), np.arange(33, 43), NONE)
    patients = np.array([f"p{i}" for i in range(43)], dtype=object)
    drawn, notes = draw_shots([fold], plan(shots=(1, 2, 4, 8), draws=1), target(values, 2), patients, validate=False)
    assert [d.shots for d in drawn] == [1, 2]
    assert notes == ["Not drawn: 4, 8 shots; the class 'b' has 3 training records."]


def test_too_few_records_of_a_class():
    fold = Fold(np.arange(4), np.arange(4, 8), NONE)
    patients = np.array([f"p{i}" for i in range(8)], dtype=object)
    with pytest.raises(EvaluationError, match="The class 'b' has 0 training records"):
        draw_shots([fold], plan(shots=(1,)), target([0, 0, 0, 0, 0, 1, 0, 1], 2), patients, validate=False)


def test_no_patient_left_to_choose_settings():
    fold = Fold(np.arange(4), np.arange(4, 8), NONE)
    patients = np.array([f"p{i}" for i in range(8)], dtype=object)
    with pytest.raises(EvaluationError, match=r"No training patient is left"):
        draw_shots([fold], plan(shots=(2,)), target([0, 1] * 4, 2), patients, validate=True)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks_are_refused(task):
    wrong = Target("y", task, (), np.zeros(4))
    with pytest.raises(EvaluationError, match="one class per record"):
        draw_shots([], plan(), wrong, np.array([]), validate=False)
    with pytest.raises(EvaluationError, match="one class per record"):
        draw_shots_as_flair(4, plan(), wrong)


@pytest.mark.parametrize("shots", [[], [0, 1], [4, 2], [2, 2]])
def test_shots_must_rise(shots):
    with pytest.raises(ConfigError, match="rise"):
        build(FewShot, {"shots": shots}, where="test")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(2, 4), st.integers(20, 60))
def test_flair_parts_are_apart(seed, classes, n):
    labels = np.arange(n) % classes
    train, val, test = flair_split(labels, seed, train="2", val="1", test="20%")
    every = np.concatenate([train, val, test]).tolist()
    assert len(every) == len(set(every))
    assert np.bincount(labels[train]).tolist() == [2] * classes
    assert np.bincount(labels[val]).tolist() == [1] * classes


def test_flair_draws_say_that_they_ignore_patients():
    truth, _ = setting(60)
    drawn, notes = draw_shots_as_flair(60, plan(shots=(1, 4), draws=3, draw="flair"), truth)
    assert "by record, not by patient" in notes[0] and len(drawn) == 6
    for a, b in zip(drawn[::2], drawn[1::2], strict=True):
        np.testing.assert_array_equal(a.fold.test, b.fold.test)
        assert not set(a.fold.train.tolist()) & set(a.fold.test.tolist())
    with pytest.raises(EvaluationError, match="too small for 50 shots"):
        draw_shots_as_flair(60, plan(shots=(50,), draws=1, draw="flair"), truth)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(1, 6), st.integers(1, 4))
def test_patients_take_turns(seed, n, people, per_patient):
    rng = np.random.default_rng(seed)
    rows, patients = rng.permutation(n), rng.integers(0, people, n).astype(str).astype(object)
    turns = [[r for r in rows.tolist() if patients[r] == one] for one in dict.fromkeys(patients[rows].tolist())]
    naive, place = [], {int(r): i for i, r in enumerate(rows)}
    while any(turns):
        taken = [r for own in turns for r in own[:per_patient]]
        naive += sorted(taken, key=place.__getitem__)
        turns = [own[per_patient:] for own in turns]
    assert by_turn(rows, patients, per_patient).tolist() == naive
    assert by_turn(rows, patients, None) is rows
