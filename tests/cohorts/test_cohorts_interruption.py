"""Killed runs and hostile tables: nothing half-written, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from cohort_pictures import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.cohorts.load import load_cohort
from medfm.core.errors import MedfmError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_killed_synthesis_leaves_no_cohort_and_can_be_run_again(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "medfm", "data", "synthesize", "blood_cell", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*arguments, "--records", "5000"], cwd=REPOSITORY, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    for _ in range(600):
        if any(tmp_path.rglob("cell_00005*")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not (tmp_path / "out").exists()
    again = subprocess.run(
        [*arguments, "--records", "30", "--size", "32"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert len(load_cohort(tmp_path / "out" / "labels.csv")) == 30


def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "medfm", "data", "synthesize", "blood_cell", "--records", "30", "--out"]
    # /proc cannot be written to, whoever runs the tests.
    done = subprocess.run([*arguments, "/proc/medfm/out"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Error:" in done.stderr


_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.lists(_CELLS, min_size=1, max_size=4), rows=st.lists(st.lists(_CELLS, min_size=1, max_size=4), max_size=5)
)
def test_any_text_is_a_cohort_or_a_clear_error(header: list[str], rows: list[list[str]], tmp_path: Path) -> None:
    text = "\n".join(",".join(row) for row in [["path", *header[1:]], *rows])
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    try:
        cohort = load_cohort(tmp_path / "t.csv", check=False)
    except MedfmError as error:
        assert str(error)
    else:
        assert len(cohort) >= 1
        assert all((cohort.root / p).resolve().is_relative_to(tmp_path.resolve()) for p in cohort.table["path"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(
        st.from_regex(r"[0-9]{1,6}|[0-9]e[0-9]|0[0-9]{3}|[A-Z]-[0-9]+", fullmatch=True), min_size=1, unique=True
    )
)
def test_identifiers_survive_every_table_format(ids: list[str], tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(len(ids))], "record_id": ids, "case": ids})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        cohort = load_cohort(tmp_path / name, map={"patient_id": "case"}, check=False)
        assert cohort.record_ids == ids
        assert cohort.table["patient_id"].tolist() == ids


def test_the_digest_does_not_depend_on_the_process(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png", i)
    (tmp_path / "t.csv").write_text("path,label\n0.png,a\n1.png,b\n2.png,a\n")
    code = f"import medfm; print(medfm.load_cohort({str(tmp_path / 't.csv')!r}).digest())"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == load_cohort(tmp_path / "t.csv").digest()
