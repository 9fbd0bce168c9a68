"""Codes of volume files against the encoder's bare forward pass on ready tensors, side by side.

    python scripts/bench/bench_volumes.py [--table ../shared/data/mri/labels.csv] [--encoder ldae-brain-mri] [--records 3]

Bar: at least 0.9 of the bare forward pass. Each record is a compressed NIfTI file of its own in a temporary folder: a scan
of the table (or, without it, a made-up head) with every voxel split into --split^3, so that 2 mm become 1 mm and reading
costs what it costs with whole scans, and one voxel changed, so that neither the content cache nor equal files help.
Each round measures, one after the other, the pipeline from files with an empty cache and the bare forward pass, one
volume at a time and, with --together, all in one batch (the faster counts). What reading and preprocessing one file takes is printed beside
them: where that is longer than the forward pass, as with ldae-tiny, the ratio says how many processor cores there are
to read with, and the processor time per volume is the figure to look at.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import medfm

BAR = 0.9


def used() -> float:
    """Processor seconds of this process and of those that it waited for."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    wall, processor = time.perf_counter(), used()
    action()
    return time.perf_counter() - wall, used() - processor


def made_up_head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid of noise, int16 (90, 108, 90), and the affine of 2 mm voxels."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, side) for side in (90, 108, 90)], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.7
    return (inside * random.normal(600, 80, inside.shape)).astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0])


def write_volumes(folder: Path, table: Path | None, task: str, records: int, split: int) -> list[Path]:
    """`records` different .nii.gz files."""
    import nibabel

    sources: list[Path] = []
    if table is not None:
        rows = pd.read_csv(table)
        sources = [table.parent / path for path in rows.loc[rows["task"] == task, "path"]]
    files = []
    for number in range(records):
        if sources:
            image = nibabel.load(sources[number % len(sources)])
            values, affine = np.asarray(image.dataobj), image.affine.copy()
        else:
            values, affine = made_up_head(number)
        for axis in range(3):
            values = values.repeat(split, axis=axis)
        affine[:3, :3] /= split
        values[tuple(side // 2 for side in values.shape)] += number + 1
        files.append(folder / f"volume{number:04d}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(values, affine), files[-1])
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="labels.csv with a column 'task'; without it heads are made up")
    parser.add_argument("--task", default="ixi_sex")
    parser.add_argument("--encoder", default="ldae-brain-mri")
    parser.add_argument("--records", type=int, default=3)
    parser.add_argument("--split", type=int, default=2, help="voxels along each side of one of the file's [2]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="processes that read [1]")
    parser.add_argument("--together", action="store_true", help="forward all volumes in one batch too")
    options = parser.parse_args()
    if min(options.records, options.split, options.rounds, options.workers) < 1:
        parser.error("--records, --split, --rounds and --workers must be at least 1")

    encoder = medfm.load_encoder(options.encoder, weights=None if options.encoder == "brain-volume-stats" else "random")
    encoder.fingerprint  # noqa: B018  (computed once per encoder, outside the clock)
    with tempfile.TemporaryDirectory() as name:
        files = write_volumes(Path(name), options.table, options.task, options.records, options.split)
        rows = pd.DataFrame({"path": [file.name for file in files]})
        cohort = medfm.load_cohort(rows, modality="brain_mri", root=name, check=False)
        ready: list[torch.Tensor] = []
        reading = timed(lambda: ready.extend(encoder.preprocess(cohort.read(i)) for i in range(len(cohort))))
        tensors = torch.stack(ready)
        encoder(tensors[:1])
        n = len(cohort)
        shape = " x ".join(map(str, cohort.read(0).array.shape))
        print(
            f"{options.encoder}: {n} files of {shape} voxels, {options.workers} workers, {torch.get_num_threads()} threads, "
            f"load {os.getloadavg()[0]:.1f}\nreading and preprocessing one file here: {reading[0] / n:.2f} s "
            f"({reading[1] / n:.2f} s of a processor)"
        )

        def pipeline() -> None:
            with tempfile.TemporaryDirectory() as cache:
                found = medfm.embed(encoder, cohort, cache=cache, workers=options.workers)
            assert found.provenance["run"]["computed"] == n

        print(f"{'':5} {'seconds a volume':^21} {'':>6} {'processor seconds':^21}")
        print(f"{'round':>5} {'files':>10} {'bare':>10} {'ratio':>6} {'files':>10} {'bare':>10}")
        ratios, by_processor = [], []
        for number in range(options.rounds):
            whole = timed(pipeline)
            alone = timed(lambda: [encoder(one[None]) for one in tensors])
            bare = min(alone, timed(lambda: encoder(tensors))) if options.together else alone
            ratios.append(bare[0] / whole[0])
            by_processor.append(bare[1] / max(whole[1], 1e-9))
            print(
                f"{number + 1:>5} {whole[0] / n:>10.3f} {bare[0] / n:>10.3f} {ratios[-1]:>6.2f} {whole[1] / n:>10.3f} "
                f"{bare[1] / n:>10.3f}",
                flush=True,
            )
    median = statistics.median(ratios)
    print(
        f"median ratio of {options.rounds} round{'s' * (options.rounds > 1)} {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f}; by "
        f"processor time {statistics.median(by_processor):.2f}; bar {BAR:.2f}): {'reached' if median >= BAR else 'MISSED'}"
    )
    return 0 if median >= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
