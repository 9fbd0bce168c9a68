"""Memory of an embedding run at 1 000 and at 10 000 records: it must not grow with their number.

    python scripts/bench/bench_memory.py [--counts 1000 10000]

Tiny synthetic pictures and a tiny encoder; each size runs in its own process, in four ways: kept
in the store (collect=False) or collected, decoding here or in a worker. The figure is the peak
resident memory of the main process above that right before the run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

DIM = 768


class TinyPreprocess:
    """Record -> float32 (3, 8, 8)."""

    def __call__(self, record):
        import torch

        return torch.from_numpy(record.array.copy()).permute(2, 0, 1).float() / 255


class TinyEncoder:
    """A linear map to 768 numbers, as wide as a ViT-B."""

    id, modality, weights_kind, embedding_dim, device, fingerprint = (
        "tiny",
        "blood_cell",
        "random",
        DIM,
        "cpu",
        "ab" * 32,
    )

    def __init__(self) -> None:
        import torch

        self.preprocess = TinyPreprocess()
        self.weight = torch.randn(192, DIM, generator=torch.Generator().manual_seed(0))

    def __call__(self, batch):
        return batch.flatten(1) @ self.weight


def child(count: int, collect: bool, workers: int) -> None:
    """Run once and print the growth of the peak in MiB and the seconds."""
    import numpy as np
    import pandas as pd
    import psutil
    from PIL import Image

    from medfm.cohorts.cohort import Cohort
    from medfm.workflows.embed import embed

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = np.random.default_rng(0)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / f"{i:06d}.png")

        def cohort(n: int) -> Cohort:
            ids = [f"{i:06d}" for i in range(n)]
            table = pd.DataFrame({"record_id": ids, "path": [f"{i}.png" for i in ids], "patient_id": ids})
            return Cohort(table.assign(site=None, split="train"), "blood_cell", root)

        encoder, whole = TinyEncoder(), cohort(count)
        # Libraries and their buffers are loaded before the measurement begins.
        embed(encoder, cohort(64), cache=root / "warm", workers=workers, collect=collect)
        process = psutil.Process()
        before = process.memory_info().rss
        peak, ended = before, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.005):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        emb = embed(encoder, whole, cache=root / "cache", workers=workers, collect=collect, flush_every=512)
        seconds = time.perf_counter() - started
        ended.set()
        watcher.join()
        assert len(emb) == count
        print(f"{(peak - before) / 2**20:.1f} {seconds:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        count, collect, workers = map(int, arguments.child)
        child(count, bool(collect), workers)
        return
    print(f"{'records':>8} {'vectors':>10} {'workers':>8} {'peak growth MiB':>16} {'of it vectors':>14} {'seconds':>8}")
    for collect in (0, 1):
        for workers in (0, 1):
            for count in arguments.counts:
                command = [sys.executable, __file__, "--child", str(count), str(collect), str(workers)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                growth, seconds = done.stdout.split()
                own = count * DIM * 4 / 2**20 if collect else 0.0
                kind = "collected" if collect else "in store"
                print(f"{count:>8} {kind:>10} {workers:>8} {growth:>16} {own:>14.1f} {seconds:>8}")


if __name__ == "__main__":
    main()
