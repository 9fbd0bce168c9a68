"""P001 and P002: files that say who they are from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image, PngImagePlugin
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medfm.cohorts.checks.identity import check_identity, look
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.synthetic_notice import NOTICE
from medfm.io.deidentify.file import clean, encoded
from medfm.io.deidentify.key import Key


def dicom(path: Path, **values: object) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.4"
    dataset.StudyInstanceUID, dataset.Modality = "1.2.3", "DX"
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def picture(
    path: Path, text: dict[str, str] | None = None, exif: dict[int, str] | None = None, **options: object
) -> Path:
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    if text is not None:
        info = PngImagePlugin.PngInfo()
        for key, value in text.items():
            info.add_text(key, value)
        options["pnginfo"] = info
    if exif is not None:
        tags = Image.Exif()
        for tag, value in exif.items():
            tags[tag] = value
        options["exif"] = tags
    image.save(path, **options)
    return path


def cohort_of(folder: Path, *names: str, synthetic: bool = False) -> Cohort:
    columns = {"record_id": [f"r{i}" for i in range(len(names))], "path": list(names), "patient_id": list(names)}
    table = pd.DataFrame({**columns, "site": None, "split": None}, dtype=object)
    return Cohort(table, "blood_cell", folder, patients_known=True, synthetic=synthetic)


def test_a_header_with_a_name_is_told_without_the_name(tmp_path):
    dicom(tmp_path / "a.dcm", PatientName="Zwiebelmann", PatientID="0815")
    dicom(tmp_path / "b.dcm")
    picture(tmp_path / "c.png")
    findings = {f.code: f for f in check_identity(cohort_of(tmp_path, "a.dcm", "b.dcm", "c.png"))}
    one = findings["P001"]
    assert one.severity == "warning" and one.records == ("r0",) and "1 of 2 DICOM files" in one.detail
    assert "PatientName" in one.detail and "Zwiebelmann" not in str(one) and "deidentify" in one.fix
    assert findings["P002"].severity == "passed" and "1 other file" in findings["P002"].detail


def test_after_cleaning_it_passes(tmp_path):
    path = dicom(
        tmp_path / "a.dcm", PatientName="Zwiebelmann", PatientID="0815", StudyDescription="x", StudyDate="20200101"
    )
    assert look(path)[0] == "dicom" and look(path)[1]
    path.write_bytes(encoded(clean(path.read_bytes(), Key(b"0123456789abcdef"))))
    assert look(path) == ("dicom", [])
    assert [f.severity for f in check_identity(cohort_of(tmp_path, "a.dcm"))] == ["passed", "passed"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ({"Comment": "Zwiebelmann"}, ["PNG text 'Comment'"]),
        ({"Software": "gimp"}, []),
        ({"Zwiebelmann": "x"}, ["PNG text, own keyword"]),
        ({"Author": "x", "Title": "y" * 5000}, ["PNG text 'Author'", "PNG text 'Title'"]),
        (None, []),
    ],
    ids=["comment", "software", "own", "two", "none"],
)
def test_texts_in_png(tmp_path, text, names):
    assert look(picture(tmp_path / "a.png", text)) == ("picture", names)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_exif(tmp_path, name):
    assert look(picture(tmp_path / name, exif={315: "Doctor Z", 305: "camera software"})) == (
        "picture",
        ["Artist (EXIF)"],
    )
    assert look(picture(tmp_path / name, exif={305: "camera software"})) == ("picture", [])


def test_a_comment_in_a_jpeg(tmp_path):
    assert look(picture(tmp_path / "a.jpg", comment=b"Zwiebelmann")) == ("picture", ["JPEG comment"])
    assert look(picture(tmp_path / "b.jpg", comment=b"CREATOR: gd-jpeg v1.0")) == ("picture", [])
    findings = {f.code: f for f in check_identity(cohort_of(tmp_path, "a.jpg"))}
    assert findings["P002"].severity == "warning" and "JPEG comment (1)" in findings["P002"].detail


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ('{"shape": [40, 40, 3]}', []),
        ('{"shape": [40, 40, 3], "patient": "Muster"}', ["ImageDescription (EXIF)"]),
        (NOTICE, []),
        (f"Anna Muster {NOTICE}", ["ImageDescription (EXIF)"]),
        ("Anna Muster", ["ImageDescription (EXIF)"]),
    ],
)
def test_a_description_that_is_only_a_shape_or_our_notice_names_nobody(tmp_path, description, found):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 40, 3), np.uint16), description=description, metadata=None)
    assert look(tmp_path / "a.tif") == ("picture", found)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0" * 128 + b"DICM", b"some text"])
def test_damaged_files_are_the_business_of_other_checks(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert look(tmp_path / "a")[1] == []
    assert look(tmp_path / "absent") == ("none", [])


def test_a_file_without_its_preamble_is_looked_into(tmp_path):
    path = dicom(tmp_path / "a.dcm", PatientName="Zwiebelmann")
    path.write_bytes(path.read_bytes()[132:])
    assert look(path) == ("dicom", ["PatientName"])
    # Numbers that begin as such a file does are none.
    path.write_bytes(bytes([8, 0, 5, 0]) + bytes(range(256)) * 4)
    assert look(path) == ("other", [])


def test_a_header_that_cannot_be_parsed_is_no_proof(tmp_path):
    path = dicom(tmp_path / "a.dcm", PatientName="Zwiebelmann")
    data = path.read_bytes()
    at = data.index(b"Zwiebelmann") - 2
    path.write_bytes(data[:at] + b"\xff\x7f" + data[at + 2 :])  # a length beyond the end of the file
    kind, names = look(path)
    assert kind == "dicom" and names and "Zwiebelmann" not in str(names)


def test_a_folder_is_looked_into_and_one_file_only_once(tmp_path):
    (tmp_path / "series").mkdir()
    dicom(tmp_path / "series" / "1.dcm")
    dicom(tmp_path / "series" / "2.dcm", PatientID="0815")
    cohort = cohort_of(tmp_path, "series", "series")
    finding = next(iter(check_identity(cohort)))
    assert "1 of 2 DICOM files" in finding.detail and finding.records == ("r0",)


def test_synthetic_cohorts_pass(tmp_path):
    dicom(tmp_path / "a.dcm", PatientID="0815")
    cohort = cohort_of(tmp_path, "a.dcm", synthetic=True)
    assert [(f.code, f.severity) for f in check_identity(cohort)] == [("P001", "passed"), ("P002", "passed")]


@pytest.mark.parametrize(
    ("text", "severity"), [({"Comment": "x"}, "warning"), ({"date:create": "x"}, "info")], ids=["comment", "time"]
)
def test_the_option_makes_it_an_error(tmp_path, text, severity):
    from medfm.workflows.data import check

    picture(tmp_path / "a.png", text)
    (tmp_path / "labels.csv").write_text("path\na.png\n")
    by_code = [
        {f.code: f.severity for f in check(tmp_path / "labels.csv", deidentified=on).findings} for on in (False, True)
    ]
    assert [found["P002"] for found in by_code] == [severity, "error"]
    report = check(tmp_path / "labels.csv", deidentified=True)
    assert not report.ok and report.findings[0].severity == "error"
