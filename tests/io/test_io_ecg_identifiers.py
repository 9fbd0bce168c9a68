"""A patient's name planted in every carrier, whole and damaged, on the whole way from file to embeddings."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import ecg_files
import pandas as pd
import pytest
from test_io_ecg_safety import CARRIERS

from medfm.cli.main import main

PLANTED = (ecg_files.NAME, ecg_files.BIRTH)


def cohort(folder: Path) -> Path:
    """A table of every carrier twice: as written, and cut in the middle."""
    rows = []
    for carrier, (write, options) in CARRIERS.items():
        for state in ("whole", "cut"):
            place = folder / f"{carrier}-{state}"
            place.mkdir()
            file = write(place)
            if state == "cut":
                for part in place.iterdir():
                    if part.suffix != ".hea":
                        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
            columns = {"leads": ",".join(options["leads"])} if "leads" in options else {}
            rows.append(
                {
                    "path": file.relative_to(folder).as_posix(),
                    "record_id": f"{carrier}-{state}",
                    "patient_id": f"p-{carrier}-{state}",
                    "sampling_hz": options.get("sampling_hz"),
                    "units": options.get("units"),
                    **columns,
                }
            )
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def test_no_name_surfaces_from_file_to_embeddings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    table = cohort(tmp_path)
    shown = []
    with caplog.at_level(logging.DEBUG):
        for command in (
            ["data", "check", str(table), "--modality", "ecg"],
            ["data", "check", str(table), "--modality", "ecg", "--json"],
            ["embed", str(table), "--modality", "ecg", "--encoder", "merl-resnet18-pooled", "--weights", "random",
             "--out", str(tmp_path / "out.npz"), "--cache", str(tmp_path / "cache"), "--json"],
        ):  # fmt: skip
            with pytest.raises(SystemExit) as ended:
                main(command)
            assert ended.value.code == 1
            out = capsys.readouterr()
            shown += [out.out, out.err]
    facts = json.loads(shown[-2])
    failed = {f["record_id"]: f["reason"] for f in facts["failures"]}
    # Where the name replaces that of V6, this lead is absent and MERL refuses the record, without quoting it.
    named = {name for name, reason in failed.items() if name.endswith("-whole")}
    assert all(failed[name].startswith("Lead V6 lacks 100% of its samples. ") for name in named)
    assert named == {f"{carrier}-whole" for carrier in ("muse", "aecg", "dicom", "wfdb")}
    # A table of numbers promises no length: fewer rows are a shorter recording.
    assert {f"{carrier}-cut" for carrier in CARRIERS} - set(failed) <= {"csv-cut"}
    assert facts["records"] == 2 * len(CARRIERS) - len(failed)
    for text in (*shown, caplog.text):
        for name in PLANTED:
            assert name not in text
    written = [*(tmp_path / "cache").rglob("*"), *tmp_path.glob("out*")]
    assert len(written) > 2
    for file in written:
        assert not file.is_file() or not any(name.encode() in file.read_bytes() for name in PLANTED), file.name
