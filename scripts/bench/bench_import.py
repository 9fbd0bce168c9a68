"""Start-up times: ``import medfm`` (bar 0.2 s) and ``medfm --help`` (bar 0.5 s).

    python scripts/bench/bench_import.py [--rounds 10]

Fresh processes; an empty Python is measured in the same rounds and shown beside them. The median
counts; for the import, the empty Python's median is taken off.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

_COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import medfm": [sys.executable, "-c", "import medfm"],
    "medfm --help": [sys.executable, "-m", "medfm", "--help"],
    "medfm embed --help": [sys.executable, "-m", "medfm", "embed", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(arguments.rounds):
        for name, command in _COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:<20} {value:6.3f} s  (fastest {min(seconds[name]):.3f} s)")
    alone = median["import medfm"] - median["python -c pass"]
    print(f"import medfm alone   {alone:6.3f} s  bar 0.2: {'reached' if alone < 0.2 else 'MISSED'}")
    whole = median["medfm --help"]
    print(f"medfm --help         {whole:6.3f} s  bar 0.5: {'reached' if whole < 0.5 else 'MISSED'}")


if __name__ == "__main__":
    main()
