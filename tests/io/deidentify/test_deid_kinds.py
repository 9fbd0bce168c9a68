"""De-identification of other kinds of values and objects: several values, series, colours, Unicode, odd characters."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from planted_dicom import XRAY, again, as_bytes, base, door
from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import JPEGBaseline8Bit

from medfm.core.errors import ReadError
from medfm.io.deidentify.clean import Cleaner, mark
from medfm.io.deidentify.file import clean, encoded, write
from medfm.io.deidentify.key import Key
from medfm.io.deidentify.leftovers import leftovers

KEY = Key(b"a secret of 24 characters")
MR = "1.2.840.10008.5.1.4.1.1.4"


def cleaned(dataset: Dataset) -> Dataset:
    return again(encoded(clean(as_bytes(dataset), KEY)))


def slices(folder: Path) -> list[Path]:
    """Five slices of a head, 3 mm apart, turned out of the axes."""
    folder.mkdir()
    paths = []
    values = np.random.default_rng(0).integers(0, 900, (5, 24, 20)).astype(np.uint16)
    for number, plane in enumerate(values):
        dataset = base(MR).dataset
        dataset.Modality, dataset.SOPInstanceUID, dataset.InstanceNumber = "MR", f"1.2.3.{number}", number + 1
        dataset.Rows, dataset.Columns, dataset.PixelData = 24, 20, plane.tobytes()
        dataset.ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]
        dataset.ImagePositionPatient = [-10.5, -20.25, 3.0 * number]
        dataset.PixelSpacing, dataset.SliceThickness = [1.5, 1.25], 3.0
        dataset.ImageType, dataset.FrameOfReferenceUID = ["ORIGINAL", "PRIMARY"], "1.2.3.99"
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(as_bytes(dataset))
    return paths


def test_a_series_stays_a_series_with_its_geometry(tmp_path):
    from medfm.modalities.registry import read_record

    paths = slices(tmp_path / "before")
    for path in paths:
        one = clean(path.read_bytes(), KEY)
        write(one, tmp_path / "after" / f"{KEY.name(path.read_bytes())}.dcm")
    before, after = (read_record(tmp_path / name, "brain_mri") for name in ("before", "after"))
    assert np.array_equal(before.array, after.array)
    np.testing.assert_array_equal(before.facts["affine"], after.facts["affine"])


def test_several_values_in_one_attribute():
    dataset = base().dataset
    dataset.add_new(0x00080058, "UI", ["1.2.3.4", "1.2.840.10008.1.2.1", "1.2.3.5"])  # FailedSOPInstanceUIDList
    dataset.PerformingPhysicianName = ["One^A", "Two^B"]
    dataset.DateOfSecondaryCapture = "20200101"
    dataset.add_new(0x00181200, "DA", ["20260301", "20260305"])  # dates of last calibration
    result = cleaned(dataset)
    uids = [str(uid) for uid in result[0x00080058].value]
    assert uids[0] == KEY.uid("1.2.3.4") and uids[1] == "1.2.840.10008.1.2.1" and uids[2] == KEY.uid("1.2.3.5")
    days = result[0x00181200].value
    assert isinstance(days, MultiValue) and len(days) == 2 and int(days[1]) != 20260305
    assert "One" not in str(result) and "Two" not in str(result)


@pytest.mark.parametrize("name", ["Müller^Jörg", "山田^太郎", "Иванов^Иван", "O'Brien^Pat\\Second^Name"])
def test_names_in_any_script(name):
    dataset = base().dataset
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = dataset.PatientMotherBirthName = name
    dataset.ConvolutionKernel = name.split("^")[0]
    dataset.ContentCreatorName = name
    after = encoded(clean(as_bytes(dataset), KEY))
    for part in name.replace("\\", "^").split("^"):
        if len(part) >= (4 if part.isascii() else 2):
            assert part.encode() not in after
    assert leftovers(again(after)) == []


def test_empty_values_and_empty_sequences_stay_quiet():
    dataset = base().dataset
    dataset.StudyDate = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.FrameOfReferenceUID = ""
    dataset.ViewCodeSequence = []
    one = clean(as_bytes(dataset), KEY)
    assert ("AccessionNumber", "emptied") not in one.changes.counts and not one.dataset.StudyDate
    assert len(one.dataset.ViewCodeSequence) == 0 and not one.dataset.FrameOfReferenceUID


def test_colour_screens_are_cleaned_and_suspected():
    dataset = base("1.2.840.10008.5.1.4.1.1.7").dataset
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.Rows, dataset.Columns = 7, 10, 10
    dataset.PixelData = bytes(range(100)) * 3
    one = clean(as_bytes(dataset), KEY)
    assert "secondary capture" in str(one.burned_in) and one.dataset.PixelData == dataset.PixelData


def test_dates_at_every_depth_move_by_the_same_days():
    dataset = base().dataset
    item = door(door(dataset, "ReferencedSeriesSequence"), "ViewCodeSequence")
    item.StudyDate = "20260301"
    result = cleaned(dataset)
    assert result.ReferencedSeriesSequence[0].ViewCodeSequence[0].StudyDate == result.StudyDate != "20260301"


def test_ids_of_the_patient_at_every_depth_become_the_new_one():
    dataset = base().dataset
    door(dataset, "ReferencedSeriesSequence").PatientID = "MRN-0047110815"
    result = cleaned(dataset)
    assert result.ReferencedSeriesSequence[0].PatientID == result.PatientID == KEY.patient("id|MRN-0047110815")


def test_a_cleaner_counts_what_it_does():
    dataset = base().dataset
    cleaner = Cleaner(KEY, "id|x")
    cleaner.clean(dataset)
    counts = cleaner.changes.counts
    assert counts["StudyInstanceUID", "new UID"] == counts["StudyDate", "date shifted"] == 1
    assert counts["PatientID", "replaced"] == 1 and not cleaner.changes.warnings
    assert "PatientIdentityRemoved" not in dataset
    cleaner.finish(dataset)
    mark(dataset, False)  # saying it twice changes nothing
    assert dataset.PatientIdentityRemoved == "YES" and len(dataset.DeidentificationMethodCodeSequence) == 2
    assert len(dataset.DeidentificationMethod) <= 64


def _value(tag: int, vr: str) -> Any:
    """The patient's name, a date or an id in the form of this kind of value; ``None`` for numbers."""
    if vr in ("AE", "CS", "SH"):
        return "ZWIEBELMANN"
    if vr in ("LO", "LT", "ST", "UT", "UC", "PN", "UR"):
        return "see Zwiebelmann, MRN-0047110815"
    if vr in ("OB", "OW", "UN", "OF", "OD", "OL", "OV"):
        return b"\1\2ZwiebelmannQXY"
    return {"UI": f"1.2.826.77.{tag}", "DA": "20200229", "DT": "20200229101112", "AS": "047Y", "TM": "101112"}.get(vr)


def test_the_name_in_every_element_of_the_dictionary_is_in_none_afterwards():
    """Thousands of elements, also those that the profile does not name, with nested items and groups that repeat."""
    planted = base()
    dataset, kept = planted.dataset, {"SOPClassUID", "SpecificCharacterSet", "PatientIdentityRemoved"}
    tags = [(tag, entry[0], entry[4]) for tag, entry in DicomDictionary.items()]
    tags += [(int(mask.lower().replace("x", "0"), 16), entry[0], "") for mask, entry in RepeatersDictionary.items()]
    number = 0
    for tag, kind, keyword in tags:
        vr = kind.split(" ")[0]
        if tag >> 16 in (0, 2, 4, 0xFFFE, 0x7FE0) or tag & 0xFFFF == 0 or keyword in kept or tag in dataset:
            continue
        if vr == "SQ":
            inner = Dataset()
            inner.TextValue, inner.PersonName, inner.UID = "Zwiebelmann", "Zwiebelmann^R", "1.2.826.77.1"
            inner.add_new(0x00110010, "LO", "Zwiebelmann")
            dataset.add_new(tag, "SQ", [inner])
        elif (value := _value(tag, vr)) is not None:
            dataset.add_new(tag, vr, value)
        number += 1
    assert number > 3500
    data = as_bytes(dataset)
    assert (
        data.lower().count(b"zwiebelmann") > 3000 and data.count(b"20200229") > 100 and data.count(b"1.2.826.77.") > 50
    )
    out = encoded(clean(data, KEY))
    for secret in (b"zwiebelmann", b"rosamunde", b"mrn-0047110815", b"20200229", b"1.2.826.77."):
        assert secret not in out.lower(), secret
    result = pydicom.dcmread(io.BytesIO(out))
    assert (
        result.SOPClassUID == XRAY
        and result.Rows == 16
        and result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    )


@pytest.mark.parametrize(
    ("uid", "stays"),
    [
        ("1.2.840.10008.5.1.4.1.1.1.1", True),
        ("1.2.840.10008.5.1.4.1.1.999", True),
        ("1.2.840.10008.20200229101112.4711.1", False),
        ("1.2.840.10008.Zwiebelmann", False),
        ("1.2.840.10009.1", False),
        ("1.2.840.10008.1.5.1", True),
    ],
)
def test_only_what_is_written_as_a_uid_of_the_standard_stays(uid, stays):
    planted = base()
    planted.dataset.add_new(0x00081150, "UI", uid)
    result = pydicom.dcmread(io.BytesIO(encoded(clean(as_bytes(planted.dataset), KEY))))
    assert (result.ReferencedSOPClassUID == uid) is stays and (
        stays or result.ReferencedSOPClassUID.startswith("2.25.")
    )


def test_terms_that_say_how_pixels_are_read_stay_and_other_words_there_go():
    planted = base()
    planted.dataset.PatientName = "Color^Linear^Zwiebelmann"
    planted.dataset.VOILUTFunction, planted.dataset.PixelIntensityRelationship = "LINEAR", "ZWIEBELMANN"
    planted.dataset.ImageType = ["ORIGINAL", "ZWIEBELMANN"]
    planted.dataset.SpecificCharacterSet = "ISO_IR 100"
    result = pydicom.dcmread(io.BytesIO(encoded(clean(as_bytes(planted.dataset), KEY))))
    assert result.VOILUTFunction == "LINEAR" and result.PhotometricInterpretation == "MONOCHROME2"
    assert (
        not result.PixelIntensityRelationship and not result.ImageType and result.SpecificCharacterSet == "ISO_IR 100"
    )


@pytest.mark.parametrize(("text", "refused"), [(b"by ZWIEBELMANN", True), (b"Lavc 58", False)])
def test_a_name_in_a_comment_of_compressed_pixels_is_refused(text, refused):
    import imagecodecs
    from pydicom.encaps import encapsulate

    planted = base()
    stream = imagecodecs.jpeg8_encode(np.zeros((16, 20), np.uint8))
    comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    dataset = planted.dataset
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = encapsulate([stream[:2] + comment + stream[2:]])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    data = as_bytes(dataset, JPEGBaseline8Bit)
    if refused:
        with pytest.raises(ReadError, match="comment of the compressed pixels"):
            clean(data, KEY)
    else:
        assert text in encoded(clean(data, KEY))


@pytest.mark.parametrize("vr", ["LO", "UT", "SH", "UN", "OB"])
@pytest.mark.parametrize("name", ["PatientName", "PatientID", "OperatorsName"])
def test_a_name_with_a_wrong_value_representation_is_still_known(vr, name):
    dataset = base().dataset
    dataset.PatientName = dataset.PatientID = "X"
    value = b"Quittenbaum " if vr in ("UN", "OB") else "Quittenbaum"
    element = DataElement(name, "OB" if vr in ("UN", "OB") else "LO", value)
    element.VR = vr
    dataset[name] = element
    dataset.ProtocolName, dataset.ConvolutionKernel = "for quittenbaum", "kept"
    out = encoded(clean(as_bytes(dataset), KEY))
    assert b"quittenbaum" not in out.lower() and b"kept" in out


def test_a_directory_of_other_files_is_called_by_its_name():
    place = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "DICOMDIR"
    with pytest.raises(ReadError, match="DICOMDIR"):
        clean(place.read_bytes(), KEY)
