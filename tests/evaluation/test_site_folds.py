"""Folds and sites: strata by class and site, and every site tested by patients of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import EvaluationError
from medfm.evaluation.protocol import Scheme
from medfm.evaluation.schemes import make_folds
from medfm.evaluation.site_folds import site_folds, site_names, site_strata

NO_SPLIT = np.full(1, "", dtype=object)


def objects(*values: Any) -> np.ndarray:
    return np.array(values, dtype=object)


def cut(scheme: Scheme, patients: np.ndarray, strata: np.ndarray, sites: np.ndarray | None) -> list[Any]:
    split = np.full(len(patients), "", dtype=object)
    return make_folds(scheme, split=split, patients=patients, strata=strata, sites=sites)[0]


def population(each: int = 10, sites: str = "abc", classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`each` patients of every class at every site: patients, classes, sites."""
    rows = [(c, s) for s in sites for c in range(classes) for _ in range(each)]
    patients = objects(*[f"P{i}" for i in range(len(rows))])
    return patients, np.array([c for c, _ in rows]), objects(*[s for _, s in rows])


def test_every_fold_holds_the_same_share_of_class_and_site() -> None:
    patients, strata, sites = population()
    for fold in cut(Scheme(kind="kfold", folds=5, balance_sites=True), patients, strata, sites):
        for site in "abc":
            for c in (0, 1):
                assert ((sites[fold.test] == site) & (strata[fold.test] == c)).sum() == 2


def test_patients_with_many_records_stay_whole_and_sites_nearly_even() -> None:
    patients, strata, sites = (np.repeat(v, 3) for v in population(each=12, sites="ab"))
    folds = cut(Scheme(kind="kfold", folds=4, balance_sites=True), patients, strata, sites)
    for fold in folds:
        assert not set(patients[fold.train]) & set(patients[fold.test])
        counts = [((sites[fold.test] == s) & (strata[fold.test] == c)).sum() for s in "ab" for c in (0, 1)]
        assert max(counts) - min(counts) <= 3  # one patient


def test_without_the_setting_sites_are_not_looked_at() -> None:
    patients, strata, sites = population()
    plain = cut(Scheme(kind="kfold", folds=5), patients, strata, sites)
    alone = cut(Scheme(kind="kfold", folds=5), patients, strata, None)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(plain, alone, strict=True))


@pytest.mark.parametrize("sites", [None, objects(*["a"] * 20), objects(*[None] * 20)], ids=["none", "one", "missing"])
def test_fewer_than_two_sites_change_nothing(sites: np.ndarray | None) -> None:
    strata = np.arange(20) % 2
    assert site_strata(strata, sites, np.arange(20).astype(object), 5) is strata


def test_cells_with_few_patients_are_taken_together_within_their_class() -> None:
    sites = objects(*["big"] * 12, *["tiny"] * 2, *["small"] * 2)
    strata = np.array([0, 1] * 8)
    found = site_strata(strata, sites, np.arange(16).astype(object), 3)
    big = sites == "big"
    for c in (0, 1):
        assert len(set(found[big & (strata == c)])) == 1 and len(set(found[~big & (strata == c)])) == 1
    assert len(set(found)) == 4


def test_size_is_counted_in_patients_not_records() -> None:
    sites = objects(*["a"] * 10, *["b"] * 10)
    strata = np.zeros(20, dtype=np.int64)
    owners = objects(*[f"P{i}" for i in range(10)], *["Q"] * 10)  # one patient has all records of the second site
    assert len(set(site_strata(strata, sites, owners, 2))) == 2
    assert len(set(site_strata(strata, sites, owners, 1))) == 2
    mixed = objects(*["a"] * 5, *["c"] * 5, *["b"] * 10)
    assert len(set(site_strata(strata, mixed, owners, 6))) == 1  # every cell is smaller than six patients


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcd"), st.integers(0, 15)), min_size=4, max_size=60))
def test_strata_never_join_two_classes(rows: list[tuple[int, str, int]]) -> None:
    strata = np.array([c for c, _, _ in rows])
    found = site_strata(strata, objects(*[s for _, s, _ in rows]), objects(*[f"P{p}" for _, _, p in rows]), 3)
    for code in set(found.tolist()):
        assert len(set(strata[found == code].tolist())) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=6, max_size=50))
def test_every_record_is_tested_once_and_no_patient_is_on_both_sides(rows: list[tuple[str, int]]) -> None:
    rows = [*rows, ("a", 100), ("b", 101)]
    sites, patients = objects(*[s for s, _ in rows]), objects(*[f"P{p}" for _, p in rows])
    folds, _ = site_folds(sites, patients)
    assert sorted(np.concatenate([test for _, _, test in folds])) == list(range(len(rows)))
    for name, train, test in folds:
        assert set(sites[test]) == {name} and name not in sites[train]
        assert not set(patients[train]) & set(patients[test])


def test_a_patient_at_two_sites_does_not_train_where_one_is_tested() -> None:
    sites = objects("north", "north", "south", "south", "east")
    patients = objects("P1", "P2", "P2", "P3", "P4")
    folds, notes = site_folds(sites, patients)
    assert [(name, train.tolist(), test.tolist()) for name, train, test in folds] == [
        ("east", [0, 1, 2, 3], [4]),
        ("north", [3, 4], [0, 1]),
        ("south", [0, 4], [2, 3]),
    ]
    (note,) = notes
    assert "1 patients have records at two or more sites (P2)" in note


def test_scheme_leaves_one_site_out() -> None:
    patients, strata, sites = population(each=2)
    folds = cut(Scheme(kind="leave_one_site_out"), patients, strata, sites)
    assert [set(sites[f.test]) for f in folds] == [{"a"}, {"b"}, {"c"}] and [f.fold for f in folds] == [0, 1, 2]
    assert all(len(f.validation) == 0 and len(f.train) == 8 for f in folds)


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (None, "needs two sites; the records name 0"),
        (objects("a", "a", "a"), "needs two sites; the records name 1"),
        (objects("a", None, "b"), "1 of 3 records have no site"),
        (objects("a", float("nan"), float("nan")), "2 of 3 records have no site"),
    ],
    ids=["no column", "one site", "one missing", "two missing"],
)
def test_impossible_sites_are_said(sites: np.ndarray | None, said: str) -> None:
    with pytest.raises(EvaluationError, match=said) as found:
        site_folds(sites, objects("P1", "P2", "P3"))
    assert found.value.where == "column 'site'" and found.value.fix


def test_a_site_with_all_patients_is_refused() -> None:
    with pytest.raises(EvaluationError, match="Every patient has a record at the site 'a'"):
        site_folds(objects("a", "a", "b"), objects("P1", "P2", "P2"))


def test_names_of_sites() -> None:
    assert site_names(objects("x", None, float("nan"), 3), 4).tolist() == ["x", "", "", "3"]
    assert site_names(None, 2).tolist() == ["", ""]
