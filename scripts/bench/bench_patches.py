"""Embedding of histopathology patches from files: medfm, open_clip's own loop and the bare forward pass, side by side.

    python scripts/bench/bench_patches.py ../shared/data/histopathology/lc25000_lung [--encoders quiltnet-b-32 clip-vit-b-16]

Bars: at least as fast as open_clip's loop with the same number of worker processes, and at least 0.9 of the bare forward
pass on ready tensors. The patches of the folder are written again under other names with one pixel changed, so neither
the content cache nor equal files help. Each round measures, one after the other: medfm with an empty cache; open_clip's
model of the same architecture with the same (random) weights, its own preprocessing transform, a torch DataLoader and
``encode_image`` at several batch sizes (the fastest counts); the encoder's bare forward pass at the same batch sizes
(the fastest counts). Bars are judged by the median of the rounds' ratios of wall time. Both sides may use all of
torch's threads; the vectors must agree within 1e-4. The ratios of processor time (worker processes included) are
printed beside: they mean something on a machine that does other work as well.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import medfm

ARCHITECTURES = {
    "clip-vit-b-16": "ViT-B-16",
    "quiltnet-b-16": "ViT-B-16",
    "quiltnet-b-32": "ViT-B-32",
    "pathgen-clip": "ViT-B-16",
}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Took:
    """Wall and processor seconds of a measurement."""

    wall: float
    processor: float


class Clock:
    """Starts when it is made; worker processes count once they have ended."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), self._used()

    def stop(self) -> Took:
        return Took(time.perf_counter() - self._wall, self._used() - self._processor)

    @staticmethod
    def _used() -> float:
        parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(part.ru_utime + part.ru_stime for part in parts)


class Patches(Dataset[torch.Tensor]):
    """As the examples of open_clip's users read a folder of pictures."""

    def __init__(self, files: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.files[index]))


def write_patches(source: Path, folder: Path, records: int) -> list[Path]:
    """`records` different JPEG files of real patches: each copy has one pixel of its own."""
    real = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png", ".tif"))
    if not real:
        raise SystemExit(f"There are no pictures in {source}.")
    files = []
    for number in range(records):
        with Image.open(real[number % len(real)]) as picture:
            changed = picture.convert("RGB")
        changed.putpixel((number % changed.width, number // changed.width % changed.height), (number % 256, 0, 255))
        files.append(folder / f"patch{number:06d}.jpg")
        changed.save(files[-1], quality=92)
    return files


def open_clip_model(encoder: medfm.Encoder, architecture: str) -> tuple[Any, Any]:
    """open_clip's model with the encoder's weights, and its preprocessing transform."""
    import open_clip

    quick = encoder.module.args.activation == "quick_gelu"
    model, _, transform = open_clip.create_model_and_transforms(
        architecture, force_custom_text=True, force_quick_gelu=quick
    )
    missing, unknown = model.load_state_dict(encoder.module.state_dict(), strict=False)
    assert not unknown and not [name for name in missing if name.startswith("visual.")], (missing, unknown)
    return model.eval(), transform


def their_loop(model: Any, transform: Any, files: list[Path], batch: int, workers: int) -> tuple[Took, np.ndarray]:
    """Time and vectors (n, d) of open_clip's loop."""
    clock = Clock()
    loader = DataLoader(Patches(files, transform), batch_size=batch, num_workers=workers)
    with torch.inference_mode():
        vectors = torch.cat([model.encode_image(pictures) for pictures in loader])
    del loader
    return clock.stop(), vectors.numpy()


def bare(encoder: medfm.Encoder, tensors: torch.Tensor, batch: int) -> Took:
    """Time of the forward pass alone."""
    clock = Clock()
    for start in range(0, len(tensors), batch):
        encoder(tensors[start : start + batch])
    return clock.stop()


def ours(encoder: medfm.Encoder, cohort: medfm.Cohort, workers: int) -> tuple[Took, np.ndarray]:
    """Time and vectors (n, d) of medfm with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        clock = Clock()
        found = medfm.embed(encoder, cohort, cache=cache, workers=workers)
        took = clock.stop()
    assert found.provenance["run"]["computed"] == len(cohort)
    return took, found.values


def measure(name: str, files: list[Path], arguments: argparse.Namespace) -> bool:
    """Print the rounds of one encoder; whether both bars are reached."""
    encoder = medfm.load_encoder(name, weights="random")
    encoder.fingerprint  # noqa: B018  (computed once per encoder, outside the clock)
    model, transform = open_clip_model(encoder, ARCHITECTURES[name])
    table = pd.DataFrame({"path": [path.name for path in files]})
    cohort = medfm.load_cohort(table, modality="histopathology", root=files[0].parent, check=False)
    tensors = torch.stack([encoder.preprocess(cohort.read(i)) for i in range(len(cohort))])
    bare(encoder, tensors[:8], 8)
    print(
        f"{name}: {len(files)} patches, {arguments.workers} workers, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}, records/s"
    )
    print(f"{'':>5} {'records/s':^28} {'wall time to':^19} {'processor time to':^19}")
    print(f"{'round':>5} {'medfm':>8} {'open_clip':>10} {'bare':>8}" + 2 * f" {'open_clip':>10} {'bare':>8}")
    ratios, difference, n = [], 0.0, len(files)
    for number in range(arguments.rounds):
        own, vectors = ours(encoder, cohort, arguments.workers)
        loops = [their_loop(model, transform, files, batch, arguments.workers) for batch in arguments.batch_sizes]
        passes = [bare(encoder, tensors, batch) for batch in arguments.batch_sizes]
        difference = max(difference, *(float(np.abs(vectors - found).max()) for _, found in loops))
        theirs, forward = min(took.wall for took, _ in loops), min(took.wall for took in passes)
        used = min(took.processor for took, _ in loops), min(took.processor for took in passes)
        ratios.append((theirs / own.wall, forward / own.wall, used[0] / own.processor, used[1] / own.processor))
        print(
            f"{number + 1:>5} {n / own.wall:>8.2f} {n / theirs:>10.2f} {n / forward:>8.2f}"
            + "".join(f" {ratio:>{10 - 2 * (place % 2)}.2f}" for place, ratio in enumerate(ratios[-1])),
            flush=True,
        )
    assert difference <= TOLERANCE, f"the vectors differ by {difference:.2g}"
    first, second, third, fourth = (statistics.median(column) for column in zip(*ratios, strict=True))
    reached = first >= 1.0 and second >= 0.9
    print(
        f"{name}: median {first:.2f} of open_clip's loop (bar 1.00), {second:.2f} of the bare forward pass (bar 0.90): "
        f"{'reached' if reached else 'MISSED'}\n"
        f"by processor time {third:.2f} and {fourth:.2f}; largest difference of the vectors {difference:.1e}"
    )
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pictures of tissue patches, in folders or not")
    parser.add_argument("--encoders", nargs="+", default=["quiltnet-b-32", "clip-vit-b-16"], choices=ARCHITECTURES)
    parser.add_argument("--records", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_patches(arguments.folder, Path(folder), arguments.records)
        reached = [measure(name, files, arguments) for name in arguments.encoders]
    raise SystemExit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
