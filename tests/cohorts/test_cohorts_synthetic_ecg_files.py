"""The synthetic ECG cohort as files: every carrier is read back to what was drawn, and all say synthetic."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.checks import run_checks
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.cohorts.synthesize import NOTICE, Synthesized, synthesize
from medfm.cohorts.synthetic_ecg import conflicts, draw_ecg
from medfm.cohorts.synthetic_ecg_cohort import LABELS, MAIN_CLASSES, SITES, draw_findings, labels_of, patients
from medfm.cohorts.synthetic_ecg_files import WRITERS, digitise
from medfm.core.errors import CohortError
from medfm.io.ecg.leads import LEADS
from medfm.knowledge.load import load_knowledge
from medfm.modalities.ecg import ECG
from medfm.modalities.record import RecordRef


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    return synthesize("ecg", tmp_path_factory.mktemp("ecgs") / "out", records=160)


@pytest.fixture(scope="module")
def cohort(written: Synthesized) -> Cohort:
    return load_cohort(written.table)


def test_the_cohort_is_sound_and_says_it_is_synthetic(cohort: Cohort, written: Synthesized) -> None:
    assert cohort.modality == "ecg"
    assert len(cohort) == written.records == 160
    assert written.patients == cohort.table["patient_id"].nunique() == 160
    assert written.smears is None
    assert cohort.synthetic
    assert NOTICE in cohort.info["notes"]
    assert cohort.info["units"] == {"age": "years"}
    assert not [f for f in run_checks(cohort) if f.severity == "error"]


def test_columns_have_the_names_of_the_knowledge_base(cohort: Cohort) -> None:
    knowledge = load_knowledge("ecg")
    assert set(knowledge.label_set("cpsc2018").labels) < set(cohort.table.columns)
    assert {"SR", "SBRAD", "STACH", "AFIB"} <= set(knowledge.label_set("ptbxl-rhythm").labels)
    assert set(cohort.table["label"]) == set(MAIN_CLASSES)
    values = cohort.table[list(LABELS)].astype(int)
    assert set(np.unique(values)) == {0, 1}
    assert (values[["SR", "SBRAD", "STACH", "AFIB"]].sum(axis=1) == 1).all()
    normal = values["NORM"] == 1
    assert (values[normal].sum(axis=1) == 2).all()  # NORM and SR
    assert ((values.sum(axis=1) >= 2) | (values["SR"] == 0)).all()
    assert cohort.table["text"].str.len().min() > 10


def test_patients_keep_site_split_and_person(tmp_path: Path) -> None:
    table = pd.read_csv(synthesize("ecg", tmp_path / "x", records=330, seed=2).table)
    each = table.groupby("patient_id")
    assert each.size().max() >= 2
    assert each[["split", "site", "age", "sex"]].nunique().max().max() == 1
    assert table.groupby("site")["split"].nunique().eq(3).all()
    # A patient's recordings are alike more often than those of two people, but not always.
    same = each["label"].apply(lambda labels: labels.nunique() == 1)
    assert 0.1 < same[each.size() > 1].mean() < 0.7


def test_every_file_is_read_back_at_its_own_rate(cohort: Cohort) -> None:
    seen = set()
    for index in range(8):
        record = cohort.read(index)
        site = SITES[cohort.table["site"][index]]
        seen.add((record.facts["format"], Path(cohort.table["path"][index]).suffix))
        assert record.facts["sampling_hz"] == site.device.sampling_hz
        assert record.array.shape == (12, 10 * site.device.sampling_hz)
        assert not record.facts["missing"]
        assert not record.facts["derived_leads"]
    assert seen == {("wfdb", ".hea"), ("dicom", ".dcm"), ("aecg", ".xml")}


@pytest.mark.parametrize("carrier", sorted(WRITERS))
@pytest.mark.parametrize("microvolts", [1.0, 2.5, 5.0])
def test_a_writer_and_the_reader_agree_to_the_last_digit(tmp_path: Path, carrier: str, microvolts: float) -> None:
    rng = np.random.default_rng(1)
    person = patients(0)[0]
    drawn = draw_ecg({"SR", "LVH"}, person.heart, SITES["south"].device, rng)
    digits = digitise(drawn.values, microvolts)
    file = WRITERS[carrier](tmp_path, "rec", digits, 250, microvolts)
    record = ECG.read(RecordRef("rec", file))
    assert record.facts["leads"] == list(LEADS) or tuple(record.facts["leads"]) == LEADS
    assert np.abs(record.array - digits * (microvolts / 1000)).max() < 1e-6
    assert record.facts["sampling_hz"] == 250


def test_the_mat_record_is_a_matlab_file(tmp_path: Path) -> None:
    from scipy.io import loadmat

    digits = digitise(np.random.default_rng(0).normal(0, 0.3, (12, 500)), 1.0)
    WRITERS["wfdb_mat"](tmp_path, "rec", digits, 500, 1.0)
    assert np.array_equal(loadmat(tmp_path / "rec.mat")["val"], digits)


def test_other_libraries_read_the_files_too(tmp_path: Path) -> None:
    pydicom, wfdb = pytest.importorskip("pydicom"), pytest.importorskip("wfdb")
    digits = digitise(np.random.default_rng(0).normal(0, 0.3, (12, 500)), 2.5)
    for carrier in ("wfdb", "wfdb_mat"):
        header = WRITERS[carrier](tmp_path, f"r_{carrier}", digits, 500, 2.5)
        signal, fields = wfdb.rdsamp(str(header.with_suffix("")))
        assert np.abs(signal.T - digits * 0.0025).max() < 1e-9
        assert (fields["fs"], fields["sig_name"]) == (500, list(LEADS))
    file = WRITERS["dicom"](tmp_path, "d", digits, 500, 2.5)
    dataset = pydicom.dcmread(file)
    assert np.abs(dataset.waveform_array(0).T - digits * 2.5).max() < 1e-6
    assert str(dataset.PatientName) == "SYNTHETIC"


def test_every_file_says_synthetic(cohort: Cohort) -> None:
    for path in cohort.table["path"][:8]:
        assert b"SYNTHETIC" in (cohort.root / path).read_bytes()


def digests(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_equal_arguments_give_equal_files_and_other_seeds_others(tmp_path: Path) -> None:
    one, two, three = (
        digests(synthesize("ecg", tmp_path / name, records=32, seed=seed).table.parent)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert one == two
    assert one["labels.csv"] != three["labels.csv"]
    more = digests(synthesize("ecg", tmp_path / "d", records=40, seed=3).table.parent / "records")
    assert {k.removeprefix("records/"): v for k, v in one.items() if k.startswith("records/")}.items() <= more.items()


def test_the_plan_never_asks_for_the_impossible() -> None:
    rng = np.random.default_rng(0)
    counts = dict.fromkeys(LABELS, 0)
    several = 0
    for own in MAIN_CLASSES * 60:
        main, found = draw_findings(own, rng)
        assert not conflicts(found)
        labels = labels_of(found)
        assert labels[main] == 1
        several += sum(labels[f] for f in LABELS if f != "SR") > 1
        for name, value in labels.items():
            counts[name] += value
    assert min(counts.values()) > 30
    assert several > 60


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="30 records"):
        synthesize("ecg", tmp_path / "x", records=29)
    with pytest.raises(CohortError, match="size in pixels"):
        synthesize("ecg", tmp_path / "x", size=64)
    assert not (tmp_path / "x").exists()


def test_an_ecg_cohort_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "x"
    synthesize("ecg", out, records=30)
    assert synthesize("ecg", out, records=31, overwrite=True).records == 31
    assert synthesize("blood_cell", out, records=30, size=32, overwrite=True).smears == out / "smears.csv"
