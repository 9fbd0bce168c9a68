from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.splits import strata, train_val_test
from medfm.core.errors import CohortError
from medfm.core.randomness import generator


@pytest.fixture
def cohort(make_cohort: Callable) -> Cohort:
    """60 patients with 1 to 6 records; class c is rare; each patient has one main class."""
    rng = np.random.default_rng(2)
    patients, labels, sites = [], [], []
    for p in range(60):
        main = "abc"[0 if p % 10 < 6 else 1 if p % 10 < 9 else 2]
        for _ in range(int(rng.integers(1, 7))):
            patients.append(f"p{p:02d}")
            labels.append(main if rng.random() < 0.8 else str(rng.choice(list("ab"))))
            sites.append("nsw"[p % 3])
    return make_cohort(files=False, patient_id=patients, label=labels, site=sites)


def parts_per_patient(cohort: Cohort, parts: object) -> int:
    return int(pd.Series(parts).groupby(cohort.table["patient_id"]).nunique().max())


class TestTrainValTest:
    def test_patients_stay_whole_and_shares_are_kept(self, cohort: Cohort) -> None:
        result = train_val_test(cohort, generator(0), "label")
        assert parts_per_patient(result, result.table["split"]) == 1
        shares = result.table["split"].value_counts(normalize=True)
        for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            assert abs(shares[name] - share) < 0.05
        assert (pd.crosstab(result.table["split"], result.table["label"]) > 0).all().all()

    def test_the_given_cohort_is_left_alone(self, cohort: Cohort) -> None:
        train_val_test(cohort, generator(0), "label")
        assert cohort.table["split"].isna().all()

    def test_no_validation_part(self, cohort: Cohort) -> None:
        assert set(train_val_test(cohort, generator(0), "label", (0.7, 0.0, 0.3)).table["split"]) == {"train", "test"}

    def test_three_patients_fill_three_parts(self, make_cohort: Callable) -> None:
        few = make_cohort(files=False, label=list("aaab"), patient_id=list("pppq"))
        with pytest.raises(CohortError, match="cannot fill 3 splits"):
            train_val_test(few, generator(0), "label")
        three = make_cohort(files=False, label=list("aaab"), patient_id=list("ppqr"))
        assert set(train_val_test(three, generator(0), "label").table["split"]) == {"train", "val", "test"}

    def test_rows_without_a_label_get_no_split(self, cohort: Cohort) -> None:
        cohort.table.loc[3, "label"] = None
        split = train_val_test(cohort, generator(0), "label").table["split"]
        assert split.isna().tolist().count(True) == 1
        assert split[3] is None

    @pytest.mark.parametrize(
        "shares", [(0.5, 0.5), (0.5, 0.2, 0.2), (1.0, 0.0, 0.0), (0.0, 0.5, 0.5), (1.2, -0.4, 0.2)]
    )
    def test_wrong_fractions(self, cohort: Cohort, shares: tuple) -> None:
        with pytest.raises(CohortError, match="fractions"):
            train_val_test(cohort, generator(0), "label", shares)


def test_strata_of_classes_quantities_and_nothing(make_cohort: Callable) -> None:
    cohort = make_cohort(files=False, label=["b", "a", None], size=[0.1, 5.5, np.nan])
    assert strata(cohort, "label").tolist() == [1, 0, -1]
    assert strata(cohort, None).tolist() == [0, 0, 0]
    sizes = strata(cohort, "size")
    assert sizes[2] == -1
    assert sizes[0] < sizes[1]
