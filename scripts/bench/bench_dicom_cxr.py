"""DICOM radiograph to the tensor torchxrayvision's networks take: medfm against its own reader, side by side.

    pip install --target /tmp/xrv --no-deps torchxrayvision scikit-image imageio lazy_loader
    PYTHONPATH=/tmp/xrv python scripts/bench/bench_dicom_cxr.py [FILES ...] [--repeats 5] [--size 224 512]

Without FILES one uncompressed DX object of 12 bit with 2500 x 2048 pixels and one with a window are written to a
temporary folder. The other side: ``read_xray_dcm``, ``XRayCenterCrop``, ``XRayResizer`` (scikit-image). Ours: the record
with ``window: none``, since that reader applies no window, the middle square, bilinear interpolation with antialias,
scaled to +-1024. Both read the same files in turn; the medians of processor time are compared, since they do not depend
on what else the machine does.

Before resizing the two must agree to 0.01 of 2048. After it they use different filters (a Gaussian and then lines on
that side, a triangle on ours), so there only a root mean square distance within 1 % of the range is asked for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medfm.cohorts.synthetic_chest import Detector, Thorax, draw_opacities, draw_thorax, exposed
from medfm.cohorts.synthetic_chest_files import save_radiograph_dicom
from medfm.modalities.registry import read_record

BAR = 1.5
AGREE, AFTER = 0.01, 20.48


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="DICOM radiographs, MONOCHROME1 or MONOCHROME2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, nargs="+", default=[224, 512])
    options = parser.parse_args()
    try:
        import torchxrayvision as xrv
        from torchxrayvision.utils import read_xray_dcm
    except ImportError:
        print("torchxrayvision is not installed; see --help", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    def theirs(file: Path, size: int) -> np.ndarray:
        cropped = xrv.datasets.XRayCenterCrop()(read_xray_dcm(str(file))[None])
        return np.asarray(xrv.datasets.XRayResizer(size)(cropped))

    reached = True
    with tempfile.TemporaryDirectory() as folder:
        for file in options.files or written(Path(folder)):
            whole = read_record(file, "chest_xray", window="none").array * np.float32(2048) - np.float32(1024)
            apart = float(np.abs(whole - read_xray_dcm(str(file))).max())
            for size in options.size:
                ours_s, other_s = timed(file, size, [ours, theirs], options.repeats)
                filtered = float(np.sqrt(np.mean((ours(file, size) - theirs(file, size)) ** 2)))
                row = {
                    "file": file.name, "size": size, "ours_ms": round(ours_s * 1e3, 1),
                    "torchxrayvision_ms": round(other_s * 1e3, 1), "ratio": round(other_s / ours_s, 2),
                    "apart_before_resizing": round(apart, 4), "apart_after": round(filtered, 2),
                }  # fmt: skip
                print(json.dumps(row))
                reached &= row["ratio"] >= BAR and apart <= AGREE and filtered <= AFTER
    print(f"bar of {BAR:g} x with equal output {'reached' if reached else 'NOT reached'}")
    return 0 if reached else 1


def ours(file: Path, size: int) -> np.ndarray:
    """Record, middle square, bilinear with antialias, +-1024: float32 (1, size, size)."""
    values = read_record(file, "chest_xray", window="none").array
    square = torch.from_numpy(np.ascontiguousarray(middle(values)))[None, None]
    small = torch.nn.functional.interpolate(
        square, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )[0]
    return (small * 2048 - 1024).numpy()


def middle(values: np.ndarray) -> np.ndarray:
    """The middle square, cut as XRayCenterCrop cuts."""
    rows, columns = values.shape
    side = min(rows, columns)
    top, left = rows // 2 - side // 2, columns // 2 - side // 2
    return values[top : top + side, left : left + side]


def timed(file: Path, size: int, sides: list[Callable[[Path, int], np.ndarray]], repeats: int) -> list[float]:
    """Median seconds of processor time of each side, in turn; one round before is not counted."""
    spent: list[list[float]] = [[] for _ in sides]
    for round_ in range(repeats + 1):
        for side, seconds in zip(sides, spent, strict=True):
            start = time.process_time()
            side(file, size)
            if round_:
                seconds.append(time.process_time() - start)
    return [statistics.median(seconds) for seconds in spent]


def written(folder: Path) -> list[Path]:
    """Two uncompressed DX objects of 12 bit, 2500 x 2048 pixels: MONOCHROME2 and MONOCHROME1."""
    rng = np.random.default_rng(0)
    density = draw_thorax(Thorax(1.0, 1.0, 0.2, 1.0, 1.0), draw_opacities("mild", rng), 0.0, 500, 410, rng)
    picture = exposed(density, Detector(1.0, 1.0, 0.5, 0.01, "R", (0.05, 0.05)), rng)
    large = np.asarray(Image.fromarray(picture.astype(np.float32)).resize((2048, 2500), Image.Resampling.BICUBIC))
    large = np.clip(large + rng.normal(0, 0.01, large.shape), 0, 1)
    files = [folder / f"dx12-{name}.dcm" for name in ("monochrome2", "monochrome1")]
    for file, inverted in zip(files, (False, True), strict=True):
        save_radiograph_dicom(
            file, large, digital=True, bits=12, inverted=inverted, view="PA", spacing_mm=0.16, patient="bench"
        )
    return files


if __name__ == "__main__":
    sys.exit(main())
