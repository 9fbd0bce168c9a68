"""Loading a cohort with all quick checks, from a CSV whose files exist.

    python scripts/bench/bench_cohort.py [--rows 100000] [--against OTHER_CHECKOUT] [--folder DIR]

Prints processor and wall time a row. With ``--against``, the package of another checkout (the state before a change) is
measured beside this one, in turn and each in a process of its own; both must give the same table and the same findings.
The table has ids, patients, sites, splits, a label, an age, the place of a patch and its resolution; 2 000 files to a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
HEADER = ["record_id", "path", "patient_id", "site", "split", "label", "age", "patch_x", "patch_y", "mpp"]
LOAD = """
import json, sys, time
import medfm
table, root, small = sys.argv[1:]
medfm.load_cohort(small, modality="histopathology", root=root)
wall, processor = time.perf_counter(), time.process_time()
cohort = medfm.load_cohort(table, modality="histopathology", root=root)
wall, processor = time.perf_counter() - wall, time.process_time() - processor
about = [cohort.digest(), [f.to_dict() if hasattr(f, "to_dict") else repr(f) for f in cohort.findings]]
print(json.dumps({"wall": wall, "processor": processor, "about": about}, default=str))
"""


def write_cohort(folder: Path, rows: int) -> None:
    """`rows` small files and their table, and a table of the first hundred to warm up with."""
    with (folder / "large.csv").open("w", newline="") as large, (folder / "small.csv").open("w", newline="") as small:
        tables = csv.writer(large), csv.writer(small)
        for table in tables:
            table.writerow(HEADER)
        for i in range(rows):
            path = f"s{i // 2000:05d}/patch_{i:08d}.png"
            if i % 2000 == 0:
                (folder / path).parent.mkdir()
            (folder / path).write_bytes(b"x")
            patient = i // 50
            row = [
                f"r{i}",
                path,
                f"p{patient}",
                f"site{patient % 5}",
                ("train", "val", "test")[patient % 3],
                f"class{i % 9}",
            ]
            row += [20 + i % 60, i % 100 * 224, i // 100 % 100 * 224, 0.5]
            for table in tables if i < 100 else tables[:1]:
                table.writerow(row)


def load(checkout: Path, folder: Path) -> dict[str, object]:
    """Times and outcome of one load by the package of `checkout`."""
    arguments = [sys.executable, "-c", LOAD, *(str(folder / name) for name in ("large.csv", "", "small.csv"))]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True, cwd=folder)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout of the package")
    parser.add_argument("--folder", type=Path, help="where the files are written, and used again [a temporary folder]")
    arguments = parser.parse_args()
    checkouts = {"here": HERE, **({"against": arguments.against.resolve()} if arguments.against else {})}
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not (folder / "large.csv").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_cohort(folder, arguments.rows)
        with (folder / "large.csv").open() as handle:
            rows = sum(1 for _ in handle) - 1
        print(f"{rows} rows, load {os.getloadavg()[0]:.1f}; microseconds a row")
        ratios = []
        for number in range(arguments.rounds):
            found = {name: load(checkout, folder) for name, checkout in checkouts.items()}
            for name, one in found.items():
                wall, processor = (1e6 * float(str(one[key])) / rows for key in ("wall", "processor"))
                print(f"round {number + 1} {name:>8}: processor {processor:6.1f}, wall {wall:6.1f}", flush=True)
            if arguments.against:
                assert found["here"]["about"] == found["against"]["about"], "the tables or findings differ"
                ratios.append(float(str(found["against"]["processor"])) / float(str(found["here"]["processor"])))
        if ratios:
            print(
                f"median {statistics.median(ratios):.2f} x less processor time than the other checkout, equal outcome"
            )


if __name__ == "__main__":
    main()
