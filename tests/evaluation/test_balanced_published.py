"""``bpd-folds@1`` against the published scheme, written out again with pandas and numpy's legacy generator."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from medfm.core.config import build
from medfm.core.errors import ConfigError
from medfm.evaluation.balanced_folds import balanced_folds, training_seed
from medfm.evaluation.evaluate import make_folds
from medfm.evaluation.nested import Fitted, Job, OuterFold, plan_folds, run_fold
from medfm.evaluation.path_order import path_order
from medfm.evaluation.protocol import Protocol, Scheme, load_protocol
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.target import Target

PLAN = load_protocol("bpd-folds@1")
Published = list[tuple[int, int, set[str], set[str]]]


def folder(positive: int, negative: int, seed: int = 0) -> pd.DataFrame:
    """A table of pictures ``ID_N.png``, one to three of a patient, in no order; ids as text sort otherwise than files do."""
    source = np.random.default_rng(seed)
    ids = [str(i) for i in source.permutation(np.arange(1, positive + negative + 1))]
    rows = [(name, f"img/{name}_{n}.png", int(k < positive)) for k, name in enumerate(ids) for n in range(1 + k % 3)]
    table = pd.DataFrame(rows, columns=["patient_id", "path", "label"]).sample(frac=1, random_state=seed)
    return table.assign(record_id=[f"r{i}" for i in range(len(table))]).reset_index(drop=True)


def published(table: pd.DataFrame, first_seed: int = 100) -> Published:
    """(run, fold, pictures that train, pictures that are tested), with the files listed in sorted order."""
    listed = table.sort_values("path")
    pos = listed.loc[listed.label == 1, "patient_id"].unique()
    neg = listed.loc[listed.label == 0, "patient_id"].unique()
    found = []
    for run in range(1, 7):
        rng = np.random.RandomState(first_seed + run)
        ones, zeros = rng.permutation(pos), rng.permutation(neg)
        start = 0
        for fold, part in enumerate(np.array_split(ones, 5)):
            people = [*part, *zeros[start : start + len(part)]]
            start += len(part)
            inside = listed.patient_id.isin(people)
            tested = listed[inside].drop_duplicates("patient_id")
            found.append((run, fold, set(listed.path[~inside]), set(tested.path)))
    return found


def truth_of(table: pd.DataFrame) -> Target:
    return Target("bpd", "binary", ("no", "yes"), table["label"].to_numpy())


def ours(table: pd.DataFrame, plan: Protocol = PLAN) -> tuple[list[OuterFold], list[str]]:
    assert isinstance(plan.method, NestedFineTune)
    patients = table["patient_id"].to_numpy(dtype=object)
    return plan_folds(truth_of(table), patients, plan.scheme, plan.method, None, path_order(table))


def named(table: pd.DataFrame, folds: list[OuterFold]) -> Published:
    path = table["path"].to_numpy()
    return [(f.repeat + 1, f.fold, set(path[f.train]), set(path[f.test])) for f in folds]


@pytest.mark.parametrize(("positive", "negative"), [(5, 5), (6, 9), (7, 30), (12, 12), (23, 41), (60, 103)])
def test_the_thirty_trainings_are_those_of_the_published_scheme(positive: int, negative: int) -> None:
    table = folder(positive, negative, seed=positive)
    folds, _ = ours(table)
    assert named(table, folds) == published(table)


def test_files_and_not_ids_give_the_order() -> None:
    """``10_0.png`` sorts before ``1_0.png``, but the id 1 before 10."""
    table = folder(8, 12)
    listed = list(dict.fromkeys(table.sort_values("path")["patient_id"]))
    assert listed != sorted(listed)
    by_id = table.assign(path=table["patient_id"].str.zfill(3) + table["path"])
    assert named(table, ours(table)[0]) == published(table)
    people = [set(table["patient_id"].to_numpy()[f.test]) for f in ours(table)[0]]
    assert people != [set(table["patient_id"].to_numpy()[f.test]) for f in ours(by_id)[0]]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_the_table_does_not_matter(seed: int) -> None:
    table = folder(9, 14)
    other = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    assert named(table, ours(table)[0]) == named(other, ours(other)[0])


def test_every_picture_trains_and_one_of_each_patient_is_tested() -> None:
    table = folder(10, 16)
    folds, notes = ours(table)
    patients = table["patient_id"].to_numpy()
    for fold in folds:
        assert len(set(patients[fold.test])) == len(fold.test)
        inside = np.isin(patients, patients[fold.test])
        assert sorted(fold.train) == np.flatnonzero(~inside).tolist()
    never = set(table.index) - {row for fold in folds for row in fold.test}
    (note,) = [n for n in notes if "first record in the sorted order" in n]
    tested = np.isin(patients, np.concatenate([patients[f.test] for f in folds]))
    assert f": {sum(tested[row] for row in never)} other records" in note


def test_negatives_left_over_train_in_every_fold_of_a_run() -> None:
    table = folder(6, 20)
    for run in range(6):
        own = [f for f in ours(table)[0] if f.repeat == run]
        tested = {p for f in own for p in table["patient_id"].to_numpy()[f.test]}
        left = set(table["patient_id"]) - tested
        assert len(left) == 14 and set(table.loc[table.label == 1, "patient_id"]) <= tested
        for fold in own:
            assert left <= set(table["patient_id"].to_numpy()[fold.train])


def test_all_records_are_tested_where_the_method_says_so() -> None:
    table = folder(7, 9)
    plan = load_protocol("bpd-folds@1", overrides=("method.tested=all",))
    for all_of_them, first in zip(ours(table, plan)[0], ours(table)[0], strict=True):
        assert np.array_equal(all_of_them.train, first.train) and set(first.test) <= set(all_of_them.test)
        assert sorted([*all_of_them.train, *all_of_them.test]) == list(range(len(table)))


def test_first_of_k_folds_too_and_no_note_where_nothing_is_left_out() -> None:
    table = folder(10, 10).drop_duplicates("patient_id").reset_index(drop=True)
    assert not any("first record" in note for note in ours(table)[1])
    plan = load_protocol("bpd-folds@1", overrides=("scheme.kind=kfold", "scheme.draw=generator", "scheme.repeats=1"))
    more = folder(10, 10)
    tested = np.concatenate([f.test for f in ours(more, plan)[0]])
    assert set(more["path"][tested]) == set(more.sort_values("path").drop_duplicates("patient_id")["path"])


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_a_seed_is_added_to_the_published_one(seed: int) -> None:
    table = folder(8, 11)
    plan = load_protocol("bpd-folds@1", overrides=(f"scheme.seed={seed}",))
    assert named(table, ours(table, plan)[0]) == published(table, 100 + seed)


def test_trainings_have_the_published_seeds_ten_in_all() -> None:
    table = folder(10, 12)
    patients, truth = table["patient_id"].to_numpy(dtype=object), truth_of(table)
    jobs: list[Job] = []

    def fit(job: Job) -> Fitted:
        jobs.append(job)
        return Fitted(np.zeros((0, 2)), np.full((len(job.test), 2), 0.5), {"epoch": 1})

    assert isinstance(PLAN.method, NestedFineTune)
    outcomes = [run_fold(outer, truth, patients, PLAN.method, fit) for outer in ours(table)[0]]
    assert [job.seed for job in jobs] == [1000 + run + fold for run in range(1, 7) for fold in range(5)]
    assert [o.chosen["seed"] for o in outcomes] == [job.seed for job in jobs]
    counts = Counter(job.seed for job in jobs)
    assert sorted(counts.items()) == list(zip(range(1001, 1011), (1, 2, 3, 4, 5, 5, 4, 3, 2, 1), strict=True))
    jobs.clear()
    own = PLAN.method.model_copy(update={"training_seed": "recipe"})
    assert "seed" not in run_fold(ours(table)[0][0], truth, patients, own, fit).chosen and jobs[0].seed is None
    assert training_seed(6, 4) == 1010


def test_elsewhere_the_draw_is_by_the_generator_of_the_seed_over_sorted_ids() -> None:
    table = folder(8, 13)
    patients = table["patient_id"].to_numpy(dtype=object)

    def people(**changes: int) -> list[frozenset[str]]:
        scheme = Scheme(kind="balanced_kfold", repeats=2).model_copy(update=changes)
        folds, _ = make_folds(scheme, split=patients, patients=patients, strata=table["label"].to_numpy())
        return [frozenset(patients[f.test]) for f in folds]

    assert people() == people() and people() != people(seed=1)
    assert people()[:5] != people()[5:]
    names = np.array(sorted(set(patients)))
    sick = np.array([table.loc[table.patient_id == n, "label"].max() == 1 for n in names])
    for run in (1, 2):
        rng = np.random.default_rng([0, run])
        ones, zeros = rng.permutation(np.flatnonzero(sick)), rng.permutation(np.flatnonzero(~sick))
        parts = np.array_split(np.arange(8), 5)
        expected = [frozenset(names[[*ones[p], *zeros[p]]]) for p in parts]
        assert people()[5 * (run - 1) : 5 * run] == expected


def test_draws_have_the_same_sizes_and_differ() -> None:
    truth = np.arange(40) < 13
    one, two = (list(balanced_folds(truth, draw=draw)) for draw in ("published", "generator"))  # type: ignore[arg-type]
    assert [len(f.test) for f in one] == [len(f.test) for f in two] and [f.seed for f in one] == [f.seed for f in two]
    assert [f.test.tolist() for f in one] != [f.test.tolist() for f in two]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "kfold", "draw": "published"}, "balanced_kfold alone"),
        ({"draw": "published"}, "balanced_kfold alone"),
        ({"kind": "balanced_kfold", "seed": -1}, "seed of balanced folds"),
        ({"kind": "balanced_kfold", "draw": "published", "seed": 2**31}, "seed of balanced folds"),
        ({"kind": "balanced_kfold", "draw": "numpy"}, "draw"),
    ],
)
def test_draws_that_cannot_be_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(Scheme, values, where="a test")


def test_a_soup_of_unlike_starts_and_unknown_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="start alike"):
        build(NestedFineTune, {"soup": "uniform", "training_seed": "published"}, where="a test")
    for key in ("tested", "training_seed"):
        with pytest.raises(ConfigError, match=key):
            build(NestedFineTune, {key: "some"}, where="a test")


def test_the_protocol_names_the_figures_of_the_paper() -> None:
    assert PLAN.metrics == ("auroc", "f1", "ppv", "sensitivity", "specificity", "balanced_accuracy")
    assert (PLAN.paper_average, PLAN.paper_std, PLAN.paper_undefined) == ("fold_mean_std", "sample", "zero")
    assert (PLAN.scheme.folds, PLAN.scheme.repeats, PLAN.scheme.seed) == (5, 6, 0)
