"""What must hold of every split of every cohort, tried on random ones."""

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.sampling import few_shot, nested_fractions
from medfm.cohorts.splits import group_folds, leave_one_site_out, strata, train_val_test
from medfm.core.randomness import generator


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """6 to 60 records of 6 to 30 patients, 2 to 4 classes, some labels missing."""
    number = draw(st.integers(6, 60))
    patients = draw(st.integers(6, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    label = rng.choice(list("abcd")[: draw(st.integers(2, 4))], number).astype(object)
    label[rng.random(number) < draw(st.sampled_from([0.0, 0.1]))] = None
    label[:2] = ["a", "b"]
    # The first six rows are six patients, so that every split can be filled.
    owner = np.concatenate([np.arange(6), rng.integers(0, patients, number)])[:number]
    label[:6] = [v or "a" for v in label[:6]]
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(number)],
            "path": [f"{i}.png" for i in range(number)],
            "patient_id": [f"p{v}" for v in owner],
            "site": [f"s{v % 3}" for v in owner],
            "split": pd.Series([None] * number, dtype=object),
            "label": label,
        }
    )
    return Cohort(table, "blood_cell", Path("/nowhere"))


SETTINGS = settings(max_examples=40, deadline=None)


@SETTINGS
@given(cohort=cohorts(), folds=st.integers(2, 5), seed=st.integers(0, 1000))
def test_folds(cohort: Cohort, folds: int, seed: int) -> None:
    fold = group_folds(cohort, folds, generator(seed), "label")
    labelled = cohort.table["label"].notna().to_numpy()
    assert ((fold >= 0) == labelled).all()
    assert set(fold[labelled]) == set(range(folds)), "no fold is empty"
    assert pd.Series(fold[labelled]).groupby(cohort.table["patient_id"][labelled].to_numpy()).nunique().max() == 1
    assert np.array_equal(fold, group_folds(cohort, folds, generator(seed), "label"))


@SETTINGS
@given(cohort=cohorts(), seed=st.integers(0, 1000), val=st.sampled_from([0.0, 0.1, 0.3]))
def test_train_val_test(cohort: Cohort, seed: int, val: float) -> None:
    split = train_val_test(cohort, generator(seed), "label", (0.6, val, 0.4 - val)).table["split"]
    labelled = cohort.table["label"].notna()
    assert (split.notna() == labelled).all()
    assert set(split[labelled]) == ({"train", "val", "test"} if val else {"train", "test"})
    assert split[labelled].groupby(cohort.table["patient_id"][labelled]).nunique().max() == 1


@SETTINGS
@given(cohort=cohorts(), seed=st.integers(0, 1000))
def test_fractions(cohort: Cohort, seed: int) -> None:
    parts = nested_fractions(cohort, (0.01, 0.1, 0.5, 1.0), generator(seed), "label")
    previous: set[int] = set()
    classes = set(cohort.table["label"].dropna())
    for fraction in sorted(parts):
        rows = set(parts[fraction].tolist())
        assert previous <= rows
        assert set(cohort.table["label"].iloc[sorted(rows)]) == classes
        chosen = set(cohort.table["patient_id"].iloc[sorted(rows)])
        whole = cohort.table["patient_id"].isin(chosen) & cohort.table["label"].notna()
        assert set(np.flatnonzero(whole)) == rows, "patients are taken whole"
        previous = rows
    assert len(previous) == cohort.table["label"].notna().sum()


@SETTINGS
@given(cohort=cohorts(), seed=st.integers(0, 1000))
def test_few_shot(cohort: Cohort, seed: int) -> None:
    shots = int(cohort.table["label"].value_counts().min())
    rows = few_shot(cohort, "label", shots, generator(seed))
    chosen = cohort.table.iloc[rows]
    assert set(chosen["label"].value_counts()) == {shots}
    for name, group in chosen.groupby("label"):
        available = cohort.table[cohort.table["label"] == name]["patient_id"].nunique()
        assert group["patient_id"].nunique() == min(shots, available)


@SETTINGS
@given(cohort=cohorts())
def test_sites(cohort: Cohort) -> None:
    tested = []
    for _, train, test in leave_one_site_out(cohort):
        tested += test.tolist()
        patients = cohort.table["patient_id"]
        assert not set(patients.iloc[train]) & set(patients.iloc[test])
        assert not set(train) & set(test)
    assert sorted(tested) == list(range(len(cohort)))


@SETTINGS
@given(cohort=cohorts())
def test_strata_number_the_classes_in_order(cohort: Cohort) -> None:
    codes = strata(cohort, "label")
    names = sorted(set(cohort.table["label"].dropna()))
    assert [names[c] if c >= 0 else None for c in codes] == [v if v else None for v in cohort.table["label"]]
