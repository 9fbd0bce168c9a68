"""Clustered bootstrap of macro AUROC: medfm against a scikit-learn loop, side by side.

    python scripts/bench/bench_bootstrap.py [--records 20000] [--classes 10] [--resamples 1000] [--loop 10]

The loop gathers the rows of the drawn patients and calls ``roc_auc_score(multi_class="ovr")`` once
per resample. It is linear in the resamples, so only --loop of them are run and scaled up. Both
figures of the same resamples are compared as well: they must agree.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from medfm.evaluation.bootstrap import Clusters, collect, draw, percentile_interval
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.metrics_scores import auroc_macro


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--patients", type=int, default=4_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--resamples", type=int, default=1_000)
    parser.add_argument("--loop", type=int, default=10, help="resamples that the scikit-learn loop runs")
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours; the median counts")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    truth = rng.integers(0, options.classes, options.records)
    logits = rng.normal(size=(options.records, options.classes))
    logits[np.arange(options.records), truth] += 1
    scores = np.exp(logits)
    scores /= scores.sum(axis=1, keepdims=True)
    patients = rng.integers(0, options.patients, options.records)
    names = tuple(f"class {c}" for c in range(options.classes))
    clusters = Clusters.of(patients, truth)

    ours = []
    for _ in range(options.repeats):
        # A fresh Outcomes each time: sorting counts as part of the work.
        started = time.perf_counter()
        outcomes = Outcomes("multiclass", names, truth, scores.argmax(axis=1), scores)
        values = collect(outcomes, clusters, {"auroc": auroc_macro}, resamples=options.resamples, seed=0)["auroc"]
        low, high = percentile_interval(values, 0.95)
        ours.append(time.perf_counter() - started)

    # The very same resamples for scikit-learn.
    weights = np.concatenate(list(draw(clusters, options.loop, 0)), axis=1).astype(np.int64)
    theirs = []
    started = time.perf_counter()
    for b in range(options.loop):
        rows = np.repeat(np.arange(options.records), weights[:, b])
        theirs.append(roc_auc_score(truth[rows], scores[rows], multi_class="ovr", average="macro"))
    per_resample = (time.perf_counter() - started) / options.loop
    loop = per_resample * options.resamples

    print(
        json.dumps(
            {
                "records": options.records,
                "patients": clusters.count,
                "classes": options.classes,
                "resamples": options.resamples,
                "interval": [float(low), float(high)],
                "medfm_s": round(float(np.median(ours)), 3),
                "sklearn_loop_s_scaled": round(loop, 2),
                "sklearn_s_per_resample": round(per_resample, 4),
                "largest_difference": float(np.abs(values[: options.loop] - np.array(theirs)).max()),
                "times_faster": round(loop / float(np.median(ours)), 1),
                "bar": 50,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
