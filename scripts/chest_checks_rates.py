"""How often the checks X001 to X007 are right on real radiographs: false alarms as they are, findings after a fault.

    python scripts/chest_checks_rates.py ../shared/data/chest_xray/labels.csv [--files F ...] [--every 3]

Every radiograph of the table (and of --files) is measured as it is; every third also with each fault of :data:`FAULTS`
put in. Ten letters are written with Pillow's own font in white, at a corner. The limits of the checks were set on these
same radiographs, so the figures say little about others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from medfm.cohorts.checks import chest
from medfm.modalities.chest_quality import ChestQuality, measure
from medfm.modalities.registry import read_record

Fault = Callable[[np.ndarray], np.ndarray]


def clipped(share: float) -> Fault:
    """The brightest `share` of the pixels at one value."""
    return lambda a: np.minimum(a, np.quantile(a, 1 - share))


def whitened(share: float) -> Fault:
    """A window whose upper end turns the brightest `share` white."""
    return lambda a: np.clip(a / max(float(np.quantile(a, 1 - share)), 1e-6), 0, 1)


def boxed(a: np.ndarray) -> np.ndarray:
    """Black at both sides, together half of the new width."""
    return np.pad(a, ((0, 0), (a.shape[1] // 2, a.shape[1] // 2)))


def noise(a: np.ndarray) -> np.ndarray:
    """No picture at all."""
    return np.random.default_rng(0).random(a.shape)


def lettered(share: int) -> Fault:
    """Ten letters and digits of 1/`share` of the height (at least 8 pixels) in white, at one of the four corners."""

    def write(a: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(int(a.sum()))
        image = Image.fromarray(np.rint(a * 255).astype(np.uint8))
        pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=max(image.height / share, 8))
        text = "".join(rng.choice(list("ABCDEFGHKMNPRSTUVXYZ0123456789"), 10))
        right = max(image.width * 0.97 - pen.textlength(text, font=font), 0.0)
        x = float(rng.choice([image.width * 0.02, right]))
        y = float(rng.choice([image.height * 0.02, image.height * 0.97 - image.height / share]))
        pen.text((x, y), text, fill=255, font=font)
        return np.asarray(image, np.float32) / 255

    return write


FAULTS: dict[str, Fault] = {
    "negative": lambda a: 1 - a,
    "upside down": lambda a: a[::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "turned by 90 degrees": np.rot90,
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
    "negative and upside down": lambda a: 1 - a[::-1],
    "left and right exchanged": lambda a: a[:, ::-1],
    "gamma 0.5": lambda a: a**0.5,
    "gamma 2": lambda a: a**2,
    "brightest tenth clipped": clipped(0.1),
    "brightest tenth white": whitened(0.1),
    "12 bits in 16": lambda a: a / 16,
    "constant": lambda a: np.full_like(a, 0.5),
    "noise": noise,
    "letterbox": boxed,
    **{f"letters of 1/{share}": lettered(share) for share in (14, 20, 30, 45)},
}


def codes(quality: ChestQuality) -> set[str]:
    """The checks that a radiograph does not meet."""
    met = {
        "X001": chest.inverted(quality),
        "X002": chest.other_way_up(quality) is not None,
        "X004": chest.not_a_chest(quality),
        "X005": chest.poor_values(quality) is not None,
        "X006": quality.border > chest.BORDER,
        "X007": chest.written(quality) is not None,
    }
    return {code for code, found in met.items() if found}


def count(arrays: Iterable[np.ndarray], fault: Fault | None = None) -> Counter[str]:
    """How many of `arrays` do not meet each check; ``"radiographs"`` of how many."""
    found: Counter[str] = Counter()
    for array in arrays:
        changed = array if fault is None else np.ascontiguousarray(fault(array), dtype=np.float32)
        found.update(codes(measure(changed, {})) | {"radiographs"})
    return found


def arrays(files: Iterable[Path]) -> Iterator[np.ndarray]:
    """The radiographs one by one."""
    for file in files:
        yield read_record(file, "chest_xray").array


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="table with a column 'path' beside its files")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="further radiographs")
    parser.add_argument("--every", type=int, default=3)
    options = parser.parse_args()
    files = [options.table.parent / path for path in pd.read_csv(options.table)["path"]] + options.files
    print(json.dumps({"changed": "nothing", **count(arrays(files))}))
    for name, fault in FAULTS.items():
        print(json.dumps({"changed": name, **count(arrays(files[:: options.every]), fault)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
