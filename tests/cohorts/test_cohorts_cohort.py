from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cohort_pictures import paint

from medfm.cohorts.cohort import REQUIRED_COLUMNS, Cohort
from medfm.core.errors import CohortError, ReadError


@pytest.fixture
def cohort(make_cohort: Callable) -> Cohort:
    return make_cohort(label=list("abcab"), split=["train", "train", "val", "test", None])


def test_it_has_the_required_columns_and_ids_in_order(cohort: Cohort) -> None:
    assert set(REQUIRED_COLUMNS) <= set(cohort.table.columns)
    assert cohort.record_ids == [f"r{i:04d}" for i in range(5)]
    assert len(cohort) == 5


def test_references_are_absolute_and_in_order(cohort: Cohort) -> None:
    refs = list(cohort.refs())
    assert [ref.record_id for ref in refs] == cohort.record_ids
    assert all(ref.path.is_absolute() and ref.path.is_file() for ref in refs)
    assert all(ref.options == {} for ref in refs)


def test_references_carry_only_the_options_of_their_row(make_cohort: Callable) -> None:
    nan = float("nan")
    boxes = {"xmin": [1, nan], "ymin": [2, nan], "xmax": [11, nan], "ymax": [12, nan], "context_px": [3, 3]}
    one, two = make_cohort(label=[0, 1], **boxes).refs()
    assert one.options == {"box": [1, 2, 11, 12], "context_px": 3}
    assert two.options == {}


def test_reading_by_row(cohort: Cohort) -> None:
    for i in (0, 4):
        record = cohort.read(i)
        assert record.record_id == f"r{i:04d}"
        assert np.array_equal(record.array, paint(i))
    with pytest.raises(CohortError, match="no row 5"):
        cohort.read(5)


def test_reading_a_missing_file_names_the_record_not_the_machine(cohort: Cohort, tmp_path: Path) -> None:
    (cohort.root / "img/0002.png").unlink()
    with pytest.raises(ReadError, match="does not exist") as caught:
        cohort.read(2)
    assert caught.value.where == "r0002"
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(1, 3), [1, 2]),
        ([4, 0], [4, 0]),
        (np.array([True, False, False, True, False]), [0, 3]),
        (np.array([], dtype=int), []),
    ],
)
def test_subsets_keep_the_order_asked_for(cohort: Cohort, rows: object, expected: list[int]) -> None:
    part = cohort.subset(rows)  # type: ignore[arg-type]
    assert part.record_ids == [f"r{i:04d}" for i in expected]
    assert list(part.table.index) == list(range(len(expected)))
    assert part.root == cohort.root
    assert len(cohort) == 5


def test_conditions_and_splits(cohort: Cohort) -> None:
    assert cohort.where(lambda t: t["label"] == "a").record_ids == ["r0000", "r0003"]
    assert {s: len(cohort.of_split(s)) for s in ("train", "val", "test")} == {"train": 2, "val": 1, "test": 1}


def test_columns_by_name(cohort: Cohort) -> None:
    assert cohort.column("label").tolist() == list("abcab")
    with pytest.raises(CohortError, match="did you mean 'label'"):
        cohort.column("lable")


def test_the_digest_changes_with_any_cell(cohort: Cohort, make_cohort: Callable) -> None:
    same = make_cohort(label=list("abcab"), split=["train", "train", "val", "test", None])
    assert same.digest() == cohort.digest()
    seen = {cohort.digest()}
    for column, value in (("label", "z"), ("split", "train"), ("path", "x.png"), ("record_id", "q"), ("site", "s")):
        other = same.subset(slice(None))
        other.table.loc[4, column] = value
        seen.add(other.digest())
    assert len(seen) == 6
