"""Linear-probe sweep: the batched solver against scikit-learn's L-BFGS, side by side, at equal objective.

Both solve the same problems (values of C x folds) on the same features. scikit-learn is given the
loosest tolerance of a ladder at which its objective is within 1e-6 (relative) of ours on the
first fold, and only the time of the fit at that tolerance counts; where it never gets there, its
tightest fit counts. Times at its default tolerance are given as well, with their objective gaps.
On a machine that others use as well, --cpu counts processor seconds of all threads instead of the
clock.

    python scripts/bench/bench_probe.py                 # n = 20 000, d = 768, 10 classes, 10 C x 5 folds
    python scripts/bench/bench_probe.py --small         # n = 5 000, d = 256
    python scripts/bench/bench_probe.py --timed-folds 1 # time scikit-learn on one fold and count it five times
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from medfm.evaluation.logistic import fit_logistic, objective

CLOCK = time.perf_counter
LADDER = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


def embeddings(n: int, d: int, classes: int, decay: float, separation: float) -> tuple[np.ndarray, np.ndarray]:
    """Features with a power-law spectrum (as of real embeddings) and overlapping classes, float32."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1) ** (-decay / 2)
    y = rng.integers(0, classes, n)
    centres = rng.standard_normal((classes, d)) * separation * scale / (1 + np.arange(d) / 30)
    X = (rng.standard_normal((n, d)) * scale + centres[y]) @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    return (X + 0.3 * rng.standard_normal(d)).astype(np.float32), y


def fit_reference(X: np.ndarray, y: np.ndarray, C: float, tol: float) -> tuple[float, float]:
    """Seconds and objective of one scikit-learn fit."""
    start = CLOCK()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=C, max_iter=50_000, tol=tol).fit(X, y)
    seconds = CLOCK() - start
    return seconds, objective(X, y, C, model.coef_, model.intercept_)


def main() -> None:
    global CLOCK
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--n", type=int)
    parser.add_argument("--d", type=int)
    parser.add_argument("--decay", type=float, default=1.0, help="of the spectrum; 0 = white")
    parser.add_argument("--separation", type=float, default=0.4)
    parser.add_argument("--timed-folds", type=int, default=5, help="folds on which scikit-learn is timed")
    parser.add_argument("--every", type=int, default=1, help="time scikit-learn on every n-th C only")
    parser.add_argument("--cpu", action="store_true", help="count processor seconds, not the clock")
    arguments = parser.parse_args()
    if arguments.cpu:
        CLOCK = time.process_time
    n = arguments.n or (5_000 if arguments.small else 20_000)
    d = arguments.d or (256 if arguments.small else 768)
    X, y = embeddings(n, d, 10, arguments.decay, arguments.separation)
    grid = 10.0 ** np.linspace(-4, 4, 10)
    weights = np.zeros((5, n))
    parts = [train for train, _ in StratifiedKFold(5).split(X, y)]
    for row, train in zip(weights, parts, strict=True):
        row[train] = 1
    print(f"n {n}, d {d}, 10 classes, 10 C x 5 folds, decay {arguments.decay:g}, threads {torch.get_num_threads()}")
    start = CLOCK()
    fit = fit_logistic(X, y, grid, weights)
    ours = CLOCK() - start
    print(f"batched: {ours:.2f} s for all 50 problems", flush=True)
    equal = default = alike = 0.0
    worst, better = -np.inf, 0.0
    for g in range(0, 10, arguments.every):
        chosen, seconds, gap = LADDER[-1], 0.0, np.inf
        rows = parts[0]
        train, labels = X[rows].astype(np.float64), y[rows]
        first = None
        for tol in LADDER:
            seconds, value = fit_reference(train, labels, grid[g], tol)
            mine = objective(X, y, grid[g], fit.coef[g, 0], fit.intercept[g, 0], weights[0])
            gap = value / mine - 1
            first = first or (seconds, gap)
            chosen = tol
            if gap < 1e-6:
                break
        times = [seconds]
        gaps = [gap]
        for p in range(1, arguments.timed_folds):
            took, value = fit_reference(X[parts[p]].astype(np.float64), y[parts[p]], grid[g], chosen)
            times.append(took)
            gaps.append(value / objective(X, y, grid[g], fit.coef[g, p], fit.intercept[g, p], weights[p]) - 1)
        assert first is not None
        equal += np.mean(times) * 5 * arguments.every
        default += first[0] * 5 * arguments.every
        alike += int(max(gaps) < 1e-6)
        worst, better = max(worst, -min(gaps)), max(better, max(gaps))
        print(
            f"  C {grid[g]:9.3g}  scikit-learn tol {chosen:.0e} {np.mean(times):7.2f} s per fit, "
            f"objective against ours {np.mean(gaps):+.1e}; default tol {first[0]:6.2f} s, {first[1]:+.1e}",
            flush=True,
        )
    print(
        f"our objective is at most {max(worst, 0):.1e} (relative) above scikit-learn's; its own up to {better:.1e} above"
    )
    print(f"scikit-learn, equal objective: {equal:.1f} s for 50 problems -> ratio {equal / ours:.1f} (bar: 10)")
    print(f"scikit-learn, default tolerance (not the optimum): {default:.1f} s -> ratio {default / ours:.1f}")


if __name__ == "__main__":
    main()
