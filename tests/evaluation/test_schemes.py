"""Splits, folds and fractions: patients never cross, draws are nested and seeded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from medfm.core.errors import EvaluationError
from medfm.evaluation.protocol import Scheme
from medfm.evaluation.schemes import Fold, draw_fractions, folds_planned, make_folds, split_rows

NONE = np.empty(0, dtype=np.int64)


def units(n: int = 60, cells: int = 3, classes: int = 3):
    patients = np.array([f"p{i // cells}" for i in range(n)], dtype=object)
    return patients, (np.arange(n) // cells) % classes


def no_split(n: int) -> np.ndarray:
    return np.array([None] * n, dtype=object)


def test_the_cohorts_own_split() -> None:
    split = np.array(["train", "val", "test", "train", None], dtype=object)
    folds, notes = make_folds(Scheme(kind="split"), split=split, patients=np.arange(5), strata=np.zeros(5, int))
    assert len(folds) == 1 and notes == []
    assert folds[0].train.tolist() == [0, 3] and folds[0].test.tolist() == [2] and folds[0].validation.tolist() == [1]


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_a_split_without_a_part(lacking: str) -> None:
    split = np.array(["train" if lacking == "test" else "test"] * 4, dtype=object)
    with pytest.raises(EvaluationError, match=f"split '{lacking}'"):
        make_folds(Scheme(kind="split"), split=split, patients=np.arange(4), strata=np.zeros(4, int))


def test_split_or_k_fold_takes_the_split_where_there_is_one() -> None:
    patients, strata = units()
    scheme = Scheme(kind="split_or_kfold", folds=4)
    split = np.where(np.arange(60) < 45, "train", "test").astype(object)
    assert len(make_folds(scheme, split=split, patients=patients, strata=strata)[0]) == 1
    nan_split = np.full(60, np.nan, dtype=object)
    assert len(make_folds(scheme, split=nan_split, patients=patients, strata=strata)[0]) == 4
    only_train = np.array(["train"] * 60, dtype=object)
    assert len(make_folds(scheme, split=only_train, patients=patients, strata=strata)[0]) == 4


@settings(max_examples=25, deadline=None)
@given(
    cells=st.integers(1, 5),
    folds=st.integers(2, 4),
    stratify=st.booleans(),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
)
def test_patients_never_cross_and_everyone_is_tested_once(cells, folds, stratify, shuffle, seed) -> None:
    patients, strata = units(60, cells)
    scheme = Scheme(kind="kfold", folds=folds, stratify=stratify, shuffle=shuffle, seed=seed, group_by_patient=True)
    made, _ = make_folds(scheme, split=no_split(60), patients=patients, strata=strata)
    assert np.array_equal(np.sort(np.concatenate([f.test for f in made])), np.arange(60))
    for fold in made:
        assert not set(patients[fold.train]) & set(patients[fold.test])
        assert len(fold.train) + len(fold.test) == 60


def test_stratified_folds_hold_every_class() -> None:
    patients, strata = units(90, 3, 3)
    made, notes = make_folds(Scheme(kind="kfold", folds=5), split=no_split(90), patients=patients, strata=strata)
    assert notes == []
    for fold in made:
        assert set(strata[fold.test]) == {0, 1, 2}


def test_unshuffled_folds_are_scikit_learns() -> None:
    strata = np.random.default_rng(0).integers(0, 4, 103)
    scheme = Scheme(kind="kfold", folds=5, shuffle=False, group_by_patient=False)
    made, _ = make_folds(scheme, split=no_split(103), patients=np.arange(103), strata=strata)
    for fold, (train, test) in zip(made, StratifiedKFold(5).split(np.zeros(103), strata), strict=True):
        assert np.array_equal(fold.train, train) and np.array_equal(fold.test, test)


def test_seeds_and_repeats() -> None:
    patients, strata = units()
    given_ = {"split": no_split(60), "patients": patients, "strata": strata}
    a, _ = make_folds(Scheme(kind="kfold", folds=3, repeats=2, seed=4), **given_)
    b, _ = make_folds(Scheme(kind="kfold", folds=3, repeats=2, seed=4), **given_)
    c, _ = make_folds(Scheme(kind="kfold", folds=3, repeats=2, seed=9), **given_)
    assert [f.repeat for f in a] == [0, 0, 0, 1, 1, 1] and [f.fold for f in a] == [0, 1, 2, 0, 1, 2]
    assert all(np.array_equal(x.test, y.test) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x.test, y.test) for x, y in zip(a, c, strict=True))
    assert not np.array_equal(a[0].test, a[3].test)


def test_group_folds_without_strata_use_the_seed() -> None:
    patients, strata = units()
    scheme = Scheme(kind="kfold", folds=3, stratify=False)
    given_ = {"split": no_split(60), "patients": patients, "strata": strata}
    a, _ = make_folds(scheme, **given_)
    b, _ = make_folds(scheme.model_copy(update={"seed": 8}), **given_)
    assert not np.array_equal(a[0].test, b[0].test)


def test_inner_folds_validate_inside_train_and_test_outside() -> None:
    patients, strata = units()
    split = np.where(np.arange(60) < 36, "train", "test").astype(object)
    split[36:39] = "val"
    scheme = Scheme(kind="split_with_inner_kfold", folds=4, repeats=5, stratify=False)
    made, notes = make_folds(scheme, split=split, patients=patients, strata=strata)
    assert len(made) == 20 and any("val records are not used" in n for n in notes)
    for fold in made:
        assert fold.test.tolist() == list(range(39, 60))
        assert set(fold.train) | set(fold.validation) == set(range(36))
        assert not set(patients[fold.train]) & set(patients[fold.validation])


def test_too_few_patients() -> None:
    patients, strata = units(6, 3, 2)
    with pytest.raises(EvaluationError, match="2 patients cannot be cut into 5 folds"):
        make_folds(Scheme(kind="kfold", folds=5), split=no_split(6), patients=patients, strata=strata)
    with pytest.raises(EvaluationError, match="3 records cannot"):
        split_rows(4, None, None, seed=0, count=3)


def test_rare_classes_are_noted() -> None:
    strata = np.array([0] * 18 + [1] * 2)
    parts, notes = split_rows(5, None, strata, seed=0, count=20)
    assert len(parts) == 5 and "1 of 2 classes have fewer than 5 records" in notes[0]
    parts, notes = split_rows(5, None, np.arange(20) // 2, seed=0, count=20)
    assert len(parts) == 5 and "not stratified" in notes[0]


def draw(fold: Fold, fractions, draws=3, seed=0, patients=None, strata=None):
    return draw_fractions(
        [fold],
        fractions,
        draws,
        patients=patients,
        strata=strata,
        generator=lambda i: np.random.default_rng([seed, i]),
    )


def test_fractions_are_by_patient_nested_and_keep_every_class() -> None:
    patients, strata = units(240, 4, 3)
    fold = Fold(np.arange(200), np.arange(200, 240), NONE, repeat=1, fold=2)
    drawn = draw(fold, (0.1, 1.0, 0.5), patients=patients, strata=strata)
    assert drawn[0] is fold
    assert sorted(f.fraction for f in drawn) == [0.1] * 3 + [0.5] * 3 + [1.0]
    for small, large in zip(drawn[1::2], drawn[2::2], strict=True):
        assert small.repeat == large.repeat and small.fold == 2
        assert set(small.train) < set(large.train) < set(fold.train)
        assert set(strata[small.train]) == {0, 1, 2}
        for part in (small, large):
            assert np.array_equal(part.test, fold.test)
            chosen = set(patients[part.train])
            assert len(part.train) == sum(p in chosen for p in patients[fold.train])
    assert {f.repeat for f in drawn[1:]} == {3, 4, 5}
    assert not np.array_equal(drawn[1].train, drawn[3].train)


def test_fractions_follow_the_seed() -> None:
    patients, strata = units(120, 2, 2)
    fold = Fold(np.arange(100), np.arange(100, 120), NONE)
    a, b = (draw(fold, (0.2,), 1, 5, patients, strata)[0].train for _ in range(2))
    c = draw(fold, (0.2,), 1, 6, patients, strata)[0].train
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert len(set(patients[a])) == 10


@pytest.mark.parametrize(
    ("kind", "inner", "split", "planned"),
    [
        ("kfold", None, ["train", "test"], 7),
        ("kfold", 3, [None, None], 7),
        ("split", None, ["train", "test"], 1),
        ("split", 3, ["train", "test"], 3),
        ("split_or_kfold", 3, ["train", "test"], 3),
        ("split_or_kfold", None, ["train", "test"], 1),
        ("split_or_kfold", 3, ["train", float("nan")], 7),
        ("split_with_inner_kfold", 3, ["train", "test"], 7),
    ],
)
def test_how_many_folds_the_patients_are_spread_over(kind: str, inner: int | None, split: list, planned: int) -> None:
    assert folds_planned(Scheme(kind=kind, folds=7), inner, split) == planned


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_impossible_fractions(fraction: float) -> None:
    fold = Fold(np.arange(4), NONE, NONE)
    with pytest.raises(EvaluationError, match="cannot be drawn"):
        draw(fold, (fraction,), patients=np.arange(4), strata=np.zeros(4, int))
