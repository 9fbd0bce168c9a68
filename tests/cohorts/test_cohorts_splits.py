from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.splits import group_folds, leave_one_site_out, strata, train_val_test
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


class TestFolds:
    @pytest.mark.parametrize("folds", [2, 5, 10])
    def test_patients_stay_whole_and_classes_are_spread(self, cohort: Cohort, folds: int) -> None:
        fold = group_folds(cohort, folds, generator(0), "label")
        assert set(fold) == set(range(folds))
        assert parts_per_patient(cohort, fold) == 1
        share = pd.crosstab(fold, cohort.table["label"], normalize="index")["a"]
        assert share.max() - share.min() < 0.35

    def test_the_seed_decides(self, cohort: Cohort) -> None:
        one, same, other = (group_folds(cohort, 5, generator(s), "label") for s in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_rows_without_a_label_are_in_no_fold(self, cohort: Cohort) -> None:
        cohort.table.loc[[0, 5], "label"] = None
        fold = group_folds(cohort, 3, generator(0), "label")
        assert np.flatnonzero(fold == -1).tolist() == [0, 5]

    def test_sites_stay_whole(self, cohort: Cohort) -> None:
        fold = group_folds(cohort, 3, generator(0), "label", group="site")
        assert pd.Series(fold).groupby(cohort.table["site"]).nunique().max() == 1
        assert set(fold) == {0, 1, 2}

    def test_without_a_target_and_with_a_quantity(self, cohort: Cohort) -> None:
        assert set(group_folds(cohort, 4, generator(0))) == set(range(4))
        cohort.table["size"] = np.linspace(0, 1, len(cohort))
        fold = group_folds(cohort, 4, generator(0), "size")
        assert parts_per_patient(cohort, fold) == 1

    def test_every_class_smaller_than_the_folds(self, make_cohort: Callable) -> None:
        tiny = make_cohort(files=False, label=list("aabbccdd"))
        fold = group_folds(tiny, 4, generator(0), "label")
        assert np.bincount(fold).tolist() == [2, 2, 2, 2]

    def test_too_few_patients_or_folds(self, make_cohort: Callable) -> None:
        tiny = make_cohort(files=False, label=list("abab"), patient_id=list("ppqq"))
        with pytest.raises(CohortError, match="2 different values of patient_id cannot fill 3 folds"):
            group_folds(tiny, 3, generator(0), "label")
        with pytest.raises(CohortError, match="at least 2"):
            group_folds(tiny, 1, generator(0), "label")

    def test_a_group_must_be_known(self, make_cohort: Callable) -> None:
        with pytest.raises(CohortError, match="2 rows have no site"):
            group_folds(make_cohort(files=False, label=list("ab")), 2, generator(0), group="site")


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


class TestSites:
    def test_each_site_is_left_out_once(self, cohort: Cohort) -> None:
        seen = []
        for site, train, test in leave_one_site_out(cohort):
            seen.append(site)
            assert set(cohort.table["site"].iloc[test]) == {site}
            assert site not in set(cohort.table["site"].iloc[train])
            assert len(train) + len(test) == len(cohort)
        assert seen == ["n", "s", "w"]

    def test_patients_seen_at_both_sites_do_not_train(self, make_cohort: Callable) -> None:
        both = make_cohort(files=False, patient_id=list("ppqr"), site=["n", "s", "s", None])
        parts = {site: (train.tolist(), test.tolist()) for site, train, test in leave_one_site_out(both)}
        assert parts == {"n": ([2], [0]), "s": ([], [1, 2])}

    def test_one_site_is_too_few(self, make_cohort: Callable) -> None:
        with pytest.raises(CohortError, match="two sites"):
            list(leave_one_site_out(make_cohort(files=False, site=["n", "n"])))


def test_strata_of_classes_quantities_and_nothing(make_cohort: Callable) -> None:
    cohort = make_cohort(files=False, label=["b", "a", None], size=[0.1, 5.5, np.nan])
    assert strata(cohort, "label").tolist() == [1, 0, -1]
    assert strata(cohort, None).tolist() == [0, 0, 0]
    sizes = strata(cohort, "size")
    assert sizes[2] == -1
    assert sizes[0] < sizes[1]
