"""What a cohort's mix of classes adds to the variance of a figure.

The bootstrap draws patients within the strata of their class, so every resample has the mix of classes of the
cohort. Patients who came as they came could as well have come in another mix: kappa, F1 or average precision then
differ more between cohorts than between such resamples. The missing part is added by the delta method: the numbers
of patients per stratum are multinomial, and a figure that does not depend on the total weight has the additional
variance ``sum over strata of D_s ** 2 / n_s``, where ``D_s`` is its derivative by the relative weight of stratum s and
``n_s`` the stratum's patients.

Where the mix was fixed beforehand (as many ill as well were chosen) the interval is wider than it need be.
``scripts/interval_coverage.py`` measures both.
"""

from __future__ import annotations

import numpy as np

from medfm.evaluation.bootstrap import Clusters, Statistic
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted

_CHUNK_BYTES = 8 * 2**20


def mix_variance(outcomes: Outcomes, clusters: Clusters, statistic: Statistic) -> np.ndarray:
    """Variance that comes from the numbers of patients per stratum.

    Each stratum's weight is moved by one standard deviation of its number of patients, up and down; half the difference
    of the two values is that stratum's part of the standard error.

    Args:
        outcomes: The n records.
        clusters: Their patients and strata.
        statistic: Figure(s) of many weightings at once, float64 (..., b).

    Returns:
        float64 of the shape of the statistic without its last axis; 0 with a single stratum, not finite where the
        figure is undefined under a moved weight.
    """
    sizes = np.bincount(clusters.strata)
    own = clusters.strata[clusters.codes]
    if len(sizes) < 2:
        return np.zeros_like(statistic(Weighted(outcomes, np.ones((len(own), 1))))[..., 0])
    moved = 1 / np.sqrt(sizes)
    step = max(1, _CHUNK_BYTES // (16 * len(own)))
    total: np.ndarray | None = None
    for first in range(0, len(sizes), step):
        strata = np.arange(first, min(first + step, len(sizes)))
        change = (own[:, None] == strata[None, :]) * moved[strata]
        values = statistic(Weighted(outcomes, np.concatenate([1 + change, 1 - change], axis=1)))
        half = (values[..., : len(strata)] - values[..., len(strata) :]) / 2
        part = np.sum(half**2, axis=-1)
        total = part if total is None else total + part
    assert total is not None
    return np.asarray(total, dtype=np.float64)
