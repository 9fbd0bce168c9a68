"""ECGs through the command line: every kind of bad and odd recording ends as the page says, and no name surfaces."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from heartbeats import LEADS, heart, write_wfdb

from medfm.cli.main import main
from medfm.embeddings.export import load_embeddings
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card
from medfm.modalities.registry import read_record

Run = Callable[..., tuple[int, str, str]]
NAME = "Mustermann"
EIGHT = (*LEADS[:2], *LEADS[6:])
ENCODER = ("--encoder", "merl-resnet18", "--weights", "random")
STEPS = Preprocessing(get_card("merl-resnet18").spec.preprocessing)

# file -> part of the reason
BAD = {
    "truncated.hea": "The signal file is cut off: the header promises 120000 bytes, the file holds 40000.",
    "promises.hea": "The signal file is cut off: the header promises 216000 bytes, the file holds 120000.",
    "empty.hea": "The recording has no samples.",
    "constant.hea": "Every lead of the recording is constant",
    "silent.hea": "Every sample of the recording is missing",
    "one-limb.hea": "fewer than two limb leads; found: II, V1",
    "no-header.dat": "no WFDB header beside it",
    "nanovolts.hea": "a thousandth of an ECG",
    "bomb.xml": "declares entities",
    "text.xml": "malformed or cut off",
    "absent.hea": "does not exist",
}
# Can be read, but MERL cannot take it.
REFUSED = {
    "holed.hea": "Lead I lacks 18% of its samples.",
    "six-chest-leads-less.hea": "Lead V1 lacks 100% of its samples.",
}
GOOD = ("whole", "three-seconds", "gap", "eight", "fifteen", "fast", "slow", "one-flat", "long", "without-ending")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("MEDFM_DEBUG", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out = capsys.readouterr()
        assert "Traceback" not in out.out + out.err
        return int(ended.value.code or 0), out.out, out.err

    return call


def gap(array: np.ndarray, samples: int) -> np.ndarray:
    result = array.copy()
    result[:, 1000 : 1000 + samples] = np.nan
    return result


def write_good(folder: Path) -> None:
    def write(name: str, array: np.ndarray, **more: object) -> None:
        write_wfdb(folder, name, array, comment=f"Name: {NAME}", **more)  # type: ignore[arg-type]

    write("whole", heart(1))
    write("three-seconds", heart(2, seconds=3))
    write("gap", gap(heart(3), 300))
    write("eight", heart(4)[[0, 1, *range(6, 12)]], leads=EIGHT)
    write("fifteen", np.concatenate([heart(5), heart(6)[9:]]), leads=(*LEADS, "V7", "V8", "V9"))
    write("fast", heart(7, hz=1000), hz=1000)
    write("slow", heart(8, hz=128), hz=128)
    flat = heart(9)
    flat[8] = 0.2
    write("one-flat", flat)
    write("long", heart(10, seconds=14))
    write("without-ending", heart(11))


def write_bad(folder: Path) -> None:
    def write(name: str, array: np.ndarray, **more: object) -> Path:
        return write_wfdb(folder, name, array, comment=f"Name: {NAME}", **more)  # type: ignore[arg-type]

    write("truncated", heart(20))
    (folder / "truncated.dat").write_bytes((folder / "truncated.dat").read_bytes()[:40_000])
    write("promises", heart(21), promised=9000)
    write("empty", heart(22)[:, :0])
    (folder / "empty.dat").write_bytes(b"\0")
    write("constant", np.full((12, 5000), 0.25, np.float32))
    write("silent", np.full((12, 5000), np.nan, np.float32))
    write("one-limb", heart(23)[[1, 6]], leads=("II", "V1"))
    (folder / "no-header.dat").write_bytes(b"\1\2" * 500)
    write("nanovolts", heart(24), unit="nV")
    bomb = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 9))
    (folder / "bomb.xml").write_text(
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "{NAME}">{bomb}]><AnnotatedECG>&a8;</AnnotatedECG>'
    )
    (folder / "text.xml").write_text(f"<AnnotatedECG><name>{NAME}")
    write("holed", gap(heart(25), 900))
    write("six-chest-leads-less", heart(26)[:6], leads=LEADS[:6])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_good(tmp_path)
    write_bad(tmp_path)
    names = [f"{name}.hea" if name != "without-ending" else name for name in GOOD] + [*BAD, *REFUSED]
    rows = [f"{name},p{i},{'ab'[i % 2]}" for i, name in enumerate(names)]
    file = tmp_path / "labels.csv"
    file.write_text("path,patient_id,label\n" + "\n".join(rows) + "\n")
    return file


def test_check_and_embed_give_every_record_a_vector_or_a_reason(
    run: Run, table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        code, checked, checked_errors = run("data", "check", table, "--modality", "ecg", "--json")
        assert code == 1
        found = {f["code"]: f for f in json.loads(checked)["findings"]}
        listed = set(found["F002"]["records"])
        assert listed <= set(BAD)
        assert len(listed) == min(10, len(BAD))
        assert found["F001"]["records"] == ["absent.hea"]
        assert found["E004"]["records"] == ["one-flat.hea"]
        assert found["E008"]["records"] == ["three-seconds.hea"]
        assert set(found["E009"]["records"]) == {"fast.hea", "slow.hea"}
        assert set(found["E010"]["records"]) == {"gap.hea", *REFUSED}
        assert found["E007"]["records"] == ["nanovolts.hea"]
        assert {
            code for code in ("E001", "E002", "E003", "E005", "E006") if found[code]["severity"] != "passed"
        } == set()

        out = table.with_name("out.npz")
        code, text, errors = run("embed", table, "--modality", "ecg", *ENCODER, "--out", out, "--json")
    assert code == 1
    facts = json.loads(text)
    reasons = {f["record_id"]: f["reason"] for f in facts["failures"]}
    assert set(reasons) == {*BAD, *REFUSED}
    for name, words in {**BAD, **REFUSED}.items():
        assert words in reasons[name], (name, reasons[name])
    kept = load_embeddings(out)
    assert kept.record_ids == tuple(name if name == "without-ending" else f"{name}.hea" for name in GOOD)
    assert kept.values.shape == (len(GOOD), 256)
    assert np.isfinite(kept.values).all()
    everything = (checked, checked_errors, text, errors, caplog.text, json.dumps(kept.provenance, default=str))
    for shown in everything:
        assert NAME not in shown
    assert all(NAME.encode() not in f.read_bytes() for f in table.parent.glob("out*"))


def test_three_seconds_are_padded_with_zero_millivolt_before_scaling(tmp_path: Path) -> None:
    array = heart(2, seconds=3)
    record = read_record(write_wfdb(tmp_path, "a", array), "ecg")
    out = STEPS.array(record)
    low, high = record.array.min(), record.array.max()
    assert out.shape == (12, 5000)
    np.testing.assert_allclose(out[:, 1500:], -low / (high - low), atol=1e-6)
    np.testing.assert_allclose(out[0, :1500], (record.array[0] - low) / (high - low), atol=1e-6)


def test_a_gap_is_bridged_by_a_line_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    array = heart(3)
    record = read_record(write_wfdb(tmp_path, "a", gap(array, 300)), "ecg")
    repaired, plain = STEPS.array(record), STEPS.array(read_record(write_wfdb(tmp_path, "b", array), "ecg"))
    kept = np.r_[0:1000, 1300:5000]
    np.testing.assert_allclose(repaired[:, kept], plain[:, kept], atol=1e-6)
    for row in repaired:
        np.testing.assert_allclose(row[999:1301], np.linspace(row[999], row[1300], 302), atol=1e-5)


def test_eight_leads_give_the_tensor_of_twelve(tmp_path: Path) -> None:
    array = np.round(heart(4), 3)
    array[2:6] = [array[1] - array[0], -(array[0] + array[1]) / 2, array[0] - array[1] / 2, array[1] - array[0] / 2]
    twelve = STEPS.array(read_record(write_wfdb(tmp_path, "a", array, gain=2000), "ecg"))
    stored = array[[0, 1, *range(6, 12)]]
    eight = STEPS.array(read_record(write_wfdb(tmp_path, "b", stored, leads=EIGHT, gain=2000), "ecg"))
    np.testing.assert_allclose(eight, twelve, atol=5e-4)
    np.testing.assert_allclose(eight[6:], twelve[6:], atol=1e-6)


@pytest.mark.parametrize("hz", [128, 1000])
def test_other_rates_give_nearly_the_tensor_of_500_hertz(tmp_path: Path, hz: float) -> None:
    def tensor(rate: float) -> np.ndarray:
        array = heart(7, hz=rate, noise=0, wander=0)
        return STEPS.array(read_record(write_wfdb(tmp_path, f"r{rate:g}", array, hz=rate), "ecg"))

    # The heart is drawn from a formula, so that 500 Hz is known without resampling.
    difference = np.abs(tensor(hz) - tensor(500))[:, 100:-100]
    assert difference.max() < (0.15 if hz < 500 else 0.02)  # 128 Hz cannot hold the steepest slopes
    assert difference.mean() < 0.005


def test_the_real_cohort_named_without_endings_is_checked(run: Run) -> None:
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / "ecg"
    if not data.is_dir():
        pytest.skip("the real ECGs beside the repository are absent")
    command = ("data", "check", data / "labels.csv", "--modality", "ecg", "--root", data)
    code, text, _ = run(*command, "--where", "task=ecg_rhythm", "--map", "patient_id=source_id", "--json")
    found = {f["code"]: f for f in json.loads(text)["findings"]}
    assert code == 0
    assert found["F002"]["severity"] == found["F001"]["severity"] == "passed"
    assert "cpsc2018" in found["E002"]["records"][0]
    assert not found["E002"]["records"][0].endswith(".hea")  # ids are those of the table
