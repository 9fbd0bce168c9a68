"""The parts of de-identification: the table, the key, dummies and dates, the search for text in corners, the proof."""

from __future__ import annotations

import datetime
import os
import stat
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from planted_dicom import KNOWN, again, as_bytes, base, door
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGBaseline8Bit

from medfm.core.errors import ConfigError, ReadError
from medfm.core.resources import data_folder
from medfm.io.deidentify import profile
from medfm.io.deidentify.burned_in import suspicion, text_in_corners
from medfm.io.deidentify.file import clean
from medfm.io.deidentify.key import Key, read_key
from medfm.io.deidentify.leftovers import leftovers
from medfm.io.deidentify.profile import action_for, rule_of, rules
from medfm.io.deidentify.sweep import identifiers, sweep
from medfm.io.deidentify.values import capped_age, dummy, shifted

KEY = Key(b"0123456789abcdef")


# The table


def test_the_table_as_counted():
    """655 rows: 652 single attributes, curves and two of overlays; actions as in PS3.15 Table E.1-1."""
    table = rules()
    assert len(table) == 655 and [tag for tag in table if "x" in tag] == ["50xxxxxx", "60xx3000", "60xx4000"]
    counts = {"X": 415, "D": 93, "U": 55, "Z": 42, "X/D": 23, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2}
    assert Counter(rule.action for rule in table.values()) == counts
    assert sum(rule.dates for rule in table.values()) == 165
    assert list(table) == sorted(table)


def test_keywords_of_the_table_are_those_of_the_dictionary():
    for tag, rule in rules().items():
        if "x" not in tag:
            assert rule.keyword == keyword_for_tag(int(tag, 16)), tag
    assert len(KNOWN) > 600


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("PatientName", "Z"), ("PatientID", "Z/D"), ("PatientBirthDate", "Z"), ("StudyDate", "Z"), ("AccessionNumber", "Z"),
        ("InstitutionName", "X/Z/D"), ("StudyInstanceUID", "U"), ("SeriesDate", "X/D"), ("PatientAddress", "X"),
        ("ReferencedImageSequence", "X/Z/U*"), ("DeviceSerialNumber", "X/Z/D"), ("ContentSequence", "D"),
        ("StudyDescription", "X"), ("OperatorsName", "X/Z/D"), ("PatientSex", "Z"), ("RequestAttributesSequence", "X"),
    ],
)  # fmt: skip
def test_rows_known_by_heart(keyword, action):
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None
    rule = rule_of(tag)
    assert rule is not None and rule.action == action and rule.keyword == keyword


@pytest.mark.parametrize(
    ("tag", "vr", "kept", "wanted"),
    [
        (0x00100040, "CS", False, "empty"), (0x00100040, "CS", True, "keep"), (0x00101010, "AS", False, "remove"),
        (0x00080020, "DA", False, "shift"), (0x00080030, "TM", False, "keep"), (0x0008002A, "DT", False, "shift"),
        (0x00080201, "SH", False, "remove"), (0x0020000D, "UI", False, "uid"), (0x00081140, "SQ", False, "uid"),
        (0x0040A730, "SQ", False, "empty"), (0x00400275, "SQ", False, "remove"), (0x00080080, "LO", False, "dummy"),
        (0x00280010, "US", False, None), (0x50123456, "OW", False, "remove"), (0x60020010, "US", False, "remove"),
        (0x00100030, "DA", False, "empty"),
    ],
)  # fmt: skip
def test_what_is_done_to_an_attribute(tag, vr, kept, wanted):
    assert action_for(tag, vr, characteristics=kept) == wanted


def test_the_table_says_where_it_is_from():
    text = (data_folder("configs") / "deidentify" / profile.FILE).read_text(encoding="utf-8")
    assert "PS3.15 Annex E, Table E.1-1" in text.split("\n")[0] and text.split("tag,action", 1)[0].count("#") >= 5


@given(st.sampled_from(KNOWN))
@settings(max_examples=60, deadline=None)
def test_no_action_leaves_a_value_but_dates_uids_and_what_is_asked_for(tag):
    vr = dictionary_VR(tag).split(" ")[0]
    action = action_for(tag, vr)
    assert action is not None
    if action == "keep":
        assert vr == "TM"
    if action == "shift":
        assert vr in ("DA", "DT")


# The key


def test_what_comes_from_a_key():
    uid = KEY.uid("1.2.3")
    assert (
        uid == KEY.uid("1.2.3") != KEY.uid("1.2.4") and uid.startswith("2.25.") and len(uid) <= 44 and UID(uid).is_valid
    )
    assert KEY.patient("a") == Key(b"0123456789abcdef").patient("a") != Key(b"0123456789abcdeg").patient("a")
    assert KEY.name(b"x") != KEY.name(b"y") and len(KEY.name(b"x")) == 20
    assert len(KEY.mark) == 8 and KEY.mark != Key(b"0123456789abcdeg").mark
    # Kinds are kept apart: a uid is not the patient id of the same text.
    assert KEY.patient("1.2.3")[1:] not in uid


@given(st.integers(0, 10**12).map(str))
@settings(max_examples=40, deadline=None)
def test_shifts_lie_in_the_past_and_ids_are_plain(patient):
    assert 400 <= KEY.days(patient) <= 3652
    assert KEY.patient(patient).isalnum() and len(KEY.patient(patient)) == 13


def test_shifts_are_spread():
    days = [KEY.days(str(number)) for number in range(400)]
    assert len(set(days)) > 300 and min(days) < 900 and max(days) > 3200


def test_a_key_file_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    file = tmp_path / "deep" / "a.key"
    key, made = read_key(file)
    assert made and stat.S_IMODE(file.stat().st_mode) == 0o600
    other, again_made = read_key(file)
    assert not again_made and key.mark == other.mark
    assert read_key(tmp_path / "b.key")[0].mark != key.mark


@pytest.mark.parametrize("text", ["", "not hexadecimal", "abcd", "zz" * 32])
def test_what_is_no_key(tmp_path, text):
    file = tmp_path / "a.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ReadError, match="no key"):
        read_key(file)


def test_a_key_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "a.key"
    read_key(file)
    file.chmod(0o644)
    if os.name == "nt":
        pytest.skip("no such modes here")
    with pytest.raises(ReadError, match="read by others") as error:
        read_key(file)
    assert "chmod 600" in str(error.value.fix)


def test_short_and_absent_keys(tmp_path):
    with pytest.raises(ConfigError, match="too short"):
        Key(b"short")
    with pytest.raises(ReadError, match="no key file"):
        read_key(tmp_path / "absent", create=False)


# Values


@given(st.dates(datetime.date(1910, 1, 1), datetime.date(2090, 1, 1)), st.integers(0, 3652))
@settings(max_examples=60, deadline=None)
def test_dates_against_the_calendar(day, days):
    found = shifted(f"{day:%Y%m%d}", days)
    assert found == f"{day - datetime.timedelta(days=days):%Y%m%d}".rjust(8, "0") and len(found) == 8
    assert shifted(f"{day:%Y%m%d}1200", days) == f"{found}1200"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("20240301", "20240229"), ("2024.03.01", "20240229"), ("20240301235959.9+0100", "20240229235959.9+0100"),
        (" 20240301 ", "20240229"), ("20240301\0", "20240229"), ("2024", None), ("202403", None), ("", None),
        ("20240230", None), ("00010101", None), ("20240301-20240401", "20240229-20240401"),
    ],
)  # fmt: skip
def test_dates_by_hand(value, wanted):
    assert shifted(value, 1) == wanted


@pytest.mark.parametrize(
    ("age", "wanted"),
    [("047Y", "047Y"), ("089Y", "089Y"), ("090Y", "090Y"), ("104Y", "090Y"), ("003D", "003D"), ("999M", "999M"),
     ("999W", "999W"), ("", ""), ("forty", ""), ("47Y", "")],
)  # fmt: skip
def test_ages(age, wanted):
    assert capped_age(age) == wanted


@pytest.mark.parametrize("vr", ["AE", "AS", "CS", "DA", "DS", "DT", "FD", "IS", "LO", "OB", "PN", "SH", "TM", "UN", "UR", "US", "UT"])  # fmt: skip
def test_dummies_can_be_written_and_say_nothing(vr):
    dataset = base().dataset
    dataset.add_new(0x00280008 if vr == "IS" else 0x00181210, vr, dummy(vr))
    assert as_bytes(dataset)
    assert dummy(vr) == dummy(vr)


# Burned-in text


def painted(text: str, corner: str = "top", side: int = 400) -> np.ndarray:
    """A soft 12-bit picture with letters in a corner."""
    y, x = np.mgrid[:side, :side] / side
    soft = 1500 + 1200 * np.sin(4 * x) * np.cos(3 * y) + np.random.default_rng(0).normal(0, 20, (side, side))
    image = Image.fromarray(soft.astype(np.int32))
    ImageDraw.Draw(image).text((6, 4 if corner == "top" else side - 40), text, fill=4095, font_size=16)
    return np.asarray(image).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("corner", ["top", "bottom"])
def test_letters_in_a_corner_are_suspected(corner):
    assert text_in_corners(painted("MUSTERMANN ERIKA\n1947-08-15", corner))
    assert not text_in_corners(painted("", corner))


def test_flat_and_tiny_pictures_are_not_suspected():
    assert not text_in_corners(np.zeros((100, 100), np.uint16)) and not text_in_corners(np.eye(20, dtype=np.uint16))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BurnedInAnnotation": "YES"}, "the header says"),
        ({"BurnedInAnnotation": "yes "}, "the header says"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"Modality": "US"}, "often carries a banner"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, None),
        ({}, None),
    ],
)
def test_why_text_may_be_burned_in(changes, words):
    planted = base()
    for name, value in changes.items():
        setattr(planted.dataset, name, value)
    found = suspicion(again(as_bytes(planted.dataset)))
    assert (found is None) if words is None else (found is not None and words in found)


def test_pixels_are_looked_at_where_they_are_plain():
    planted = base()
    dataset, values = planted.dataset, painted("MUSTERMANN ERIKA\n1947-08-15")
    dataset.Rows, dataset.Columns, dataset.PixelData = *values.shape, values.tobytes()
    content = as_bytes(dataset)
    assert "letters" in str(clean(content, KEY).burned_in)
    read = again(content)
    read.file_meta.TransferSyntaxUID = JPEGBaseline8Bit  # then these are no plain pixels
    assert suspicion(read) is None
    read.file_meta.TransferSyntaxUID = again(content).file_meta.TransferSyntaxUID
    for name, value in (("PixelData", b"\0"), ("BitsAllocated", 12), ("SamplesPerPixel", 3), ("NumberOfFrames", 2)):
        other = again(content)
        setattr(other, name, value)
        assert suspicion(other) is None, name


# What is left over


def test_leftovers_of_an_ordinary_file():
    planted = base()
    planted.private(planted.dataset)
    door(planted.dataset, "ViewCodeSequence").PatientAddress = "LEAK"
    found = leftovers(again(as_bytes(planted.dataset, SourceApplicationEntityTitle="LEAKAE")))
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "private attributes", "PatientAddress"):
        assert name in found
    assert "SourceApplicationEntityTitle (file header)" in found
    assert not any("LEAK" in name or "Zwiebel" in name for name in found)


def test_leftovers_of_one_that_says_it_was_cleaned():
    dataset = Dataset()
    dataset.PatientIdentityRemoved, dataset.PatientID, dataset.PatientName = "YES", "case-7", "case-7"
    dataset.StudyDate, dataset.InstitutionName, dataset.PatientSex = "20200101", "REMOVED", "F"
    dataset.StudyInstanceUID = "1.2.3"
    assert leftovers(dataset) == []
    dataset.PatientIdentityRemoved = "NO"
    assert set(leftovers(dataset)) == {"PatientID", "PatientName", "StudyDate", "PatientSex"}


@pytest.mark.parametrize("name", ["PatientAddress", "StudyDescription", "AccessionNumber", "PatientBirthDate"])
def test_one_attribute_is_enough(name):
    dataset = Dataset()
    dataset.PatientIdentityRemoved = "YES"
    assert leftovers(dataset) == []
    setattr(dataset, name, "20000101" if "Date" in name else "x")
    assert leftovers(dataset) == [name]
    setattr(dataset, name, "")
    assert leftovers(dataset) == []


# The sweep


def test_identifiers_are_taken_from_names_and_ids_at_every_depth():
    planted = base()
    door(planted.dataset, "ViewCodeSequence").PersonName = "Otto=Wong^Li"
    planted.dataset.AccessionNumber = "A-99"
    words = identifiers(planted.dataset)
    assert {"zwiebelmann", "rosamunde", "mrn-0047110815", "otto", "wong", "a-99"} <= words and "li" not in words


def test_short_words_only_whole_and_long_ones_inside_too():
    dataset = Dataset()
    dataset.ConvolutionKernel, dataset.FilterType, dataset.ProtocolName = "wongtype", "STRIP", "xzwiebelmannx"
    dataset.SequenceName = "see Wong."
    emptied = sweep(dataset, frozenset({"wong", "zwiebelmann"}))
    assert set(emptied) == {"ProtocolName", "SequenceName"} and dataset.ConvolutionKernel == "wongtype"
    assert sweep(dataset, frozenset()) == []
