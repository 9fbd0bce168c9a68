"""The codes of the ECG classes: each stands in the table it names, with a like meaning, and looks like its system's codes.

`ecg_codes.csv` holds, as facts, the rows of those tables that the file uses: table, system, code and what the table calls
it. SNOMED CT codes have a table of their own beside the repository and are looked up in `test_knowledge_shipped`.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from small_knowledge import ecg

from medfm.cli.main import cli
from medfm.core.errors import ConfigError
from medfm.knowledge.load import knowledge_folder, load_knowledge
from medfm.knowledge.schema import Code, KnowledgeClass

SNOMED = "snomed-ct"
# Which systems a table may vouch for.
SYSTEMS = {
    "cinc2021": {SNOMED},
    "ptbxl-statements": {"scp-ecg", "mdc"},
    "dicom-3686": {"scp-ecg"},
    "aha-2007": {"aha"},
    "dicom-3335": {"mdc"},
    "dicom-3230": {"dicom-srt"},
}
SHAPES = {
    "scp-ecg": r"[A-Z0-9]{2,5}_?|LAO/LAE|RAO/RAE|PRC\(S\)",
    SNOMED: r"[1-9][0-9]{5,17}",
    "aha": r"[1-9][0-9]{0,2}",
    "mdc": r"MDC_ECG_(BEAT|RHY)(_[A-Z0-9]+)+",
    "dicom-srt": r"[A-Z][0-9]?-[0-9A-F]{5}",
}
# Words that do not tell one diagnosis from another.
PLAIN = {"non", "specific", "wave", "beat", "suggest", "compatible", "with"}


def _rows() -> dict[tuple[str, str, str], str]:
    with (Path(__file__).parent / "ecg_codes.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    table = {(row["table"], row["system"], row["value"]): row["meaning"] for row in rows}
    assert len(table) == len(rows), "a row is there twice"
    return table


def _codes() -> list[tuple[KnowledgeClass, str, Code]]:
    return [(entry, system, code) for entry in ecg().classes for system, code in entry.codes.items()]


def _words(text: str) -> set[str]:
    text = text.lower().replace("(es)", "").replace("complexes", "complex").replace("preexc", "pre exc")
    for ours, theirs in (("ischaemi", "ischemi"), ("polaris", "polariz"), ("atrioventricular", "av")):
        text = text.replace(ours, theirs)
    return {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", text)}


def test_every_code_stands_in_its_table_with_a_like_meaning() -> None:
    table, looked_up = _rows(), set()
    for entry, system, code in _codes():
        if system == SNOMED:
            continue
        key = (code.checked_in, system, code.value)
        assert key in table, entry.id
        looked_up.add(key)
        if code.meaning is not None:
            assert code.meaning == table[key], entry.id
        else:
            own = _words(" ".join((entry.name, *entry.synonyms)))
            meant = _words(table[key])
            assert len(own & meant) >= len(meant) / 2, (entry.id, table[key])
            assert (own & meant) - PLAIN, (entry.id, table[key])
    # Nothing in the table of facts is left over: a code that is taken out takes its row along.
    assert looked_up == set(table)


def test_tables_are_described_and_vouch_for_their_own_systems() -> None:
    used = defaultdict(set)
    for _, system, code in _codes():
        used[code.checked_in].add(system)
    assert set(used) == set(ecg().code_tables) == set(SYSTEMS)
    for name, systems in used.items():
        assert systems == SYSTEMS[name]
    # What nobody here has read is said.
    for name, unread in {"ptbxl-statements": "EN 1064 was not opened", "aha-2007": "were not opened"}.items():
        assert unread in ecg().code_tables[name]


def test_codes_look_like_codes_of_their_system() -> None:
    for entry, system, code in _codes():
        assert re.fullmatch(SHAPES[system], code.value), (entry.id, system, code.value)


def _verhoeff(number: str) -> bool:
    """Whether the last digit of `number` is its check digit, as in every SNOMED CT identifier (dihedral group D5)."""

    def times(a: int, b: int) -> int:
        turned = (a % 5 + b % 5) % 5 if a < 5 else (a % 5 - b % 5) % 5
        return turned + (5 if (a < 5) != (b < 5) else 0)

    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(place % 8):
            value = permutation[value]
        check = times(check, value)
    return check == 0


def test_snomed_codes_have_a_right_check_digit() -> None:
    assert _verhoeff("2363")  # the textbook example: 236 has the check digit 3
    assert not any(_verhoeff(f"236{digit}") for digit in "012456789")
    codes = [code.value for _, system, code in _codes() if system == SNOMED]
    assert len(codes) > 45
    assert [value for value in codes if not _verhoeff(value)] == []


def test_aha_codes_are_whole_numbers_and_modifiers_say_so() -> None:
    found = {int(code.value): code for _, system, code in _codes() if system == "aha"}
    assert all(1 <= number <= 503 for number in found)
    for number, code in found.items():
        kind = "secondary statement" if 200 <= number < 300 else "modifier" if 300 <= number < 400 else None
        assert kind is None or (code.meaning or "").endswith(f"({kind})"), number


@pytest.mark.parametrize(
    ("class_id", "system", "value"),
    [
        ("normal", "aha", "1"),
        ("sinus_rhythm", "aha", "20"),
        ("atrial_fibrillation", "aha", "50"),
        ("av_block_3", "aha", "88"),
        ("clbbb", "aha", "104"),
        ("crbbb", "aha", "106"),
        ("lvh", "aha", "142"),
        ("mi_inferior", "aha", "161"),
        ("early_repolarization", "aha", "155"),
        ("lafb", "mdc", "MDC_ECG_BEAT_BLK_ANT_L_HEMI"),
        ("atrial_fibrillation", "mdc", "MDC_ECG_RHY_ATR_FIB"),
        ("clbbb", "dicom-srt", "D3-33120"),
        ("normal", "dicom-srt", "F-000B7"),
        ("av_block_2_mobitz1", "scp-ecg", "WENCK"),
        ("left_axis", "scp-ecg", "LAD"),
    ],
)
def test_known_facts(class_id: str, system: str, value: str) -> None:
    assert ecg().entry(class_id).codes[system].value == value


@pytest.mark.parametrize("task", ["ptbxl-form", "ptbxl-rhythm"])
def test_labels_that_are_scp_acronyms_are_the_codes_of_their_classes(task: str) -> None:
    for label, class_id in ecg().label_set(task).labels.items():
        assert ecg().entry(class_id).codes["scp-ecg"].value.strip("_") == label


def test_a_bundle_branch_block_without_degree_has_no_code_of_the_complete_one() -> None:
    # The lists say "left bundle-branch block" and PTB-XL reads it as complete; one code never means two classes.
    for general, complete in (("lbbb", "clbbb"), ("rbbb", "crbbb")):
        assert "aha" not in ecg().entry(general).codes
        assert ecg().entry(complete).codes["aha"].meaning is not None


def test_the_verb_says_what_the_table_calls_it() -> None:
    shown = CliRunner().invoke(cli, ["knowledge", "show", "ecg", "st_nonspecific"])
    assert shown.exit_code == 0
    assert "aha: 145 (checked in aha-2007 as 'ST deviation')" in shown.output
    assert "scp-ecg: NST_ (checked in ptbxl-statements)" in shown.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": 142, "checked_in": "aha-2007"}, "value"),
        ({"value": "142", "checked_in": "aha-2008"}, "did you mean 'aha-2007'"),
        ({"value": "142"}, "checked_in"),
        ({"value": "  ", "checked_in": "aha-2007"}, "value"),
    ],
)
def test_a_code_that_cannot_be_checked_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    data = yaml.safe_load((knowledge_folder() / "ecg.yaml").read_text(encoding="utf-8"))
    next(c for c in data["classes"] if c["id"] == "lvh")["codes"]["aha"] = change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_knowledge(path)
