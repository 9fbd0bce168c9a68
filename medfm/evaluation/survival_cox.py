"""Cox regression with a ridge penalty, fast enough for a search over folds, components and penalties.

Maximises  l(b) - n p / 2 ||s b||^2  with Efron's partial log-likelihood l (JASA 72, 1977), n records,
penalty p and s the standard deviations (n - 1) of the features: what lifelines' ``CoxPHFitter(penalizer=p)``
fits, which the tests hold it to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError

_MOST_STEPS = 100
_SMALL = 1e-11
# A hazard ratio of e^8 per standard deviation is no effect but a likelihood without a maximum.
_SEPARATED = 8.0


@dataclass(frozen=True)
class CoxFit:
    """One fitted model.

    Attributes:
        coef: float64 (k,), log hazard ratio per unit of each feature.
        centre: float64 (k,), feature means of training; the log hazard is 0 there.
        log_likelihood: Efron's partial log-likelihood at `coef`, without the penalty.
    """

    coef: np.ndarray
    centre: np.ndarray
    log_likelihood: float

    def risk(self, X: np.ndarray) -> np.ndarray:
        """float64 (m,): log hazard of each row against the average training record."""
        return (np.asarray(X, np.float64) - self.centre) @ self.coef


@dataclass(frozen=True)
class _Order:
    """What the likelihood needs of times and events, prepared once.

    Records are in order of rising time. Entry e of the event arrays is one event: `first` the first
    row at risk, `tie` the number of its event time, `share` Efron's l / m.
    """

    rows: np.ndarray
    events: np.ndarray
    tie: np.ndarray
    first: np.ndarray
    share: np.ndarray
    last_event: np.ndarray
    tie_of_row: np.ndarray

    @classmethod
    def of(cls, time: np.ndarray, event: np.ndarray) -> _Order:
        rows = np.argsort(time, kind="stable")
        t, e = time[rows], event[rows]
        events = np.flatnonzero(e)
        _, tie, counts = np.unique(t[events], return_inverse=True, return_counts=True)
        tie = tie.reshape(-1)
        starts = np.cumsum(counts) - counts
        share = (np.arange(len(events)) - starts[tie]) / counts[tie]
        first = np.searchsorted(t, t[events], side="left")
        # For each row: how many events happened up to its time.
        last_event = np.searchsorted(t[events], t, side="right")
        tie_of_row = np.full(len(t), -1, dtype=np.int64)
        tie_of_row[events] = tie
        return cls(rows, events, tie, first, share, last_event, tie_of_row)


def fit_cox(
    X: np.ndarray, time: np.ndarray, event: np.ndarray, penalty: float = 0.0, start: np.ndarray | None = None
) -> CoxFit:
    """Fit by Newton's method with step halving.

    Args:
        X: (n, k) features.
        time: float (n,), positive.
        event: bool (n,), false where censored.
        penalty: lifelines' ``penalizer`` (ridge).
        start: float (k,) coefficients to begin with.

    Raises:
        EvaluationError: No event, a feature that does not vary, or no convergence (separation).
    """
    X, time, event = _checked(X, time, event)
    centre, scale = X.mean(axis=0), X.std(axis=0, ddof=1)
    if (scale <= 0).any():
        raise EvaluationError("A feature of the Cox regression is constant in the training records.")
    order = _Order.of(time, event)
    Z = (X - centre) / scale
    Z = Z[order.rows]
    weight = penalty * len(Z)
    b = np.zeros(Z.shape[1]) if start is None else np.asarray(start, np.float64) * scale
    value, gradient, hessian, plain = _terms(Z, order, b, weight)
    for _ in range(_MOST_STEPS):
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        decrement = float(gradient @ step)
        if penalty == 0 and np.abs(b).max() > _SEPARATED:
            break
        if decrement < _SMALL * max(1.0, abs(value)):
            return CoxFit(b / scale, centre, plain)
        size = 1.0
        while size > 1e-8:
            trial = b + size * step
            tried = _terms(Z, order, trial, weight)
            if np.isfinite(tried[0]) and tried[0] >= value:
                break
            size /= 2
        else:
            return CoxFit(b / scale, centre, plain)  # rounding: no step improves any more
        b, (value, gradient, hessian, plain) = trial, tried
    raise EvaluationError(
        "The Cox regression does not converge: a feature separates those with the event from the others.",
        expected="a penalty above 0, or fewer components",
        fix="use --set method.penalties=[0.1,1,10]",
    )


def partial_log_likelihood(X: np.ndarray, time: np.ndarray, event: np.ndarray, coef: np.ndarray) -> float:
    """Efron's partial log-likelihood of `coef` (k,) on other records; 0 where these hold no event."""
    X = np.asarray(X, np.float64)
    event = np.asarray(event, bool)
    if not event.any():
        return 0.0
    order = _Order.of(np.asarray(time, np.float64), event)
    return _likelihood((X @ coef)[order.rows], order)


def _risk_sums(values: np.ndarray, order: _Order) -> tuple[np.ndarray, np.ndarray]:
    """Sums over those at risk, and over those with the event at the same time: each (events, ...)."""
    later = np.cumsum(values[::-1], axis=0)[::-1]
    own = np.zeros((int(order.tie.max()) + 1, *values.shape[1:]))
    np.add.at(own, order.tie, values[order.events])
    return later[order.first], own[order.tie]


def _likelihood(eta: np.ndarray, order: _Order) -> float:
    top = eta.max()
    at_risk, tied = _risk_sums(np.exp(eta - top), order)
    return float(eta[order.events].sum() - (np.log(at_risk - order.share * tied) + top).sum())


def _terms(Z: np.ndarray, order: _Order, b: np.ndarray, weight: float) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Penalised likelihood, its gradient, minus its Hessian, and the plain likelihood."""
    eta = Z @ b
    hazard = np.exp(eta - eta.max())
    at_risk, tied = _risk_sums(hazard, order)
    total = at_risk - order.share * tied
    at_risk_1, tied_1 = _risk_sums(hazard[:, None] * Z, order)
    mean = (at_risk_1 - order.share[:, None] * tied_1) / total[:, None]
    # sum over events of (second moment at risk) is one weighted product: a row counts for every event up to its time.
    inverse = 1.0 / total
    counts = np.concatenate([[0.0], np.cumsum(inverse)])[order.last_event]
    shares = np.zeros(int(order.tie.max()) + 1)
    np.add.at(shares, order.tie, order.share * inverse)
    counts = counts - np.where(order.tie_of_row >= 0, shares[order.tie_of_row], 0.0)
    second = (Z * (hazard * counts)[:, None]).T @ Z
    gradient = Z[order.events].sum(axis=0) - mean.sum(axis=0) - weight * b
    hessian = second - mean.T @ mean + weight * np.eye(len(b))
    plain = float(eta[order.events].sum() - (np.log(total) + eta.max()).sum())
    return plain - 0.5 * weight * float(b @ b), gradient, hessian, plain


def _checked(X: np.ndarray, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X, time, event = np.asarray(X, np.float64), np.asarray(time, np.float64), np.asarray(event, bool)
    if X.ndim != 2 or not len(X) == len(time) == len(event) or len(X) < 2:
        raise EvaluationError("A Cox regression needs features (n, k), times (n,) and events (n,), n at least 2.")
    if not (np.isfinite(X).all() and np.isfinite(time).all()):
        raise EvaluationError("A feature or time of the Cox regression is not finite.")
    if not event.any():
        raise EvaluationError(
            "No training record has the event, so no Cox regression can be fitted.",
            fix="check the event column and its codes, or use fewer folds (--set scheme.folds)",
        )
    return X, time, event
