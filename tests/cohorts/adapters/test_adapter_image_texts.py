"""ARCH and the held-out part of Quilt-1M: pictures with captions, in the layout of their releases."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from cohort_pictures import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.base import Prepared
from medfm.cohorts.adapters.image_texts import one_line
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError

ANY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Entries = dict[str, Any]
BOOKS: Entries = {
    "0": {"figure_id": "00", "letter": "A", "caption": "Two  glands.\n", "uuid": "b-0"},
    "1": {"figure_id": "00", "letter": "B", "caption": "Two glands.", "uuid": "b-1"},
    "2": {"figure_id": "01", "letter": "Single", "caption": "A nerve.", "uuid": "b-2"},
    "3": {"figure_id": "02", "letter": "Single", "caption": "Lost picture.", "uuid": "b-3"},
}
PUBMED: Entries = {
    "0": {"caption": "Same words.", "uuid": "p-0"},
    "1": {"caption": "Same words.", "uuid": "p-1"},
    "2": {"caption": "Other words, with a comma.", "uuid": "p-2"},
}


def arch(root: Path, books: Entries | None = BOOKS, pubmed: Entries | None = PUBMED) -> Path:
    for folder, entries, ending in (("books_set", books, ".png"), ("pubmed_set", pubmed, ".jpg")):
        if entries is None:
            continue
        (root / folder / "images").mkdir(parents=True)
        (root / folder / "captions.json").write_text(json.dumps(entries))
        for i, entry in enumerate(entries.values()):
            if entry["uuid"] != "b-3":
                save(root / folder / "images" / f"{entry['uuid']}{ending}", i)
    return root


def made(name: str, source: Path, out: Path) -> tuple[pd.DataFrame, Prepared]:
    prepared = prepare(name, source, out, allow_partial=True)
    cohort = load_cohort(prepared.table, check=False)
    assert cohort.modality == "histopathology"
    list(cohort.refs())
    return cohort.table, prepared


def notes_of(prepared: Prepared) -> str:
    return " ".join(yaml.safe_load(prepared.info.read_text())["notes"])


def test_arch_gives_pictures_their_captions(tmp_path: Path) -> None:
    table, prepared = made("arch", arch(tmp_path / "in"), tmp_path / "out")
    assert len(table) == 6 and prepared.counts == {"books": 3, "pubmed": 3}
    rows = table.set_index("record_id")
    assert rows.loc["b-0", "text"] == rows.loc["b-1", "text"] == "Two glands."
    assert rows.loc["p-2", "text"] == "Other words, with a comma."
    assert rows.loc["b-0", "path"] == "books_set/images/b-0.png"
    assert rows.loc["p-0", "path"] == "pubmed_set/images/p-0.jpg"
    assert rows.loc["b-0", "letter"] == "A" and pd.isna(rows.loc["p-0", "letter"])
    assert "captions of books without a picture or without words, left out: 1" in notes_of(prepared)


def test_archs_figures_stand_in_for_patients(tmp_path: Path) -> None:
    table, _ = made("arch", arch(tmp_path / "in"), tmp_path / "out")
    owner = dict(zip(table["record_id"], table["patient_id"], strict=True))
    assert owner["b-0"] == owner["b-1"] != owner["b-2"]
    assert owner["p-0"] == owner["p-1"] != owner["p-2"]
    assert len(set(owner.values())) == 4


def test_archs_table_has_no_target_and_no_label(tmp_path: Path) -> None:
    table, prepared = made("arch", arch(tmp_path / "in"), tmp_path / "out")
    info = yaml.safe_load(prepared.info.read_text())
    assert "target" not in info and "label" not in table.columns and "split" in table.columns
    assert table["split"].isna().all()
    assert info["counts"] == {"total": 6, "books": 3, "pubmed": 3}


def test_archs_counts_are_enforced_and_one_part_is_partial(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="books: expected 4,270, found 3") as caught:
        prepare("arch", arch(tmp_path / "in"), tmp_path / "out")
    assert "total: expected 7,579, found 6" in str(caught.value)
    table, prepared = made("arch", arch(tmp_path / "one", books=None), tmp_path / "b")
    assert set(table["part"]) == {"pubmed"} and not prepared.complete
    assert "books: expected 4,270, found 0" in prepared.differences


def test_arch_may_lie_below_the_folder_named(tmp_path: Path) -> None:
    arch(tmp_path / "in" / "ARCH")
    table, _ = made("arch", tmp_path / "in", tmp_path / "out")
    assert table["path"].str.startswith("ARCH/").all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no table of entries"),
        ("{}", "no table of entries"),
        ('{"0": {"caption": "words"}}', "no uuid or no caption"),
        ('{"0": {"uuid": "b-0"}}', "no uuid or no caption"),
        ('{"0": {"uuid": 3, "caption": "x"}}', "no uuid or no caption"),
        ('{"0": "words"}', "no uuid or no caption"),
        ("\x00\x01", "cannot be read"),
    ],
)
def test_damaged_captions_are_refused(tmp_path: Path, content: str, message: str) -> None:
    source = arch(tmp_path / "in")
    (source / "books_set" / "captions.json").write_text(content)
    with pytest.raises(CohortError, match=message) as caught:
        prepare("arch", source, tmp_path / "out", allow_partial=True)
    assert "books_set/captions.json" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_captions_without_words_are_left_out(tmp_path: Path) -> None:
    entries = {"0": {"caption": None, "uuid": "p-0"}, "1": {"caption": "  ", "uuid": "p-1"}, "2": PUBMED["2"]}
    table, prepared = made("arch", arch(tmp_path / "in", None, entries), tmp_path / "out")
    assert table["record_id"].tolist() == ["p-2"]
    assert "captions of pubmed without a picture or without words, left out: 2" in notes_of(prepared)


def test_a_folder_that_is_not_arch(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(CohortError, match="books_set or pubmed_set"):
        prepare("arch", tmp_path / "in", tmp_path / "out")


@ANY
@given(captions=st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_captions_come_back_as_one_line_each(tmp_path_factory: pytest.TempPathFactory, captions: list[str]) -> None:
    root = tmp_path_factory.mktemp("arch")
    entries = {str(i): {"caption": text, "uuid": f"p-{i}"} for i, text in enumerate(captions)}
    found = get_adapter("arch").find(arch(root, None, entries)).rows
    wanted = {f"p-{i}": " ".join(text.split()) for i, text in enumerate(captions)}
    assert {row["record_id"]: row["text"] for row in found} == {k: v for k, v in wanted.items() if v}
    groups = Counter(row["patient_id"] for row in found)
    assert sorted(groups.values()) == sorted(Counter(v for v in wanted.values() if v).values())


@pytest.mark.parametrize(("caption", "text"), [(None, ""), (3, ""), (" a \t b\n", "a b"), ("", "")])
def test_one_line(caption: object, text: str) -> None:
    assert one_line(caption) == text


HEAD = ["", "caption", "image_path", "subset", "split", "pathology", "magnification"]
ROWS = [
    ["0", "A gland.", "ab_c-1_image_11-aa.jpg", "quilt", "val", "['Renal']", "1"],
    ["1", "The same\ngland.", "ab_c-1_image_11-aa.jpg", "quilt", "val", "", "1"],
    ["2", "Another frame.", "ab_c-1_image_22-bb.jpg", "quilt", "val", "", ""],
    ["3", "Seen in training.", "xyz_image_33-cc.jpg", "quilt", "train", "", ""],
    ["4", "From the web.", "900123.jpg", "openpath", "val", "", ""],
    ["5", "", "900124.jpg", "laion", "val", "", ""],
    ["6", "Gone.", "900125.jpg", "pubmed", "val", "", ""],
]


def quilt(root: Path, rows: list[list[str]] = ROWS, folder: str = "quilt_1m") -> Path:
    root.mkdir(parents=True)
    with (root / "quilt_1M_lookup.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([HEAD, *rows])
    for i, row in enumerate(rows):
        if row[1] != "Gone.":
            save(root / folder / row[2], i)
    return root


@pytest.mark.parametrize("folder", ["quilt_1m", "images", "."])
def test_quilts_held_out_pairs(tmp_path: Path, folder: str) -> None:
    table, prepared = made("quilt1m", quilt(tmp_path / "in", folder=folder), tmp_path / "out")
    assert table["record_id"].tolist() == [
        "900123.jpg",
        "ab_c-1_image_11-aa.jpg",
        "ab_c-1_image_11-aa.jpg#2",
        "ab_c-1_image_22-bb.jpg",
    ]
    assert set(table["split"]) == {"test"} and prepared.counts == {"openpath": 1, "quilt": 3}
    assert table["text"].tolist() == ["From the web.", "A gland.", "The same gland.", "Another frame."]
    # An id of a video may hold underscores and hyphens.
    assert table["patient_id"].tolist() == ["900123.jpg", "ab_c-1", "ab_c-1", "ab_c-1"]


def test_quilts_notes_and_what_is_absent(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="1 of 6 held-out pairs have no picture"):
        prepare("quilt1m", quilt(tmp_path / "in"), tmp_path / "a")
    _, prepared = made("quilt1m", tmp_path / "in", tmp_path / "b")
    said = notes_of(prepared)
    assert "1 of 7 pairs of the table are not held out" in said
    assert "1 held-out pairs have no caption" in said
    assert "unverified: that the held-out pairs of the paper's retrieval figures are these" in said
    assert not prepared.complete


def test_quilts_table_must_have_its_columns(tmp_path: Path) -> None:
    source = quilt(tmp_path / "in")
    (source / "quilt_1M_lookup.csv").write_text("image_path,caption\na.jpg,b\n")
    with pytest.raises(CohortError, match="no column 'split'"):
        prepare("quilt1m", source, tmp_path / "out")
    (source / "quilt_1M_lookup.csv").unlink()
    with pytest.raises(CohortError, match="there is no quilt_1M_lookup"):
        prepare("quilt1m", source, tmp_path / "out")


def test_a_table_without_held_out_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no record was found"):
        prepare("quilt1m", quilt(tmp_path / "in", ROWS[3:4]), tmp_path / "out")


@pytest.mark.parametrize("name", ["arch", "quilt1m"])
def test_facts_of_both_sets(name: str) -> None:
    adapter = get_adapter(name)
    info = adapter.info()
    assert info["modality"] == "histopathology" and info["unverified"] and "stands in" in " ".join(info["notes"])
    assert adapter.label_set is None and "text" in adapter.columns
    with pytest.raises(CohortError, match="not prepared from published split files"):
        adapter.find(Path(), Path("splits"))
