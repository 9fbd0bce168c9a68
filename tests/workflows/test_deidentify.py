"""``medfm data deidentify`` from folder to folder: places, resuming, reports, links, the shell."""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medfm.cli.main import main
from medfm.core.errors import ConfigError, MedfmError, ReadError, StoreError
from medfm.core.progress import Silent
from medfm.io.deidentify import file as file_module
from medfm.workflows.deidentify import REPORT, TABLE, Report, deidentify

SECRETS = ("zwiebelmann", "mrn-4711", "schmidtchen", "mrn-4712", "19470815", "1.2.3.4")


def dicom(path: Path, patient: str = "MRN-4711", number: int = 1, **values: object) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", f"1.2.3.4.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4.50", "1.2.3.4.51"
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = patient, "Zwiebelmann^R", "19470815"
    dataset.StudyDate, dataset.Modality = f"202603{number:02d}", "DX"
    for name, value in values.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Four files of two patients, one copy, one text and one structured report."""
    source = tmp_path / "Zwiebelmann Rosamunde"
    for number in (1, 2):
        dicom(source / "a" / f"MRN-4711_{number}.dcm", number=number)
    dicom(source / "b" / "three", "MRN-4712", 3, PatientName="Schmidtchen", BurnedInAnnotation="YES")
    dicom(source / "b" / "report.dcm", number=9, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    (source / "copy.dcm").write_bytes((source / "a" / "MRN-4711_1.dcm").read_bytes())
    (source / "notes.txt").write_text("Zwiebelmann")
    (source / ".hidden").write_text("Zwiebelmann")
    return source


def go(source: Path, **options: object) -> Report:
    return deidentify(source, source.parent / "out", source.parent / "keys" / "a.key", **options)


def table(out: Path) -> list[dict[str, str]]:
    with (out / TABLE).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def everything(out: Path) -> bytes:
    """All bytes and all names below a folder, in small letters."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    names = "\n".join(str(path.relative_to(out)) for path in files).encode()
    return (names + b"".join(path.read_bytes() for path in files)).lower()


def test_a_folder_from_end_to_end(hospital):
    report = go(hospital)
    assert (report.written, report.before, report.patients, report.complete) == (3, 1, 2, True)
    assert report.refused == {"not a DICOM file": 1, "a structured report: its content is text": 1}
    assert report.burned_in == {"the header says that text is burned in": 1} and report.key_made
    rows = table(report.out)
    assert len(rows) == 3 and len({row["patient_id"] for row in rows}) == 2
    for row in rows:
        dataset = pydicom.dcmread(report.out / row["path"])
        assert (dataset.PatientID, dataset.StudyInstanceUID) == (row["patient_id"], row["study_id"])
        assert row["path"].startswith(row["patient_id"] + "/") and row["dicom_modality"] == "DX"
    content = everything(report.out)
    assert [word for word in SECRETS if word.encode() in content] == []
    key = (hospital.parent / "keys" / "a.key").read_text().strip()
    assert key.encode() not in content


def test_the_report_counts_and_names_no_value(hospital):
    report = go(hospital)
    saved = json.loads((report.out / REPORT).read_text())
    assert saved["changes"]["PatientID"] == {"replaced": 3} and saved["changes"]["StudyDate"] == {"date shifted": 3}
    assert saved["changes"]["PatientBirthDate"] == {"emptied": 3} and saved["counted_below"] == 3
    assert saved["refused"] == dict(report.refused) and saved["complete"] is True
    assert any("burned into pixels" in line for line in saved["not_done"])
    assert {"written", "there_already", "patients", "warnings"} <= set(saved)


def test_intervals_within_a_patient_stay(hospital):
    rows = table(go(hospital).out)
    days = {}
    for row in rows:
        dataset = pydicom.dcmread(hospital.parent / "out" / row["path"])
        days.setdefault(row["patient_id"], []).append(int(dataset.StudyDate))
    several = next(found for found in days.values() if len(found) == 2)
    assert abs(several[0] - several[1]) == 1 or abs(several[0] - several[1]) > 68  # over the end of a month


def test_a_second_run_does_nothing_again(hospital):
    first = go(hospital)
    stamps = {path: path.stat().st_mtime_ns for path in first.out.rglob("*.dcm")}
    before = table(first.out)
    second = go(hospital)
    assert (second.written, second.before, second.counted) == (0, 4, 3) and not second.key_made
    assert second.changes == first.changes
    assert {path: path.stat().st_mtime_ns for path in first.out.rglob("*.dcm")} == stamps
    assert table(first.out) == before


class Stops(Silent):
    """Ends the run at the second file, as Ctrl-C would."""

    def advance(self, count: int = 1, note: str = "") -> None:
        super().advance(count, note)
        if self.done == 2:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on(hospital):
    with pytest.raises(KeyboardInterrupt):
        go(hospital, progress=Stops)
    out = hospital.parent / "out"
    saved = json.loads((out / REPORT).read_text())
    assert saved["complete"] is False and saved["written"] == 1 and len(table(out)) == 1
    (out / TABLE).unlink()  # as after a crash that left no time for the table
    report = go(hospital)
    assert report.complete and report.written == 2 and report.counted == 3
    rows = table(out)
    whole = deidentify(hospital, hospital.parent / "whole", hospital.parent / "keys" / "a.key")
    keep = ("path", "patient_id", "study_id", "series_id", "dicom_modality")
    assert [[row[k] for k in keep] for row in rows] == [[row[k] for k in keep] for row in table(whole.out)]
    files = {path.name: path.read_bytes() for path in out.rglob("*.dcm")}
    assert files == {path.name: path.read_bytes() for path in whole.out.rglob("*.dcm")}
    assert report.changes == whole.changes


def test_a_later_delivery_fits_the_earlier_one(hospital):
    first = go(hospital)
    dicom(hospital / "new" / "late.dcm", number=7)
    second = go(hospital)
    assert second.written == 1 and second.patients == first.patients == 2
    rows = table(first.out)
    assert len(rows) == 4 and len({row["study_id"] for row in rows}) == 1


def test_the_link_table_is_for_the_owner_alone(hospital):
    link = hospital.parent / "mine" / "link.csv"
    go(hospital, link=link)
    with link.open(encoding="utf-8", newline="") as handle:
        rows = {row["source"]: row for row in csv.DictReader(handle)}
    assert rows["a/MRN-4711_1.dcm"]["old_patient_id"] == "MRN-4711" and rows["notes.txt"]["state"] == "not a DICOM file"
    assert rows["copy.dcm"]["path"] == rows["a/MRN-4711_1.dcm"]["path"]
    known = {row["path"]: row["patient_id"] for row in table(hospital.parent / "out")}
    assert all(known[row["path"]] == row["patient_id"] for row in rows.values() if row["state"] == "written")
    if os.name != "nt":
        assert stat.S_IMODE(link.stat().st_mode) == 0o600
    text = link.read_text()
    go(hospital, link=link)  # also of files that were there already
    assert link.read_text() == text


def test_two_people_of_one_id_are_told(hospital):
    dicom(hospital / "b" / "four", "MRN-4711", 4, PatientBirthDate="19990101")
    assert "one patient id with different birth dates or sexes: perhaps two people" in go(hospital).warnings


@pytest.mark.parametrize("where", [".", "inside", ".."])
def test_output_and_source_never_mix(hospital, where):
    before = everything(hospital)
    with pytest.raises(ConfigError, match="lies in the source, or the source in the output"):
        deidentify(hospital, hospital / where, hospital.parent / "a.key")
    assert everything(hospital) == before and not (hospital.parent / "a.key").exists()


def test_a_link_to_the_source_is_seen_through(hospital, tmp_path):
    (tmp_path / "door").symlink_to(hospital)
    with pytest.raises(ConfigError, match="source"):
        deidentify(hospital, tmp_path / "door" / "out", tmp_path / "a.key")


@pytest.mark.parametrize("what", ["key", "link"])
def test_secrets_do_not_lie_in_the_output(hospital, what):
    out = hospital.parent / "out"
    options = {"link": out / "sub" / "link.csv"} if what == "link" else {}
    key = out / "a.key" if what == "key" else hospital.parent / "a.key"
    with pytest.raises(ConfigError, match="lies in the output"):
        deidentify(hospital, out, key, **options)
    assert not out.exists()


def test_another_key_or_other_options_need_another_folder(hospital):
    report = go(hospital)
    for key, options in (("b.key", {}), ("keys/a.key", {"characteristics": True})):
        with pytest.raises(StoreError, match="another key or other options"):
            deidentify(hospital, report.out, hospital.parent / key, **options)


def test_a_folder_with_other_things_is_left_alone(hospital):
    out = hospital.parent / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("x")
    with pytest.raises(StoreError, match="other files"):
        go(hospital)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": 3}'])
def test_a_damaged_report_of_an_earlier_run(hospital, text):
    out = hospital.parent / "out"
    out.mkdir()
    (out / REPORT).write_text(text)
    with pytest.raises(StoreError, match="cannot be read"):
        go(hospital)


def test_one_file_and_no_file(hospital, tmp_path):
    report = deidentify(hospital / "b" / "three", tmp_path / "one", tmp_path / "a.key")
    assert report.written == 1 and not report.refused
    with pytest.raises(ReadError, match="no such file or folder"):
        deidentify(tmp_path / "absent", tmp_path / "x", tmp_path / "a.key")


def test_a_folder_without_files_leaves_nothing_behind(hospital, tmp_path):
    empty = tmp_path / "empty" / "inner"
    empty.mkdir(parents=True)
    (empty / ".hidden").write_bytes(b"x")
    (empty / "link.dcm").symlink_to("link.dcm")
    with pytest.raises(ReadError, match="no file in this folder"):
        deidentify(tmp_path / "empty", tmp_path / "none", tmp_path / "none.key")
    assert not (tmp_path / "none").exists() and not (tmp_path / "none.key").exists()


@pytest.mark.parametrize("place", ["source", "out", "key"])
def test_links_that_lead_to_each_other(hospital, tmp_path, place):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    loop = tmp_path / "a"
    given = {"source": hospital, "out": tmp_path / "o", "key": tmp_path / "k.key", place: loop}
    with pytest.raises(MedfmError):
        deidentify(given["source"], given["out"], given["key"])


def test_links_are_not_followed(hospital, tmp_path):
    elsewhere = dicom(tmp_path / "elsewhere" / "x.dcm", "MRN-9", 20)
    (hospital / "link.dcm").symlink_to(elsewhere)
    (hospital / "folder").symlink_to(elsewhere.parent)
    assert go(hospital).written == 3


def test_something_left_over_is_refused_and_not_written(hospital, monkeypatch):
    monkeypatch.setattr(file_module, "leftovers", lambda dataset: ["PatientComments"])
    report = go(hospital)
    assert report.written == 0 and not list(report.out.rglob("*.dcm"))
    assert report.refused["something identifying would have been left: PatientComments"] == 4


def test_nothing_half_written(hospital, monkeypatch):
    def full(self: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileDataset, "save_as", full)
    with pytest.raises(StoreError, match="disk is full"):
        go(hospital)
    out = hospital.parent / "out"
    assert [path.name for path in out.rglob("*") if path.is_file()] == [REPORT, TABLE] or not list(out.rglob("*.dcm"))
    assert not list(out.rglob("*.tmp"))


def shell(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["data", *map(str, arguments)])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def test_from_the_shell(hospital, capsys, tmp_path):
    arguments = ("deidentify", hospital, "--out", tmp_path / "o", "--key", tmp_path / "k")
    code, out, _ = shell(capsys, *arguments)
    assert code == 1  # two files were refused
    for words in (
        "A new key was made",
        "refused: 1 x not a DICOM file",
        "3 files written, 1 were there already; 2 patients",
    ):
        assert words in out
    assert "Zwiebelmann^" not in out and "MRN" not in out
    code, out, _ = shell(capsys, *arguments, "--json")
    found = json.loads(out)
    assert code == 1 and found["there_already"] == 4 and found["key_made"] is False
    code, _, err = shell(capsys, "deidentify", hospital, "--out", hospital / "x", "--key", tmp_path / "k")
    assert code == 2 and "lies in the source" in err and "Traceback" not in err
    code, _, err = shell(capsys, "check", tmp_path / "o" / TABLE, "--deidentified", "--quick")
    assert code == 2 and "leave --quick out" in err
