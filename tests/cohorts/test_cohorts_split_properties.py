"""What must hold of every split of every cohort, tried on random ones."""

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.splits import strata, train_val_test
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
@given(cohort=cohorts(), seed=st.integers(0, 1000), val=st.sampled_from([0.0, 0.1, 0.3]))
def test_train_val_test(cohort: Cohort, seed: int, val: float) -> None:
    split = train_val_test(cohort, generator(seed), "label", (0.6, val, 0.4 - val)).table["split"]
    labelled = cohort.table["label"].notna()
    assert (split.notna() == labelled).all()
    assert set(split[labelled]) == ({"train", "val", "test"} if val else {"train", "test"})
    assert split[labelled].groupby(cohort.table["patient_id"][labelled]).nunique().max() == 1


@SETTINGS
@given(cohort=cohorts())
def test_strata_number_the_classes_in_order(cohort: Cohort) -> None:
    codes = strata(cohort, "label")
    names = sorted(set(cohort.table["label"].dropna()))
    assert [names[c] if c >= 0 else None for c in codes] == [v if v else None for v in cohort.table["label"]]
