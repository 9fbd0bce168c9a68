"""How often the patch checks are right and wrong, measured on real patches with faults put in.

    python scripts/patch_checks_rates.py LABELS ROOT [--where COLUMN=VALUE] [--most N]

Every patch of the cohort is judged as it is (what is found then are alarms, right or wrong: nobody has looked at
these patches) and with one fault at a time. Prints the table of docs/histopathology.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from medfm.cohorts.checks import patches
from medfm.cohorts.load import load_cohort
from medfm.modalities.histopathology_quality import PatchQuality, measure

Fault = Callable[[np.ndarray], np.ndarray]


def defocus(sigma: float) -> Fault:
    """Gaussian blur with a standard deviation of `sigma` pixels."""

    def change(array: np.ndarray) -> np.ndarray:
        return np.rint(gaussian_filter(array.astype(np.float32), (sigma, sigma, 0))).astype(np.uint8)

    return change


def stroke(colour: tuple[int, int, int]) -> Fault:
    """A stroke of a pen right across, a tenth of the patch wide, through which a fifth of the tissue shines."""

    def change(array: np.ndarray) -> np.ndarray:
        height, width = array.shape[:2]
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).line((0, height * 0.3, width, height * 0.6), fill=1, width=max(height // 10, 1))
        over = np.asarray(mask, dtype=bool)
        marked = array.copy()
        marked[over] = np.rint(0.2 * array[over] + 0.8 * np.asarray(colour)).astype(np.uint8)
        return marked

    return change


def glass(share: float) -> Fault:
    """The lower `share` of the patch replaced by empty glass."""

    def change(array: np.ndarray) -> np.ndarray:
        bare = array.copy()
        bare[round(array.shape[0] * (1 - share)) :] = 240
        return bare

    return change


VERDICTS: dict[str, Callable[[PatchQuality], bool]] = {
    "H001": patches.empty,
    "H002": patches.blurred,
    "H003": lambda quality: patches.inked(quality) is not None,
}
FAULTS: tuple[tuple[str, str, Fault], ...] = (
    ("H001", "lower 90 % empty glass", glass(0.9)),
    ("H002", "blur, sigma 1 pixel", defocus(1.0)),
    ("H002", "blur, sigma 2 pixels", defocus(2.0)),
    ("H002", "blur, sigma 4 pixels", defocus(4.0)),
    ("H003", "green pen", stroke((20, 140, 70))),
    ("H003", "blue pen", stroke((30, 90, 190))),
    ("H003", "black pen", stroke((15, 15, 20))),
    ("H003", "red pen", stroke((200, 30, 40))),
)


def share(number: int, of: int) -> str:
    return f"{number / of:.1%} ({number}/{of})"


def rates(arrays: list[np.ndarray]) -> list[str]:
    """The rows of the table."""
    plain = [measure(array, {}) for array in arrays]
    lines = []
    for code, words, fault in FAULTS:
        hits = sum(VERDICTS[code](measure(fault(array), {})) for array in arrays)
        alarms = sum(VERDICTS[code](quality) for quality in plain)
        lines.append(f"| {code} | {words} | {share(hits, len(arrays))} | {share(alarms, len(arrays))} |")
    return lines


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--where", default="")
    parser.add_argument("--most", type=int, default=1000)
    given = parser.parse_args(argv)
    where = dict([given.where.split("=", 1)]) if given.where else {}
    cohort = load_cohort(given.labels, "histopathology", given.root, where=where, check=False)
    rows = np.linspace(0, len(cohort) - 1, min(given.most, len(cohort))).round().astype(int)
    arrays = [cohort.read(int(row)).array for row in rows]
    sys.stdout.write("| code | fault | found | alarms without it |\n|---|---|---|---|\n")
    for line in rates(arrays):
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
