"""Names of tasks and label variants, and the facts that hold adapters and knowledge together."""

import csv
from pathlib import Path

import pytest
from ecg_sets import write_ptbxl

from medfm.cohorts.adapters import all_aliases, get_adapter, list_adapters, prepare
from medfm.cohorts.adapters.cpsc2018 import NUMBERS, SNOMED
from medfm.cohorts.adapters.ecg_labels import labels_of, positives, positives_in_test, split_sizes
from medfm.cohorts.info import CohortInfo
from medfm.core.errors import ConfigError, StoreError, UnknownNameError
from medfm.knowledge.load import load_knowledge

SETS = ("ptbxl-super", "ptbxl-sub", "ptbxl-form", "ptbxl-rhythm", "cpsc2018", "csn")
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "ecg"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ptbxl", "ptbxl-super"),
        ("ptbxl-super", "ptbxl-super"),
        ("ptbxl@published", "ptbxl-super@published"),
        ("ptbxl-super@corrected", "ptbxl-super"),
        ("ptbxl-sub@published", "ptbxl-sub@published"),
        ("cpsc2018", "cpsc2018"),
        ("cpsc2018@published", "cpsc2018@published"),
        ("csn@corrected", "csn"),
        ("mimic-iv-ecg", "mimic-iv-ecg"),
        ("mimic-iv-ecg@published", "mimic-iv-ecg@published"),
        ("acevedo", "acevedo"),
    ],
)
def test_names(given: str, name: str) -> None:
    adapter = get_adapter(given)
    assert adapter.name == name
    assert adapter.name in adapter.cohort_names()
    assert adapter.id in list_adapters()


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("ptbxl-supr", "super"),
        ("ptbxl@publishd", "published"),
        ("csn-super", "csn"),
        ("acevedo@published", "acevedo"),
        ("ptbx", "ptbxl"),
        ("mimic", "mimic-iv-ecg"),
        ("ptbxl-sub@published@1", "published"),
    ],
)
def test_wrong_names(wrong: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=near):
        get_adapter(wrong)


def test_options_spell_the_same_name(tmp_path: Path) -> None:
    folder = write_ptbxl(tmp_path / "p", {1: {}})
    tables = []
    for i, (name, options) in enumerate(
        [
            ("ptbxl-sub@published", {}),
            ("ptbxl", {"task": "sub", "labels": "published"}),
            ("ptbxl-sub", {"labels": "published"}),
            ("ptbxl@published", {"task": "sub"}),
            ("ptbxl-sub@published", {"task": "sub", "labels": "published"}),
        ]
    ):
        done = prepare(name, folder, tmp_path / str(i), allow_partial=True, **options)
        tables.append((done.table.read_text(), done.info.read_text()))
    assert len(set(tables)) == 1


def test_options_that_contradict_the_name(tmp_path: Path) -> None:
    for name, options in (("ptbxl-sub", {"task": "form"}), ("csn@published", {"labels": "corrected"})):
        with pytest.raises(ConfigError, match="contradict"):
            prepare(name, tmp_path, tmp_path / "out", **options)
    with pytest.raises(UnknownNameError):
        prepare("acevedo", tmp_path, tmp_path / "out", task="sub")


def test_a_table_of_another_task_is_not_replaced(tmp_path: Path) -> None:
    folder = write_ptbxl(tmp_path / "p", {1: {}})
    prepare("ptbxl-super", folder, tmp_path / "out", allow_partial=True)
    prepare("ptbxl", folder, tmp_path / "out", allow_partial=True)  # the same cohort
    for name in ("ptbxl-sub", "ptbxl-super@published"):
        with pytest.raises(StoreError, match="another table"):
            prepare(name, folder, tmp_path / "out", allow_partial=True)


@pytest.mark.parametrize(
    ("adapter", "name"),
    [
        ("acevedo@1", "acevedo"),
        ("ptbxl-super@published@1", "ptbxl-super@published"),
        ("ptbxl-super@1", "ptbxl-super"),
        (None, ""),
    ],
)
def test_the_name_of_a_prepared_table(adapter: str | None, name: str) -> None:
    assert CohortInfo(adapter=adapter).prepared_as == name


def test_every_name_of_a_set_means_that_set() -> None:
    aliases = {names[0]: names for names in all_aliases()}
    assert {"PTB-XL", "ptbxl-sub@published", "ptbxl-form"} <= set(aliases["ptbxl"])


@pytest.mark.parametrize("label_set", SETS)
def test_labels_are_those_of_the_knowledge(label_set: str) -> None:
    knowledge = load_knowledge("ecg")
    assert list(labels_of(label_set)) == list(knowledge.label_set(label_set).labels)
    assert get_adapter(label_set).label_set == label_set
    assert get_adapter(label_set).labels == labels_of(label_set)


@pytest.mark.parametrize(
    ("label_set", "sizes"),
    [
        # The table of MERL's split files.
        ("ptbxl-super", (17084, 2146, 2158)),
        ("ptbxl-sub", (17084, 2146, 2158)),
        ("ptbxl-form", (7197, 901, 880)),
        ("ptbxl-rhythm", (16832, 2100, 2098)),
        ("cpsc2018", (4950, 551, 1376)),
        ("csn", (16546, 1860, 4620)),
    ],
)
def test_published_counts(label_set: str, sizes: tuple[int, ...]) -> None:
    assert tuple(split_sizes(label_set).values()) == sizes
    tested, everywhere = positives_in_test(label_set), positives(label_set)
    assert len(tested) == len(labels_of(label_set))
    assert max(tested.values()) <= sizes[2]
    assert all(0 < tested[f"{name} in test"] <= number <= sum(sizes) for name, number in everywhere.items())


def test_counts_that_the_sheet_of_facts_names() -> None:
    assert tuple(positives_in_test("ptbxl-super").values()) == (262, 963, 550, 496, 521)
    csn = positives_in_test("csn")
    named = {"VB": 169, "AVB": 169, "CR": 50, "AF": 987, "SA": 536, "ST": 1281, "2AVB": 4}
    assert all(csn[f"{label} in test"] == number for label, number in named.items())
    # NST is diagnostic and of form: 615, 75 and 77 in both tasks.
    assert positives("ptbxl-sub")["NST"] == positives("ptbxl-form")["NST"] == 615 + 75 + 77
    assert positives("ptbxl-super")["NORM"] == positives("ptbxl-sub")["NORM"] == 9514


def test_codes_of_cpsc2018_are_in_the_knowledge() -> None:
    knowledge = load_knowledge("ecg")
    classes = knowledge.label_set("cpsc2018").labels
    assert set(SNOMED.values()) == set(NUMBERS.values()) == set(classes)
    for code, label in SNOMED.items():
        known = knowledge.entry(classes[label]).codes.get("snomed-ct")
        # The copy on PhysioNet writes bundle branch blocks, normal ECGs and extrasystoles by neighbouring codes.
        if label not in ("NORM", "CRBBB", "CLBBB", "VPC"):
            assert known is not None and known.value == code, label


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data here")
def test_codes_of_cpsc2018_are_in_the_table_of_diagnoses() -> None:
    with (SHARED / "dx_snomed_names.csv").open(newline="") as handle:
        names = {row["snomed"]: row["name"] for row in csv.DictReader(handle)}
    assert [names[code] for code in SNOMED] == [
        "sinus rhythm",
        "atrial fibrillation",
        "1st degree av block",
        "left bundle branch block",
        "right bundle branch block",
        "premature atrial contraction",
        "premature ventricular complexes",
        "st depression",
        "st elevation",
    ]
