from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.sampling import few_shot, nested_fractions
from medfm.core.errors import CohortError
from medfm.core.randomness import generator


@pytest.fixture
def cohort(make_cohort: Callable) -> Cohort:
    patients = [f"p{i // 4}" for i in range(400)]
    labels = ["rare" if i // 4 in (7, 60) else "ab"[(i // 4) % 2] for i in range(400)]
    return make_cohort(files=False, patient_id=patients, label=labels)


class TestFewShot:
    @pytest.mark.parametrize("shots", [1, 2, 8])
    def test_exactly_so_many_per_class(self, cohort: Cohort, shots: int) -> None:
        rows = few_shot(cohort, "label", shots, generator(0))
        assert cohort.table["label"].iloc[rows].value_counts().to_dict() == dict.fromkeys(["a", "b", "rare"], shots)
        assert np.array_equal(rows, np.unique(rows))

    def test_from_as_many_patients_as_there_are(self, cohort: Cohort) -> None:
        chosen = cohort.table.iloc[few_shot(cohort, "label", 8, generator(0))]
        patients = chosen.groupby("label")["patient_id"].nunique()
        assert patients.to_dict() == {"a": 8, "b": 8, "rare": 2}

    def test_drawing_freely_repeats_patients(self, cohort: Cohort) -> None:
        draws = [few_shot(cohort, "label", 8, generator(s), per_patient=None) for s in range(10)]
        assert min(cohort.table.iloc[rows].groupby("label")["patient_id"].nunique()["a"] for rows in draws) < 8

    def test_the_seed_decides(self, cohort: Cohort) -> None:
        one, same, other = (few_shot(cohort, "label", 3, generator(s)) for s in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_too_many_or_too_few_shots(self, cohort: Cohort) -> None:
        with pytest.raises(CohortError, match="'rare' has 8 records, fewer than 9"):
            few_shot(cohort, "label", 9, generator(0))
        with pytest.raises(CohortError, match="too few"):
            few_shot(cohort, "label", 0, generator(0))

    def test_rows_without_a_label_are_never_drawn(self, cohort: Cohort) -> None:
        cohort.table.loc[:200, "label"] = None
        assert few_shot(cohort, "label", 3, generator(0)).min() > 200


class TestFractions:
    def test_each_is_inside_the_larger_and_patients_stay_whole(self, cohort: Cohort) -> None:
        parts = nested_fractions(cohort, (0.01, 0.1, 0.5, 1.0), generator(0), "label")
        for small, large in ((0.01, 0.1), (0.1, 0.5), (0.5, 1.0)):
            assert set(parts[small]) < set(parts[large])
        for rows in parts.values():
            sizes = cohort.table.iloc[rows].groupby("patient_id").size()
            assert set(sizes) == {4}
        assert len(parts[1.0]) == 400

    def test_every_class_is_kept_in_one_percent(self, cohort: Cohort) -> None:
        for seed in range(5):
            rows = nested_fractions(cohort, (0.01,), generator(seed), "label")[0.01]
            assert set(cohort.table["label"].iloc[rows]) == {"a", "b", "rare"}

    def test_shares_are_of_the_patients_of_each_class(self, cohort: Cohort) -> None:
        rows = nested_fractions(cohort, (0.5,), generator(0), "label")[0.5]
        patients = cohort.table.iloc[rows].groupby("label")["patient_id"].nunique()
        assert patients.to_dict() == {"a": 24, "b": 24, "rare": 1}

    def test_a_class_that_is_nobodys_main_class_is_kept(self, make_cohort: Callable) -> None:
        labels = ["a", "a", "z"] * 20
        cohort = make_cohort(files=False, patient_id=[f"p{i // 3}" for i in range(60)], label=labels)
        for rows in nested_fractions(cohort, (0.01, 0.3), generator(0), "label").values():
            assert set(cohort.table["label"].iloc[rows]) == {"a", "z"}

    def test_nesting_holds_for_mixed_patients_and_many_seeds(self, make_cohort: Callable) -> None:
        rng = np.random.default_rng(0)
        labels = [str(v) for v in rng.choice(list("abcdef"), 300, p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.02])]
        cohort = make_cohort(files=False, patient_id=[f"p{v}" for v in rng.integers(0, 80, 300)], label=labels)
        for seed in range(20):
            parts = nested_fractions(cohort, (0.01, 0.05, 0.1, 0.3, 1.0), generator(seed), "label")
            rows = [set(parts[f]) for f in sorted(parts)]
            assert all(a <= b for a, b in pairwise(rows))
            assert all(cohort.table["label"].iloc[sorted(r)].nunique() == len(set(labels)) for r in rows)

    @pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01])
    def test_wrong_fractions(self, cohort: Cohort, fraction: float) -> None:
        with pytest.raises(CohortError, match="not a fraction"):
            nested_fractions(cohort, (fraction,), generator(0), "label")
