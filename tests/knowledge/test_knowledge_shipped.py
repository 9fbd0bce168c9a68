"""The shipped knowledge files: complete label sets, codes that can be checked, honest sources."""

from __future__ import annotations

import csv
import importlib
import re
from pathlib import Path

import pytest
from small_knowledge import ecg

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.knowledge.load import knowledge_folder, list_knowledge, load_knowledge
from medfm.knowledge.prompts import build_prompts, list_strategies

# The label lists of the six tasks as the published split files have them, in file order.
TASKS = {
    "ptbxl-super": "HYP NORM MI CD STTC",
    "ptbxl-sub": "AMI LAFB/LPFB LVH STTC IMI SEHYP CRBBB WPW LAO/LAE NORM ISC AVB RAO/RAE LMI ISCI ISCA NST CLBBB "
    "ILBBB IRBBB PMI RVH IVCD",
    "ptbxl-form": "PAC DIG HVOLT STD LPR QWAVE VCLVH NDT TAB LOWT ABQRS LNGQT PRC(S) NT STE NST PVC INVT LVOLT",
    "ptbxl-rhythm": "SVARR BIGU STACH SARRH SBRAD TRIGU AFIB SR SVTAC PSVT AFLT PACE",
    "cpsc2018": "AFIB VPC NORM 1AVB CRBBB STE PAC CLBBB STD",
    "csn": "AQW UW SR WPW 2AVB AT VB ARS STTC SA STE VPB TWO STTU ALS APB 2AVB1 PRIE CCR CR AF AVB QTIE LBBB VEB SVT "
    "RBBB 1AVB STDD MI AFIB TWC PWC ERV RVH LVH ST JEB",
}
COUNTS = {"ptbxl-super": 5, "ptbxl-sub": 23, "ptbxl-form": 19, "ptbxl-rhythm": 12, "cpsc2018": 9, "csn": 38}


@pytest.mark.parametrize("name", list_knowledge())
def test_every_shipped_file_loads_and_makes_prompts(name: str) -> None:
    knowledge = load_knowledge(name)
    assert knowledge.domain == name
    assert knowledge == load_knowledge(knowledge_folder() / f"{name}.yaml")
    for label_set in knowledge.label_sets:
        for strategy in list_strategies():
            prompts = build_prompts(knowledge, label_set, strategy)
            assert prompts.labels == tuple(knowledge.label_set(label_set).labels)


@pytest.mark.parametrize("name", list_knowledge())
def test_reviewed_by_nobody_yet(name: str) -> None:
    # Change this line together with the file, when a clinician has read it and put a name to it.
    assert load_knowledge(name).reviewed_by == "none"


@pytest.mark.parametrize("task", TASKS)
def test_every_label_of_the_six_tasks_is_there_in_order(task: str) -> None:
    labels = ecg().label_set(task).labels
    assert list(labels) == TASKS[task].split()
    assert len(labels) == COUNTS[task]
    # Two labels of one task never mean one class: they would be asked for in the same words.
    assert len(set(labels.values())) == len(labels)


def test_abbreviations_of_cinc2021_stand_for_the_class_of_the_same_code(ecg_codes: Path) -> None:
    with ecg_codes.open(encoding="utf-8", newline="") as handle:
        table = {row["abbreviation"]: row["snomed"] for row in csv.DictReader(handle)}
    labels = ecg().label_set("cinc2021").labels
    assert len(labels) == 52 == len(set(labels.values()))
    for label, class_id in labels.items():
        assert ecg().entry(class_id).codes["snomed-ct"].value == table[label], label
    held = {entry.codes["snomed-ct"].value for entry in ecg().classes if "snomed-ct" in entry.codes}
    named = {label for label, code in table.items() if code in held and not label.startswith("_")}
    assert set(labels) == named  # every class with a code that the table abbreviates


def test_every_ecg_class_says_what_is_seen() -> None:
    for entry in ecg().classes:
        assert entry.findings, entry.id
        assert entry.differential, entry.id


def test_names_and_synonyms_mean_one_class_each() -> None:
    seen: dict[str, str] = {}
    for entry in ecg().classes:
        for text in (entry.name, *entry.synonyms):
            assert seen.setdefault(text.lower(), entry.id) == entry.id, text


def test_codes_are_unique_within_their_system() -> None:
    seen: dict[tuple[str, str], str] = {}
    for entry in ecg().classes:
        for system, code in entry.codes.items():
            assert seen.setdefault((system, code.value), entry.id) == entry.id


def test_snomed_codes_are_in_the_table_with_a_like_meaning(ecg_codes: Path) -> None:
    with ecg_codes.open(encoding="utf-8", newline="") as handle:
        table = {row["snomed"]: row["name"].lower() for row in csv.DictReader(handle)}
    checked = 0
    for entry in ecg().classes:
        code = entry.codes.get("snomed-ct")
        if code is None:
            continue
        checked += 1
        assert code.checked_in == "cinc2021"
        meant = table[code.value]
        if code.meaning is not None:
            assert code.meaning == meant
        else:
            ours = " ".join((entry.name, *entry.synonyms)).lower().replace("ischaemia", "ischemia")
            known = {w.rstrip("s") for w in ours.replace("-", " ").split()}
            own = {w.rstrip("s") for w in meant.replace("ischaemia", "ischemia").replace("-", " ").split()}
            assert len(own & known) >= len(own) / 2, (entry.id, meant)
    assert checked > 45


def test_unknown_names_and_files_are_clear(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ecg'"):
        load_knowledge("ekg")
    with pytest.raises(ConfigError, match="does not exist"):
        load_knowledge(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("domain: x\nclasss: []\n")
    with pytest.raises(ConfigError, match="did you mean 'classes'"):
        load_knowledge(tmp_path / "bad.yaml")


def test_the_page_says_what_is_so() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "knowledge.md").read_text(encoding="utf-8")
    classes = ecg().classes
    assert f"{len(classes)} classes" in page
    for words, system in {
        "carry a SNOMED CT code": "snomed-ct",
        "an SCP-ECG code": "scp-ecg",
        "an AHA code": "aha",
        "an aECG reference id": "mdc",
        "a DICOM code": "dicom-srt",
    }.items():
        assert f"{sum(system in c.codes for c in classes)} {words}" in page
    for strategy in (*list_strategies(), "file@1"):
        assert f"| `{strategy}` |" in page
    for module in set(re.findall(r"from (medfm[.a-z_]+) import", page)):
        importlib.import_module(module)


@pytest.mark.parametrize(
    ("parent", "children"),
    [
        ("av_block", {"av_block_1", "av_block_2_mobitz1", "av_block_2_mobitz2", "av_block_3"}),
        ("bigeminy", {"ventricular_bigeminy", "atrial_bigeminy"}),
        ("q_waves", {"q_waves", "q_abnormal"}),
        ("mi", {"mi_anterior", "mi_inferior", "mi_lateral", "mi_posterior"}),
        ("normal", {"normal"}),
    ],
)
def test_through_what_a_parent_is_seen(parent: str, children: set[str]) -> None:
    assert {c.id for c in ecg().parts(parent)} == children
