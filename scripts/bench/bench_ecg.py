"""WFDB record to canonical array: medfm against wfdb.rdsamp and numpy, side by side.

    python scripts/bench/bench_ecg.py [--record PATH] [--repeats 200]

Without --record a 12-lead record of 10 s at 500 Hz is written to a temporary folder, in storage
format 16 and in 212. Both loaders read the same files in turn; the medians are compared, and the
arrays must be equal bit for bit. The other loader's path is what published code does: rdsamp,
transpose, float32. Reading back the whole contract (units, gaps, plausibility, checksums) is part of
our time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import wfdb

from medfm.io.ecg.leads import LEADS
from medfm.modalities.registry import read_record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, help="header of a WFDB record with the twelve leads in canonical order")
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        headers = [options.record] if options.record else [synthetic(Path(folder), fmt) for fmt in ("16", "212")]
        for header in headers:
            print(json.dumps(compare(header, options.repeats)))


def synthetic(folder: Path, fmt: str) -> Path:
    """One record of smooth waves of about 0.3 mV."""
    rng = np.random.default_rng(0)
    seconds = np.arange(5000) / 500
    waves = 400 * np.sin(2 * np.pi * np.outer(seconds, rng.uniform(1, 8, 12))) + rng.normal(0, 5, (5000, 12))
    wfdb.wrsamp(
        f"f{fmt}", 500, ["mV"] * 12, list(LEADS), d_signal=np.rint(waves).astype(np.int64), fmt=[fmt] * 12,
        adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(folder),
    )  # fmt: skip
    return folder / f"f{fmt}.hea"


def compare(header: Path, repeats: int) -> dict[str, object]:
    """Medians of both loaders in ms, in turns, and whether they agree."""
    ours, theirs = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        reference = wfdb.rdsamp(str(header.with_suffix("")))[0].T.astype(np.float32)
        theirs.append(time.perf_counter() - started)
        started = time.perf_counter()
        array = read_record(header, "ecg").array
        ours.append(time.perf_counter() - started)
    return {
        "record": header.stem,
        "medfm_ms": round(1e3 * float(np.median(ours)), 3),
        "wfdb_ms": round(1e3 * float(np.median(theirs)), 3),
        "ratio": round(float(np.median(theirs) / np.median(ours)), 2),
        "bit_for_bit_equal": bool(np.array_equal(array, reference)),
    }


if __name__ == "__main__":
    main()
