"""ECGs through a cohort: options per row, content keys over all files, the commands of the page."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import medfm
from medfm.core.errors import CohortError, ReadError
from medfm.embeddings.lookup import Hasher, Item, Unreadable
from medfm.io.ecg.leads import LEADS
from medfm.modalities.ecg import ECG, resample
from medfm.modalities.record import RecordRef

TIME = np.arange(1000) / 500
WAVES = np.stack([0.3 * np.sin(2 * np.pi * (1 + k / 4) * TIME) for k in range(12)])


def write_wfdb(folder: Path, name: str, values: np.ndarray = WAVES) -> Path:
    digital = np.rint(values * 1000).astype("<i2")
    (folder / f"{name}.dat").write_bytes(digital.T.tobytes())
    lines = [f"{name} 12 500 {values.shape[1]}", *(f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
    (folder / f"{name}.hea").write_text("\n".join(lines))
    return folder / f"{name}.hea"


def test_rows_of_different_carriers_in_one_cohort(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "one")
    np.save(tmp_path / "two.npy", WAVES * 1000)
    (tmp_path / "three.csv").write_text(
        "\n".join([",".join(LEADS), *(",".join(f"{v:.4f}" for v in row) for row in WAVES.T)])
    )
    table = pd.DataFrame(
        {
            "path": ["one.hea", "two.npy", "three.csv"],
            "patient_id": ["a", "b", "c"],
            "label": ["x", "y", "x"],
            "sampling_hz": [np.nan, 500, 500],
            "units": [None, "uV", "mV"],
            "leads": [None, ",".join(LEADS), None],
        }
    )
    cohort = medfm.load_cohort(table, modality="ecg", root=tmp_path)
    records = [cohort.read(i) for i in range(3)]
    for record in records:
        np.testing.assert_allclose(record.array, WAVES, atol=1e-3)
        assert record.facts["sampling_hz"] == 500
    assert [r.facts["units_source"] for r in records] == ["file", "cohort", "cohort"]
    assert [r.facts["leads_source"] for r in records] == ["file", "cohort", "file"]


def test_a_row_that_cannot_be_read_names_its_record(tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", WAVES)
    table = pd.DataFrame({"path": ["two.npy"], "record_id": ["case-17"], "patient_id": ["a"], "label": ["x"]})
    cohort = medfm.load_cohort(table, modality="ecg", root=tmp_path)
    with pytest.raises(ReadError, match="does not name its leads") as caught:
        cohort.read(0)
    assert caught.value.where == "case-17"


def test_the_content_key_covers_header_and_signal(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, "one")

    def key() -> bytes:
        (item,) = Hasher(ECG).items([RecordRef("r", header)])
        assert isinstance(item, Item)
        return item.key

    first = key()
    assert key() == first
    write_wfdb(tmp_path, "one", WAVES[::-1])
    second = key()
    header.write_text(header.read_text().replace("1000/mV", "500/mV"))
    assert len({first, second, key()}) == 3


def test_a_renamed_copy_of_other_files_has_the_key_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, WAVES)
    options = {"sampling_hz": 500.0, "units": "mV", "leads": list(LEADS)}
    copy = tmp_path / "b.npy"
    copy.write_bytes(file.read_bytes())
    refs = [
        RecordRef("1", file, options),
        RecordRef("2", copy, options),
        RecordRef("3", copy, {**options, "units": "uV"}),
    ]
    keys = [item.key for item in Hasher(ECG).items(refs) if isinstance(item, Item)]
    assert keys[0] == keys[1] != keys[2]


def test_a_record_named_without_an_ending_is_its_header(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_wfdb(tmp_path / "a", "one")
    np.save(tmp_path / "two.npy", WAVES)
    (tmp_path / "two").write_bytes((tmp_path / "two.npy").read_bytes())
    (tmp_path / "two.hea").write_text("not this one: the file itself is there")
    table = pd.DataFrame(
        {"path": ["a/one", "two", "a/three"], "sampling_hz": [None, 500, 500], "units": [None, "mV", "mV"],
         "leads": [None, ",".join(LEADS), None]}
    )  # fmt: skip
    cohort = medfm.load_cohort(table, modality="ecg", root=tmp_path)
    assert cohort.record_ids == ["a/one", "two", "a/three"]  # ids stay as the table has them
    assert list(cohort.table["path"]) == ["a/one.hea", "two", "a/three"]
    np.testing.assert_allclose(cohort.read(0).array, WAVES, atol=1e-3)
    np.testing.assert_allclose(cohort.read(1).array, WAVES, atol=1e-6)
    (missing,) = [f for f in cohort.findings if f.code == "F001"]
    assert missing.records == ("a/three",)


def test_a_header_behind_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    write_wfdb(tmp_path / "out", "one")
    (tmp_path / "in" / "one.hea").symlink_to(tmp_path / "out" / "one.hea")
    with pytest.raises(CohortError, match="symbolic link"):
        medfm.load_cohort(pd.DataFrame({"path": ["one"]}), modality="ecg", root=tmp_path / "in")


def test_a_missing_signal_file_is_unreadable_not_fatal(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, "one")
    (tmp_path / "one.dat").unlink()
    broken = tmp_path / "two.hea"
    broken.write_text("two")
    found = list(Hasher(ECG).items([RecordRef("r", header), RecordRef("s", broken)]))
    assert all(isinstance(item, Unreadable) for item in found)
    assert "does not exist" in found[0].reason  # type: ignore[union-attr]
    assert "incomplete" in found[1].reason  # type: ignore[union-attr]


def test_real_records_of_one_rhythm_have_that_heart_rate(ecg: Path) -> None:
    """The whole chain on real data: tachycardias beat faster than bradycardias in the canonical array."""
    labels = pd.read_csv(ecg / "labels.csv")
    labels = labels[labels["task"] == "ecg_rhythm"]
    medians = {}
    for label in ("SB", "STach"):
        rows = labels[labels["label"] == label].iloc[:8].assign(path=lambda t: t["path"] + ".hea")
        rows = rows[["path", "source_id", "label"]].rename(columns={"source_id": "patient_id"})
        cohort = medfm.load_cohort(rows, modality="ecg", root=ecg)
        medians[label] = float(np.median([beats_per_minute(cohort.read(i)) for i in range(len(cohort))]))
    assert 35 < medians["SB"] < 65
    assert 95 < medians["STach"] < 180


def beats_per_minute(record: object) -> float:
    """The strongest period between 0.3 and 2 s in the slopes of all leads together."""
    array = resample(record.array, record.facts["sampling_hz"], 250)  # type: ignore[attr-defined]
    slope = np.abs(np.diff(array, axis=1)).sum(axis=0)
    slope = np.convolve(slope, np.ones(15) / 15, "same")
    slope -= slope.mean()
    products = np.correlate(slope, slope, "full")[len(slope) - 1 :]
    # The first strong peak: multiples of the period are peaks as well.
    lags = np.arange(75, 500)
    strong = [k for k in lags if products[k] == products[k - 20 : k + 21].max() and products[k] > 0.3 * products[0]]
    return 60 * 250 / (strong[0] if strong else lags[np.argmax(products[75:500])])


def test_the_page_names_every_option_and_fact() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "ecg.md").read_text(encoding="utf-8")
    for column in ECG.option_columns:
        assert f"| `{column}` |" in text
    for fact in set(re.findall(r'facts\["(\w+)"\]', text)):
        assert fact in (ECG.__doc__ or "") or fact in ("padding_ignored", "record_checksum"), fact
