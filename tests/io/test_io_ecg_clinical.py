"""DICOM, HL7 aECG, MUSE XML and EDF: real files, written ones, variants and damage."""

from pathlib import Path

import ecg_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.modalities.registry import read_record

VALUES = ecg_files.digital()
MILLIVOLT = (VALUES / 1000).astype(np.float32)
LEADS = ecg_files.LEADS


def group(values: np.ndarray = VALUES, **more: object) -> dict:
    return {"values": values, **more}


# One recording of the HL7 specification in two carriers.
def test_one_real_recording_is_equal_in_aecg_and_dicom(ecg: Path) -> None:
    one = read_record(ecg / "formats" / "hl7_sample_aecg.xml", "ecg")
    two = read_record(ecg / "formats" / "hl7_sample_dicom.dcm", "ecg")
    assert one.array.shape == (12, 5000)
    assert one.facts["sampling_hz"] == two.facts["sampling_hz"] == 500
    assert np.array_equal(one.array, two.array)
    # First digits of lead I in the XML: -2, at 2.5 uV.
    assert one.array[0, 0] == np.float32(-2 * 2.5 * 1e-3)
    assert one.facts["missing"] == two.facts["missing"] == []
    assert two.facts["padding_ignored"] is True


def test_the_rhythm_of_a_real_dicom_file_equals_pydicom(ecg: Path) -> None:
    import pydicom

    file = ecg / "formats" / "mortara_12lead_waveform.dcm"
    record = read_record(file, "ecg")
    assert record.array.shape == (12, 10_000)
    assert record.facts["multiplex_groups"] == 2
    np.testing.assert_allclose(record.array, pydicom.dcmread(file).waveform_array(0).T / 1000, rtol=1e-6, atol=1e-9)


def test_a_real_muse_file(ecg: Path) -> None:
    record = read_record(ecg / "formats" / "muse_resting.xml", "ecg")
    assert record.array.shape == (12, 5000)  # not the 600 samples of the median beat
    assert record.facts["derived_leads"] == ["III", "aVR", "aVL", "aVF"]
    counts = record.array[0] / 4.88e-3
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "words"),
    [*((kind, True) for kind in ("SS", "US", "SL", "UL", "SB", "UB")), ("SB", False), ("UB", False)],
)
@pytest.mark.parametrize("big", [False, True])
def test_sample_kinds_and_byte_orders(tmp_path: Path, kind: str, words: bool, big: bool) -> None:
    """8-bit samples lie in bytes or in words; in words of a big-endian file the pairs are turned."""
    small = VALUES // 8 if kind[1] == "B" else VALUES
    stored = small.astype(np.int64) + ({"B": 128, "S": 32768, "L": 1 << 31}[kind[1]] if kind[0] == "U" else 0)
    offset = {"UB": -128, "US": -32768, "UL": -(1 << 31)}.get(kind, 0)
    scale = "8" if kind[1] == "B" else "1"
    baseline = str(offset * int(scale))
    file = ecg_files.write_dicom(
        tmp_path / "a.dcm", [group(stored, kind=kind, words=words, sensitivity=scale, baseline=baseline)], big=big
    )
    np.testing.assert_allclose(read_record(file, "ecg").array, small * int(scale) / 1000, atol=1e-6)


def test_companded_samples_are_refused_by_name(tmp_path: Path) -> None:
    import pydicom

    file = ecg_files.write_dicom(tmp_path / "a.dcm", [group(VALUES // 8, kind="SB")])
    for kind in ("MB", "AB"):
        dataset = pydicom.dcmread(file)
        dataset.WaveformSequence[0].WaveformSampleInterpretation = kind
        dataset.save_as(tmp_path / "b.dcm")
        with pytest.raises(ReadError, match=f"of kind '{kind}' are not read"):
            read_record(tmp_path / "b.dcm", "ecg")


def test_sensitivity_correction_baseline_and_unit(tmp_path: Path) -> None:
    file = ecg_files.write_dicom(
        tmp_path / "a.dcm", [group(sensitivity="0.002", correction="1.5", baseline="0.25", unit="mV")]
    )
    np.testing.assert_allclose(read_record(file, "ecg").array, VALUES * 0.003 + 0.25, rtol=1e-5, atol=1e-6)


def test_padding_is_missing_unless_it_is_the_zero_line(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[:, 680:] = -32768
    record = read_record(ecg_files.write_dicom(tmp_path / "a.dcm", [group(values, padding=-32768)]), "ecg")
    assert record.facts["missing"] == [(lead, 680, 700) for lead in LEADS]
    record = read_record(ecg_files.write_dicom(tmp_path / "b.dcm", [group(padding=0)]), "ecg")
    assert record.facts["missing"] == []


def test_the_median_beat_is_never_taken(tmp_path: Path) -> None:
    beat, derived = group(VALUES[:, :300], label="MEDIAN BEAT"), group(np.tile(VALUES, 2), originality="DERIVED")
    file = ecg_files.write_dicom(tmp_path / "a.dcm", [beat, derived, group()])
    np.testing.assert_allclose(read_record(file, "ecg").array, MILLIVOLT, atol=1e-6)
    with pytest.raises(ReadError, match="only derived"):
        read_record(ecg_files.write_dicom(tmp_path / "b.dcm", [beat, derived]), "ecg")


def test_general_ecg_with_leads_in_several_groups(tmp_path: Path) -> None:
    parts = [group(VALUES[k : k + 3], names=LEADS[k : k + 3]) for k in (0, 3, 6, 9)]
    file = ecg_files.write_dicom(tmp_path / "a.dcm", parts, sop="1.2.840.10008.5.1.4.1.1.9.1.2")
    record = read_record(file, "ecg")
    np.testing.assert_allclose(record.array, MILLIVOLT, atol=1e-6)
    assert record.facts["sop_class"] == "general"


def test_a_longer_strip_of_one_lead_is_not_the_recording(tmp_path: Path) -> None:
    strip = group(np.tile(VALUES[1:2], 3), names=["II"])
    file = ecg_files.write_dicom(tmp_path / "a.dcm", [strip, group()])
    np.testing.assert_allclose(read_record(file, "ecg").array, MILLIVOLT, atol=1e-6)


def test_a_second_version_of_the_same_leads_is_left_out(tmp_path: Path) -> None:
    file = ecg_files.write_dicom(tmp_path / "a.dcm", [group(), group(VALUES // 2, label="FILTERED")])
    np.testing.assert_allclose(read_record(file, "ecg").array, MILLIVOLT, atol=1e-6)


def test_ambulatory_with_three_channels(tmp_path: Path) -> None:
    file = ecg_files.write_dicom(
        tmp_path / "a.dcm",
        [group(VALUES[[0, 1, 10]], names=["I", "II", "V5"], rate=128)],
        sop="1.2.840.10008.5.1.4.1.1.9.1.3",
    )
    record = read_record(file, "ecg")
    assert record.facts["sampling_hz"] == 128
    assert record.facts["absent_leads"] == ["V1", "V2", "V3", "V4", "V6"]


@pytest.mark.parametrize("scheme", ["SCPECG", "MDC"])
def test_coded_leads(tmp_path: Path, scheme: str) -> None:
    codes = dict(zip(LEADS, [1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8], strict=True))
    prefix = "5.6.3-9-" if scheme == "SCPECG" else "2:"
    order = [5, 3, 1, 0, 2, 4, 11, 10, 9, 8, 7, 6]
    file = ecg_files.write_dicom(
        tmp_path / "a.dcm",
        [
            group(
                VALUES[order],
                names=[LEADS[i] for i in order],
                code=lambda n: (f"{prefix}{codes[n]}", scheme, "some lead"),
            )
        ],
    )
    np.testing.assert_allclose(read_record(file, "ecg").array, MILLIVOLT, atol=1e-6)


def test_dicom_that_is_wrong(tmp_path: Path) -> None:
    cases = [
        ([group(promised=701)], {}, "cut off: the header promises 16824 bytes, the file holds 16800"),
        ([group()], {"sop": "1.2.840.10008.5.1.4.1.1.9.4.1"}, "not an ECG"),
        ([], {}, "no waveform"),
        ([group(names=LEADS[:11])], {}, "not described"),
        ([group(sensitivity=None)], {}, "does not say in which unit"),
        ([group(unit="mm[Hg]")], {}, "no voltage"),
    ]
    for number, (groups, more, words) in enumerate(cases):
        file = ecg_files.write_dicom(tmp_path / f"{number}.dcm", groups, **more)
        with pytest.raises(ReadError, match=words):
            read_record(file, "ecg")


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    samples=st.integers(200, 900),
    carrier=st.sampled_from(["muse", "aecg", "dicom", "edf", "wfdb"]),
)
def test_every_carrier_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, seed: int, samples: int, carrier: str
) -> None:
    folder = tmp_path_factory.mktemp("carrier")
    values = ecg_files.digital(seed, samples)
    if carrier == "muse":
        file = ecg_files.write_muse(folder / "a.xml", values, LEADS)
    elif carrier == "aecg":
        file = ecg_files.write_aecg(folder / "a.xml", values, LEADS)
    elif carrier == "dicom":
        file = ecg_files.write_dicom(folder / "a.dcm", [group(values)])
    elif carrier == "edf":
        file = ecg_files.write_edf(
            folder / "a.edf",
            [(n, "uV", row) for n, row in zip(LEADS, values, strict=True)],
            per_record=[samples] * 12,
            seconds=samples / 500,
        )
    else:
        file = ecg_files.write_wfdb(folder, values)
    record = read_record(file, "ecg")
    assert record.facts["sampling_hz"] == pytest.approx(500)
    np.testing.assert_allclose(record.array, values / 1000, atol=1e-6)


@pytest.mark.parametrize("write", [ecg_files.write_muse, ecg_files.write_aecg])
def test_eight_stored_leads_become_twelve(tmp_path: Path, write: object) -> None:
    eight = [0, 1, 6, 7, 8, 9, 10, 11]
    record = read_record(write(tmp_path / "a.xml", VALUES[eight], [LEADS[i] for i in eight]), "ecg")  # type: ignore[operator]
    np.testing.assert_allclose(record.array, MILLIVOLT, atol=2e-3)
    assert record.facts["derived_leads"] == ["III", "aVR", "aVL", "aVF"]


def test_muse_missing_samples_and_scale(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[8, 5:9] = -32768
    record = read_record(ecg_files.write_muse(tmp_path / "a.xml", values, LEADS, scale="4.88"), "ecg")
    assert record.facts["missing"] == [("V3", 5, 9)]
    np.testing.assert_allclose(record.array[0], VALUES[0] * 4.88 / 1000, atol=1e-6)


def test_aecg_origin_unit_and_step(tmp_path: Path) -> None:
    file = ecg_files.write_aecg(
        tmp_path / "a.xml", VALUES.astype(np.int64) * 1000, LEADS, unit="nV", step="4", origin=5000
    )
    record = read_record(file, "ecg")
    assert record.facts["sampling_hz"] == 250
    np.testing.assert_allclose(record.array, VALUES / 1000 + 0.005, atol=1e-6)


@pytest.mark.parametrize("write", [ecg_files.write_muse, ecg_files.write_aecg])
@pytest.mark.parametrize("cut", [30, 400, 4000])
def test_cut_off_xml(tmp_path: Path, write: object, cut: int) -> None:
    file = write(tmp_path / "a.xml", VALUES, LEADS)  # type: ignore[operator]
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(ReadError, match="malformed or cut off"):
        read_record(file, "ecg")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<LeadSampleCountTotal>700", "<LeadSampleCountTotal>701", "promises 701 samples, the file holds 700"),
        ("<LeadSampleCountTotal>700", "<LeadSampleCountTotal>-5", "sample count is -5"),
        ("<LeadSampleSize>2", "<LeadSampleSize>4", "not 16 bits"),
        ("<SampleBase>5", "<SampleBase>Mustermann", "sample base is not a number"),
        ("<WaveformType>Rhythm", "<WaveformType>Other", "no rhythm"),
        ("<LeadAmplitudeUnits>MICROVOLTS", "<LeadAmplitudeUnits>", "which unit"),
        ("<LeadAmplitudeUnitsPerBit>1<", "<LeadAmplitudeUnitsPerBit>0<", "amplitude per bit is 0"),
        ("<WaveFormData>\n", "<WaveFormData>!!!", "not base64"),
        ("RestingECG", "restingecgdata", "Philips"),
        ("RestingECG", "Sheet", "no ECG of a kind"),
    ],
)
def test_muse_that_is_wrong(tmp_path: Path, old: str, new: str, words: str) -> None:
    file = ecg_files.write_muse(tmp_path / "a.xml", VALUES, LEADS)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ReadError, match=words) as caught:
        read_record(file, "ecg")
    assert "Mustermann" not in str(caught.value)
    assert caught.value.__cause__ is None or "Mustermann" not in str(caught.value.__cause__)


BOMB = '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    "doctype",
    [
        BOMB,
        '<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % remote SYSTEM "http://192.0.2.1/x.dtd"> %remote;]>',
        '<!DOCTYPE x [<!ENTITY harmless "x">]>',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_bombs_and_external_entities(tmp_path: Path, doctype: str, encoding: str) -> None:
    file = ecg_files.write_muse(tmp_path / "a.xml", VALUES, LEADS, doctype=doctype)
    text = file.read_text().replace('<?xml version="1.0"?>', "").replace("<LeadID>I<", "<LeadID>&c;&secret;<")
    file.write_bytes(text.encode(encoding))
    with pytest.raises(ReadError, match="declares entities"):
        read_record(file, "ecg")


def test_a_document_type_without_entities_is_accepted(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
    file = ecg_files.write_muse(tmp_path / "a.xml", VALUES, LEADS, doctype=doctype)
    np.testing.assert_allclose(read_record(file, "ecg").array, MILLIVOLT, atol=1e-6)


def edf_channels(values: np.ndarray = VALUES) -> list[tuple[str, str, np.ndarray]]:
    return [(f"ECG {name}", "uV", row) for name, row in zip(LEADS, values, strict=True)]


@pytest.mark.parametrize("bdf", [False, True])
def test_edf_takes_the_ecg_channels_only(tmp_path: Path, bdf: bool) -> None:
    channels = [("EEG C3", "uV", VALUES[3, ::2]), *edf_channels(), ("Resp", "", VALUES[0])]
    file = ecg_files.write_edf(tmp_path / "a.edf", channels, per_record=[50, *[100] * 13], seconds=0.2, bdf=bdf)
    record = read_record(file, "ecg")
    np.testing.assert_allclose(record.array, MILLIVOLT, atol=1e-6)
    assert record.facts["format"] == ("bdf" if bdf else "edf")


def test_edf_channels_of_lower_rate_are_brought_to_the_highest(tmp_path: Path) -> None:
    time = np.arange(1000) / 500
    fast, slow = (np.rint(300 * np.sin(2 * np.pi * 3 * t)).astype(np.int16) for t in (time, time[::2]))
    file = ecg_files.write_edf(tmp_path / "a.edf", [("I", "uV", fast), ("II", "uV", slow)], per_record=[500, 250])
    record = read_record(file, "ecg")
    assert record.facts["sampling_hz"] == 500
    np.testing.assert_allclose(record.array[1, 20:-20], record.array[0, 20:-20], atol=3e-3)


def test_edf_plus_with_gaps(tmp_path: Path) -> None:
    file = ecg_files.write_edf(
        tmp_path / "a.edf", edf_channels(), per_record=[100] * 12, seconds=0.2, reserved="EDF+D",
        onsets=[0, 0.2, 0.4, 1.0, 1.2, 1.4, 1.6],
    )  # fmt: skip
    record = read_record(file, "ecg")
    assert record.facts["missing"] == [(lead, 300, 500) for lead in LEADS]
    np.testing.assert_allclose(record.array[:, 500:], MILLIVOLT[:, 300:], atol=1e-6)
    assert record.facts["discontinuous"] is True


def test_edf_plus_without_gaps_ignores_annotations(tmp_path: Path) -> None:
    file = ecg_files.write_edf(
        tmp_path / "a.edf", edf_channels(), per_record=[100] * 12, seconds=0.2, reserved="EDF+C", onsets=[0.2 * k for k in range(7)]
    )  # fmt: skip
    assert read_record(file, "ecg").facts["missing"] == []


def test_an_edf_that_was_not_closed(tmp_path: Path) -> None:
    file = ecg_files.write_edf(tmp_path / "a.edf", edf_channels(), per_record=[100] * 12, seconds=0.2, records=-1)
    assert read_record(file, "ecg").array.shape == (12, 700)


@pytest.mark.parametrize("cut", [1, 5000, 16700, 17500, 19000])
def test_a_truncated_edf(tmp_path: Path, cut: int) -> None:
    file = ecg_files.write_edf(tmp_path / "a.edf", edf_channels(), per_record=[100] * 12, seconds=0.2)
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(ReadError, match="cut off"):
        read_record(file, "ecg")


def test_edf_with_other_names_needs_leads(tmp_path: Path) -> None:
    file = ecg_files.write_edf(tmp_path / "a.edf", [("ch1", "uV", VALUES[0]), ("ch2", "uV", VALUES[1])], per_record=[700] * 2, seconds=1.4)  # fmt: skip
    with pytest.raises(ReadError, match="No channel of the EDF"):
        read_record(file, "ecg")
    assert read_record(file, "ecg", leads="I,II").facts["leads_source"] == "cohort"


def test_edf_records_that_overlap(tmp_path: Path) -> None:
    file = ecg_files.write_edf(
        tmp_path / "a.edf", edf_channels(), per_record=[100] * 12, seconds=0.2, reserved="EDF+D", onsets=[0, 0.2, 0.3, 1.0, 1.2, 1.4, 1.6]
    )  # fmt: skip
    with pytest.raises(ReadError, match="overlap"):
        read_record(file, "ecg")
