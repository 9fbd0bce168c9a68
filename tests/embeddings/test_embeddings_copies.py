"""Copies by content, found from the vectors: exactly the groups that hashing every file finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medfm
from medfm.cohorts.checks import run_checks
from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ChecksFailedError
from medfm.embeddings.copies import content_keys
from medfm.embeddings.embeddings import Embeddings


def groups(keys: list[str | None]) -> set[frozenset[int]]:
    found: dict[str, set[int]] = {}
    for position, key in enumerate(keys):
        if key is not None:
            found.setdefault(key, set()).add(position)
    return {frozenset(group) for group in found.values() if len(group) > 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"cell{i}.png")
    return tmp_path


def cohort_of(folder: Path, **columns: list) -> Cohort:
    number = len(columns["path"])
    base = {
        "patient_id": [f"p{i}" for i in range(number)],
        "label": ["ab"[i % 2] for i in range(number)],
        "split": ["train" if i < number // 2 else "test" for i in range(number)],
    }
    return medfm.load_cohort(pd.DataFrame(base | columns), modality="blood_cell", root=folder)


@pytest.mark.parametrize("seed", range(6))
def test_the_groups_are_those_of_the_hashes(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"cell{i}.png" for i in range(12)]
    for i in range(8):
        shutil.copy(folder / str(rng.choice(names[:12])), folder / f"copy{i}.png")
        names.append(f"copy{i}.png")
    order = rng.permutation(len(names))
    cohort = cohort_of(folder, path=[names[i] for i in order])
    emb = medfm.embed("color-histogram", cohort)
    assert groups(content_keys(emb, cohort)) == groups([ref.content_key() for ref in cohort.refs()]) != set()


def test_without_copies_nothing_is_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = cohort_of(folder, path=[f"cell{i}.png" for i in range(12)])
    emb = medfm.embed("color-histogram", cohort)

    def never(path: object) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("medfm.embeddings.copies.sha256_file", never)
    assert content_keys(emb, cohort) == [None] * 12


def test_equal_vectors_of_different_files_are_no_copies(folder: Path) -> None:
    """A colour histogram does not see a mirror; the bytes differ, so the hashes decide."""
    with Image.open(folder / "cell0.png") as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "cell1.png")
    cohort = cohort_of(folder, path=["cell0.png", "cell1.png", "cell2.png", "cell3.png"])
    emb = medfm.embed("color-histogram", cohort)
    assert np.array_equal(emb.values[0], emb.values[1])
    assert groups(content_keys(emb, cohort)) == set()


def test_two_boxes_of_one_smear_are_not_copies_and_equal_boxes_are(folder: Path) -> None:
    boxes = {"xmin": [0, 5, 0, 0], "ymin": [0, 5, 0, 0], "xmax": [20, 25, 20, 20], "ymax": [20, 25, 20, 20]}
    shutil.copy(folder / "cell0.png", folder / "again.png")
    paths = ["cell0.png", "cell0.png", "again.png", "cell1.png"]
    cohort = cohort_of(folder, path=paths, **boxes, split=["train", "train", "train", "test"])
    emb = medfm.embed("color-histogram", cohort)
    assert groups(content_keys(emb, cohort)) == {frozenset({0, 2})}


def test_where_the_files_are_gone_the_vectors_decide(folder: Path) -> None:
    shutil.copy(folder / "cell0.png", folder / "copy.png")
    cohort = cohort_of(folder, path=["cell0.png", "cell1.png", "cell2.png", "copy.png"])
    emb = medfm.embed("color-histogram", cohort)
    for file in folder.glob("c*.png"):
        file.unlink()
    assert groups(content_keys(emb, cohort)) == {frozenset({0, 3})}


def test_records_without_a_vector_have_no_key(folder: Path) -> None:
    cohort = cohort_of(folder, path=["cell0.png", "cell1.png", "cell2.png", "cell3.png"])
    emb = Embeddings(np.ones((2, 3), np.float32), ("cell1.png", "cell3.png"))
    shutil.copy(folder / "cell1.png", folder / "cell3.png")
    keys = content_keys(emb, cohort)
    assert [k is None for k in keys] == [True, False, True, False]
    assert keys[1] == keys[3]


class TestChecks:
    """What the quick checks say with keys is what the deep checks say."""

    @pytest.mark.parametrize(
        ("source", "target", "code", "severity"),
        [
            (0, 11, "L002", "error"),  # train to test, other label
            (0, 10, "L002", "error"),  # train to test, same label
            (0, 1, "L003", "error"),  # both in train, other label
            (0, 2, "L004", "warning"),  # both in train, same label
        ],
    )
    def test_quick_with_keys_equals_deep(
        self, folder: Path, source: int, target: int, code: str, severity: str
    ) -> None:
        shutil.copy(folder / f"cell{source}.png", folder / f"cell{target}.png")
        cohort = cohort_of(folder, path=[f"cell{i}.png" for i in range(12)])
        keys = content_keys(medfm.embed("color-histogram", cohort), cohort)
        quick = {f.code: f for f in run_checks(cohort, "label", deep=False, content_keys=keys)}
        deep = {f.code: f for f in run_checks(cohort, "label", deep=True)}
        assert quick[code].severity == severity
        for one in ("L002", "L003", "L004"):
            assert (quick[one].severity, quick[one].records) == (deep[one].severity, deep[one].records)

    def test_without_keys_the_quick_checks_claim_nothing(self, folder: Path) -> None:
        cohort = cohort_of(folder, path=[f"cell{i}.png" for i in range(12)])
        assert not {"L002", "L003", "L004"} & {f.code for f in run_checks(cohort, "label", deep=False)}


class TestProbe:
    def test_a_copy_in_train_and_test_stops_it(self, folder: Path) -> None:
        shutil.copy(folder / "cell0.png", folder / "cell11.png")
        cohort = cohort_of(folder, path=[f"cell{i}.png" for i in range(12)])
        emb = medfm.embed("color-histogram", cohort)
        with pytest.raises(ChecksFailedError, match="L002"):
            medfm.linear_probe(emb, cohort)
        result = medfm.linear_probe(emb, cohort, allow=["L002"])
        stamped = {f.code for f in result.findings if f.allowed}
        assert stamped == {"L002"}
        assert "L002" in str(result)

    def test_contradicting_labels_within_a_split_are_said_and_no_more(self, folder: Path) -> None:
        shutil.copy(folder / "cell0.png", folder / "cell1.png")
        cohort = cohort_of(folder, path=[f"cell{i}.png" for i in range(12)])
        result = medfm.linear_probe(medfm.embed("color-histogram", cohort), cohort)
        assert {f.code: f.severity for f in result.findings}["L003"] == "warning"

    def test_without_copies_the_report_says_that_it_was_checked(self, folder: Path) -> None:
        cohort = cohort_of(folder, path=[f"cell{i}.png" for i in range(12)])
        result = medfm.linear_probe(medfm.embed("color-histogram", cohort), cohort)
        assert {f.code: f.severity for f in result.findings}["L002"] == "passed"
