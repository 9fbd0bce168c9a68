"""De-identified files: nothing planted is left, everything else is; equal keys, equal answers."""

from __future__ import annotations

import datetime

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_dicom import DOORS, KNOWN, Planted, again, as_bytes, base, door
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from medfm.core.errors import ReadError
from medfm.io.deidentify.file import clean, encoded
from medfm.io.deidentify.key import Key
from medfm.io.deidentify.leftovers import leftovers

KEY, OTHER = Key(b"a secret of 24 characters"), Key(b"another, also 24 letters")


def run(planted: Planted, key: Key = KEY, **options: object) -> bytes:
    return encoded(clean(as_bytes(planted.dataset), key, **options))


def found(content: bytes, secrets: list[bytes]) -> list[bytes]:
    return [secret for secret in secrets if secret.lower() in content.lower()]


def test_every_attribute_of_the_profile_at_once():
    planted = base()
    for tag in KNOWN:
        planted.put(planted.dataset, tag)
    planted.secrets = [s for s in planted.secrets if s != b"MRN-0047110815"]
    assert len(planted.secrets) > 450
    before = as_bytes(planted.dataset)
    assert len(found(before, planted.secrets)) > 440
    after = encoded(clean(before, KEY))
    assert found(after, planted.secrets) == []
    assert leftovers(again(after)) == []


@st.composite
def hidden(draw: st.DrawFn) -> Planted:
    """A radiograph with identifiers in drawn places: nested to any depth, private, several in one item."""
    planted = base()
    places: list[Dataset] = [planted.dataset]
    for _ in range(draw(st.integers(0, 5))):
        parent = draw(st.sampled_from(places))
        places.append(door(parent, draw(st.sampled_from(DOORS))))
    for tag in draw(st.lists(st.sampled_from(KNOWN), max_size=12, unique=True)):
        planted.put(draw(st.sampled_from(places)), tag)
    for group in draw(st.lists(st.sampled_from([0x0009, 0x0029, 0x7FE1]), max_size=3)):
        planted.private(draw(st.sampled_from(places)), group)
    for _ in range(draw(st.integers(0, 2))):
        # A name in an attribute that nobody thinks of, and that the profile does not name.
        draw(st.sampled_from(places)).ConvolutionKernel = "for zwiebelmann"
    return planted


@given(hidden())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_identifiers_anywhere_are_gone(planted):
    after = run(planted)
    assert found(after, planted.secrets) == []
    result = again(after)
    assert leftovers(result) == []
    assert result.PixelData == planted.dataset.PixelData
    assert (result.Modality, result.BodyPartExamined, result.Rows) == ("DX", "CHEST", 16)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_way_of_writing(syntax):
    planted = base()
    planted.private(planted.dataset)
    if syntax == ExplicitVRBigEndian:
        planted.dataset.PixelData = np.frombuffer(planted.dataset.PixelData, "<u2").astype(">u2").tobytes()
    after = encoded(clean(as_bytes(planted.dataset, syntax), KEY))
    result = again(after)
    assert result.file_meta.TransferSyntaxUID == syntax and result.PixelData == planted.dataset.PixelData
    assert "ZWIEBELMANN" not in str(result).upper() and leftovers(result) == []


def test_compressed_pixels_are_not_touched():
    planted = base()
    fragments = [b"\xff\xd8" + bytes(range(200)) + b"\xff\xd9", b"\xff\xd8abcd\xff\xd9"]
    planted.dataset.PixelData = encapsulate(fragments)
    planted.dataset["PixelData"].is_undefined_length = True
    planted.dataset.NumberOfFrames = 2
    result = again(encoded(clean(as_bytes(planted.dataset, JPEGBaseline8Bit), KEY)))
    assert result.PixelData == planted.dataset.PixelData
    assert result.file_meta.TransferSyntaxUID == JPEGBaseline8Bit


def test_file_header_and_preamble():
    planted = base()
    meta = {
        "SourceApplicationEntityTitle": "LEAKAE1",
        "SendingApplicationEntityTitle": "LEAKAE2",
        "PrivateInformationCreatorUID": "1.2.3.4.5.6.7",
        "PrivateInformation": b"LEAKPRIVATE!",
        "ImplementationVersionName": "LEAKVERSION",
    }
    after = encoded(clean(as_bytes(planted.dataset, **meta), KEY))
    assert b"LEAK" not in after and b"1.2.3.4.5.6.7" not in after and after[:128] == b"\0" * 128
    result = again(after)
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    assert result.file_meta.MediaStorageSOPClassUID == planted.dataset.SOPClassUID


def test_it_says_that_and_how_it_was_done():
    result = again(run(base()))
    assert result.PatientIdentityRemoved == "YES" and "PS3.15" in result.DeidentificationMethod
    codes = [item.CodeValue for item in result.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107"] and result.LongitudinalTemporalInformationModified == "MODIFIED"
    assert {item.CodingSchemeDesignator for item in result.DeidentificationMethodCodeSequence} == {"DCM"}
    kept = again(run(base(), characteristics=True))
    assert [item.CodeValue for item in kept.DeidentificationMethodCodeSequence] == ["113100", "113107", "113108"]


def test_uids_are_mapped_alike_everywhere():
    one, two = base(), base()
    item = door(one.dataset, "ReferencedSeriesSequence")
    item.SeriesInstanceUID = str(two.dataset.SeriesInstanceUID)
    one.dataset.ReferencedImageSequence = Sequence([Dataset()])
    one.dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID = str(two.dataset.SOPInstanceUID)
    one.dataset.ReferencedImageSequence[0].ReferencedSOPClassUID = str(two.dataset.SOPClassUID)
    first, second = again(run(one)), again(run(two))
    assert first.StudyInstanceUID == second.StudyInstanceUID != two.dataset.StudyInstanceUID
    assert first.ReferencedSeriesSequence[0].SeriesInstanceUID == second.SeriesInstanceUID
    reference = first.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == second.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == two.dataset.SOPClassUID  # a kind of object, nobody's
    assert all(str(uid).startswith("2.25.") and uid.is_valid for uid in (first.SOPInstanceUID, first.StudyInstanceUID))


def test_dates_move_by_whole_days_and_intervals_stay():
    days = ["20260301", "20260302", "20270115"]
    shifts = []
    for day in days:
        planted = base()
        planted.dataset.StudyDate, planted.dataset.AcquisitionDateTime = day, f"{day}235959.25+0200"
        planted.dataset.ContentTime = "235959"
        result = again(run(planted))
        moved = datetime.date.fromisoformat(f"{result.StudyDate[:4]}-{result.StudyDate[4:6]}-{result.StudyDate[6:]}")
        shifts.append(datetime.date.fromisoformat(f"{day[:4]}-{day[4:6]}-{day[6:]}") - moved)
        assert str(result.AcquisitionDateTime) == f"{result.StudyDate}235959.25+0200"
        assert result.ContentTime == "235959" and result.StudyTime == "083015"
    assert len(set(shifts)) == 1 and 400 <= shifts[0].days <= 3652
    stranger = base()
    stranger.dataset.PatientID = "someone else"
    assert again(run(stranger)).StudyDate != again(run(base())).StudyDate


@pytest.mark.parametrize("date", ["2026", "20261399", "202603", "someday"])
def test_what_is_no_whole_date_is_emptied(date):
    planted = base()
    planted.dataset.AcquisitionDateTime = "20260301"
    head = b"\x08\x00\x2a\x00DT\x08\x00"
    content = as_bytes(planted.dataset)
    assert content.count(head + b"20260301") == 1
    cleaned = clean(content.replace(head + b"20260301", head + date.ljust(8).encode()), KEY)
    assert cleaned.dataset.get("AcquisitionDateTime") in (None, "")
    assert cleaned.changes.counts["AcquisitionDateTime", "emptied, no whole date"] == 1
    assert date.encode() not in encoded(cleaned) or date == "2026"


def test_the_same_key_gives_the_same_file_and_another_one_other_ids():
    assert run(base()) == run(base())
    one, other = again(run(base())), again(run(base(), OTHER))
    for name in ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "StudyDate"):
        assert one[name].value != other[name].value, name
    assert one.PatientID == one.PatientName and one.PatientID.startswith("P") and len(one.PatientID) == 13


def test_cleaning_twice_names_nobody_either():
    planted = base()
    once = run(planted)
    twice = encoded(clean(once, OTHER))
    assert found(twice, planted.secrets) == [] and again(twice).PatientID != again(once).PatientID


def test_patient_characteristics():
    planted = base()
    planted.dataset.PatientAge, planted.dataset.PatientSize, planted.dataset.PatientWeight = "093Y", "1.62", "58"
    planted.dataset.EthnicGroup = "LEAKED"
    without, kept = again(run(planted)), again(run(planted, characteristics=True))
    assert not without.get("PatientAge") and not without.PatientSex and "PatientWeight" not in without
    assert (kept.PatientAge, kept.PatientSex, float(kept.PatientWeight)) == ("090Y", "F", 58.0)
    assert not kept.PatientBirthDate and leftovers(kept) == []


def test_curves_overlays_and_group_lengths_go():
    planted = base()
    dataset = planted.dataset
    for tag, vr, value in (
        (0x60000010, "US", 16), (0x60000050, "SS", [1, 1]), (0x60003000, "OW", b"LEAKOVER"),
        (0x60024000, "LT", "LEAKCOMMENT"), (0x50003000, "OW", b"LEAKCURV"), (0x00080000, "UL", 4),
    ):  # fmt: skip
        dataset.add_new(tag, vr, value)
    after = run(planted)
    assert b"LEAK" not in after
    assert not any(int(tag) >> 24 in (0x60, 0x50) or not int(tag) & 0xFFFF for tag in sorted(again(after).keys()))


def test_an_overlay_inside_the_pixels_is_told():
    planted = base()
    planted.dataset.add_new(0x60000102, "US", 15)
    assert any("unused bits" in warning for warning in clean(as_bytes(planted.dataset), KEY).changes.warnings)


def test_a_known_name_in_an_innocent_place_is_swept_out():
    planted = base()
    planted.dataset.ConvolutionKernel = "kernel of Rosamunde"
    planted.dataset.FilterType = "STRIP"
    door(planted.dataset, "ViewCodeSequence").CodeMeaning = "PA, MRN-0047110815"
    cleaned = clean(as_bytes(planted.dataset), KEY)
    assert not cleaned.dataset.ConvolutionKernel and cleaned.dataset.FilterType == "STRIP"
    assert not cleaned.dataset.ViewCodeSequence[0].CodeMeaning
    assert cleaned.changes.counts["ConvolutionKernel", "emptied, held an identifier"] == 1


def test_attributes_unknown_to_the_standard_cannot_stay():
    planted = base()
    planted.dataset.add_new(0x00181FFE, "LO", "LEAK")  # even group, in no dictionary
    cleaned = clean(as_bytes(planted.dataset), KEY)
    assert b"LEAK" not in encoded(cleaned)
    assert cleaned.changes.counts["attributes unknown to the standard", "removed"] == 1


def test_a_file_without_a_patient_id_counts_by_study():
    one, two, three = base(), base(), base()
    for planted in (one, two, three):
        del planted.dataset.PatientID
    three.dataset.StudyInstanceUID = "1.2.3"
    ids = [clean(as_bytes(planted.dataset), KEY) for planted in (one, two, three)]
    assert ids[0].patient == ids[1].patient != ids[2].patient
    assert any("no patient id" in warning for warning in ids[0].changes.warnings)


def test_without_preamble_and_without_file_header():
    planted = base()
    whole = as_bytes(planted.dataset, ImplicitVRLittleEndian)
    meta_length = int.from_bytes(whole[140:144], "little")
    bare = whole[144 + meta_length :]
    result = again(encoded(clean(bare, KEY)))
    assert result.PixelData == planted.dataset.PixelData and "Zwiebelmann" not in str(result)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a DICOM"), (b"hello" * 100, "not a DICOM"), (b"\0" * 128 + b"DICM", "without a SOP class|damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 200, "not a DICOM"),
    ],
    ids=["empty", "text", "head only", "png"],
)  # fmt: skip
def test_what_is_no_dicom_is_refused(content, why):
    with pytest.raises(ReadError, match=why):
        clean(content, KEY)


@pytest.mark.parametrize(
    ("sop", "why"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "structured report"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "document"),
        ("1.2.840.10008.5.1.4.1.1.66", "raw"),
        ("1.2.840.10008.1.3.10", "DICOMDIR"),
    ],
)
def test_kinds_whose_content_is_text_are_refused(sop, why):
    with pytest.raises(ReadError, match=why):
        clean(as_bytes(base(sop).dataset), KEY)
    assert clean(as_bytes(base("1.2.840.10008.5.1.4.1.1.66.4").dataset), KEY)  # a segmentation is none of these


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_half_a_file_gives_no_identifier_whatever_happens(share):
    planted = base()
    content = as_bytes(planted.dataset)
    try:
        after = encoded(clean(content[: int(len(content) * share)], KEY))
    except ReadError as error:
        assert "Zwiebel" not in str(error)
    else:
        assert found(after, planted.secrets) == []


def test_geometry_and_display_stay():
    planted = base()
    kept = {
        "ImagerPixelSpacing": [0.143, 0.143], "WindowCenter": 2048.0, "WindowWidth": 4096.0, "RescaleSlope": 1.0,
        "ViewPosition": "PA", "ImageLaterality": "R", "PatientOrientation": ["L", "F"], "KVP": 125.0,
        "ImagePositionPatient": [1.0, 2.0, 3.5], "SeriesNumber": 3, "Manufacturer": "Maker", "BurnedInAnnotation": "NO",
    }  # fmt: skip
    for name, value in kept.items():
        setattr(planted.dataset, name, value)
    result = again(run(planted))
    for name, value in kept.items():
        got = result[name].value
        assert (list(got) if isinstance(value, list) else got) == value, name


def test_an_ecg_gives_the_same_signal(tmp_path):
    from medfm.cohorts.synthetic_ecg_files import write_dicom
    from medfm.modalities.registry import read_record

    digits = np.random.default_rng(0).integers(-900, 900, (12, 2500)).astype(np.int16)
    path = write_dicom(tmp_path, "one", digits, 250, 2.5)
    (tmp_path / "clean.dcm").write_bytes(encoded(clean(path.read_bytes(), KEY)))
    one, other = read_record(path, "ecg"), read_record(tmp_path / "clean.dcm", "ecg")
    assert np.array_equal(one.array, other.array) and one.facts["sampling_hz"] == other.facts["sampling_hz"]


@pytest.mark.parametrize(
    ("tag", "vr", "good", "bad"),
    [
        (0x00280008, "IS", b"1 ", b"L!"),
        (0x00281050, "DS", b"12.5", b"ROSA"),
        (0x00080030, "TM", b"083015", b"ROSAMU"),
    ],
    ids=["IS", "DS", "TM"],
)
def test_words_in_the_place_of_numbers_go(tag, vr, good, bad):
    planted = base()
    planted.dataset.add_new(tag, vr, good.decode().strip())
    content = as_bytes(planted.dataset)
    start = tag.to_bytes(4, "big")
    head = start[1::-1] + start[:1:-1] + vr.encode() + len(good).to_bytes(2, "little")
    assert content.count(head + good) == 1
    after = encoded(clean(content.replace(head + good, head + bad), KEY))
    assert bad not in after and head[:4] not in after


def test_a_code_that_is_the_patients_name_goes_but_not_how_pixels_are_read():
    planted = base()
    planted.dataset.PatientName = "Chest^Monochrome2^Primary"
    planted.dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    result = again(run(planted))
    assert not result.BodyPartExamined and result.PhotometricInterpretation == "MONOCHROME2"
    assert list(result.ImageType) == ["ORIGINAL", "PRIMARY"]


def test_pydicoms_reading_is_not_changed_for_the_rest_of_the_process():
    before = pydicom.config.settings.reading_validation_mode
    clean(as_bytes(base().dataset), KEY)
    assert pydicom.config.settings.reading_validation_mode == before
