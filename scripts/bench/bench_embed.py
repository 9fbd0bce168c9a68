"""Embedding from files against the encoder's bare forward pass on ready tensors, side by side.

    python scripts/bench/bench_embed.py ../shared/data/blood_cell/labels.csv [--records 96] [--rounds 3]

Bar: at least 0.9 on a CPU. Each round measures, in turn: the bare forward pass with torch's own
threads at several batch sizes (the best counts), and the pipeline from files with an empty cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch

import medfm


def bare(encoder: medfm.Encoder, tensors: torch.Tensor, batch: int) -> float:
    """Records per second of the forward pass alone."""
    on_gpu = encoder.device.type == "cuda"
    started = time.perf_counter()
    for start in range(0, len(tensors), batch):
        encoder(tensors[start : start + batch].to(encoder.device)).cpu()
    if on_gpu:
        torch.cuda.synchronize()
    return len(tensors) / (time.perf_counter() - started)


def pipeline(encoder: medfm.Encoder, cohort: medfm.Cohort, **settings: object) -> float:
    """Records per second from files, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        emb = medfm.embed(encoder, cohort, cache=cache, **settings)
        seconds = time.perf_counter() - started
    assert emb.provenance["run"]["computed"] == len(cohort)
    return len(cohort) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--encoder", default="dinobloom-s")
    parser.add_argument("--task", default="pbc_cell")
    parser.add_argument("--records", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    arguments = parser.parse_args()

    encoder = medfm.load_encoder(arguments.encoder, weights="random")
    encoder.fingerprint  # noqa: B018  (computed once per encoder, outside the clock)
    cohort = medfm.load_cohort(
        arguments.table, map={"patient_id": "source_id"}, where={"task": arguments.task}, check=False
    )
    cohort = cohort.subset(slice(0, arguments.records))
    tensors = torch.stack([encoder.preprocess(cohort.read(i)) for i in range(len(cohort))])
    bare(encoder, tensors[:8], 8)
    print(f"{arguments.encoder} on {encoder.device}, {torch.get_num_threads()} threads, {len(cohort)} records")
    print(f"{'round':>5} {'bare records/s':>15} {'pipeline records/s':>19} {'ratio':>6}")
    ratios = []
    for number in range(arguments.rounds):
        best = max(bare(encoder, tensors, batch) for batch in arguments.batch_sizes)
        files = pipeline(encoder, cohort, workers=arguments.workers)
        ratios.append(files / best)
        print(f"{number + 1:>5} {best:>15.2f} {files:>19.2f} {ratios[-1]:>6.2f}")
    median = sorted(ratios)[len(ratios) // 2]
    print(f"median ratio {median:.2f} (bar 0.90): {'reached' if median >= 0.9 else 'MISSED'}")


if __name__ == "__main__":
    main()
