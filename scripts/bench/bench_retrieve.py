"""Exact retrieval in blocks against the whole matrix sorted with numpy, side by side: time and peak memory.

Both rank n candidates for n queries by cosine and report R@1, R@5, R@10 and the median rank, each in
a process of its own, so that peaks do not mix. The vectors are read from one memory-mapped file. A
third run gives every query many right answers (10 groups), which takes the sorting way. `faiss` and
`faissgroups` are the approximate search, whose recall is shown: of pairs in 24 of the dimensions with
noise (--spread 24), as real embeddings lie in few directions; --spread 0 is noise in all of them, the
worst case of every index.

    python scripts/bench/bench_retrieve.py                    # n = 20 000, d = 256; the naive way needs 6 GB
    python scripts/bench/bench_retrieve.py --n 5000
    python scripts/bench/bench_retrieve.py --n 100000 --only blocks
    python scripts/bench/bench_retrieve.py --n 50000 --d 128 --spread 24 --only faiss
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from medfm.evaluation.retrieval_approximate import rank_queries_approximate
from medfm.evaluation.retrieval_ranks import Relevance, rank_queries

DEPTHS = (1, 5, 10)
GROUPS = 10


def write_vectors(folder: Path, n: int, d: int, spread: int) -> None:
    """Pairs with noise: neither all found nor none."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((n, d)).astype(np.float32)
    if spread:
        left += rng.standard_normal((n, spread)).astype(np.float32) @ rng.standard_normal((spread, d)).astype(
            np.float32
        )
    np.save(folder / "left.npy", left)
    np.save(folder / "right.npy", left + 4.0 * rng.standard_normal((n, d)).astype(np.float32))


def naive(left: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """The whole matrix, every row sorted, the partner looked for in it."""
    first, second = (np.asarray(v) / np.linalg.norm(v, axis=1, keepdims=True) for v in (left, right))
    order = np.argsort(-(first @ second.T), axis=1)
    rank = 1 + np.argmax(order == np.arange(len(left))[:, None], axis=1)
    return {**{f"R@{k}": float((rank <= k).mean()) for k in DEPTHS}, "median": float(np.median(rank))}


def blocks(left: np.ndarray, right: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """medfm's way."""
    found = rank_queries(left, right, Relevance(groups, groups), k=DEPTHS)
    hits = found.hits.mean(axis=0)
    return {**{f"R@{k}": float(h) for k, h in zip(DEPTHS, hits, strict=True)}, "median": float(np.median(found.rank))}


def approximate(left: np.ndarray, right: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """medfm's way with an index of faiss."""
    found, trust = rank_queries_approximate(left, right, Relevance(groups, groups), k=DEPTHS)
    hits = {f"R@{k}": float(h) for k, h in zip(DEPTHS, found.hits.mean(axis=0), strict=True)}
    return {**hits, "recall@10": trust.recall[10], "recall@100": trust.recall[100], "effort": trust.effort}


def child(way: str, folder: Path) -> None:
    """One way in this process; prints seconds, processor seconds, peak above the start, and the figures."""
    left, right = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("left", "right"))
    groups = np.arange(len(left)) % (GROUPS if way.endswith("groups") else len(left))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    if way == "naive":
        figures = naive(left, right)
    else:
        figures = (approximate if way.startswith("faiss") else blocks)(left, right, groups)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": peak / 1024, **figures}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--d", type=int, default=256)
    parser.add_argument("--only", choices=["naive", "blocks", "groups", "faiss", "faissgroups"])
    parser.add_argument("--spread", type=int, default=0)
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], Path(arguments.child[1]))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_vectors(Path(folder), arguments.n, arguments.d, arguments.spread)
        for way in [arguments.only] if arguments.only else ["naive", "blocks", "groups"]:
            command = [sys.executable, __file__, "--child", way, folder]
            answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            results[way] = answer
            shown = "  ".join(f"{k} {v:.4g}" for k, v in answer.items())
            print(f"{way:<7} n={arguments.n} d={arguments.d}: {shown}", flush=True)
    if {"naive", "blocks"} <= set(results):
        first, second = results["naive"], results["blocks"]
        apart = max(abs(first[f"R@{k}"] - second[f"R@{k}"]) for k in DEPTHS)
        # Cosines that differ in the last bit between the two products may swap neighbours.
        print(f"largest difference of R@k: {apart:.2g} ({'equal' if apart <= 2 / arguments.n else 'NOT EQUAL'})")
        for what, unit in (("cpu", "processor time"), ("peak_mb", "peak memory")):
            print(f"{unit}: naive / blocks = {first[what] / max(second[what], 1e-9):.1f}")


if __name__ == "__main__":
    main()
