"""L2 logistic regression: many problems on one feature matrix, solved together.

The problems are scikit-learn's: minimise  C sum_i s_i loss_i + 1/2 ||W||^2  with an unpenalised
intercept, over all folds, class weightings and values of C at once. A fold is a row of sample
weights (0 for the rows it does not train on). The objective agrees with scikit-learn's optimum
to better than 1e-6 relative (see the tests and ``scripts/bench/bench_probe.py``).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from medfm.core.errors import EvaluationError
from medfm.evaluation.logistic_basis import whiten
from medfm.evaluation.logistic_newton import State, logits_of, minimise

DEFAULT_TOL = 3e-7  # promised before the last step; that step leaves about a tenth of it
_MOST_NEWTON = 100
# Multiplications of one Hessian product below which further threads cost more than they bring: their
# waiting for one another made small sweeps several times slower on a busy machine.
_ONE_THREAD_BELOW = 1 << 25
_MOST_LOGITS = 1 << 24  # n x problems x classes in one block: about 1 GiB of float64 work arrays


@dataclass(frozen=True)
class LogisticFit:
    """Solutions of G values of C for P problems with K columns.

    Attributes:
        coef: float64 (G, P, K, d); K = 1 for a binary problem.
        intercept: float64 (G, P, K); -inf for a class that a problem does not have.
        objective: float64 (G, P) in scikit-learn's scaling.
        gap: float64 (G, P): relative decrease promised by the last Newton step, an upper mark of
            the distance to the optimum since that step was taken.
        C: float64 (G, P).
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    C: np.ndarray

    def probabilities(self, X: np.ndarray, g: int, p: int) -> np.ndarray:
        """float64 (m, K) probabilities for the rows of `X`; (m, 2) for a binary problem."""
        return probabilities(X, self.coef[g, p], self.intercept[g, p])


def probabilities(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """float64 (m, K) softmax, or (m, 2) for a single column; `coef` (K, d), `intercept` (K,)."""
    logits = np.asarray(X, dtype=np.float64) @ coef.T + intercept
    if logits.shape[1] == 1:
        logits = np.hstack([-logits / 2, logits / 2])
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def fit_logistic(
    X: np.ndarray,
    y: np.ndarray,
    C: np.ndarray | float,
    weights: np.ndarray | None = None,
    *,
    classes: int | None = None,
    tol: float = DEFAULT_TOL,
    device: str | None = None,
) -> LogisticFit:
    """Solve all problems for all values of C.

    Args:
        X: (n, d) features, finite.
        y: int (n,) class positions shared by the problems, or (P, n) of 0/1 for P binary ones.
        C: A value, a grid (G,), or (G, P) values per problem; positive.
        weights: float (P, n) sample weights, zero for rows a problem does not train on; one
            problem with all ones by default.
        classes: K; 2 solves the binary problem (one weight vector, as scikit-learn does), more
            the symmetric multinomial one. The largest y + 1 by default.
        tol: Relative decrease of the objective below which a problem is done.
        device: Torch device; the CPU by default.

    Raises:
        EvaluationError: A problem trains on one class only, C is not positive, or shapes differ.
    """
    y = np.atleast_2d(np.asarray(y, dtype=np.int64))
    n, d = X.shape
    count = classes if classes is not None else max(2, int(y.max()) + 1)
    weights = np.ones((len(y), n)) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    problems = max(len(weights), len(y))
    if y.shape[1] != n or weights.shape[1] != n or len(weights) not in (1, problems) or len(y) not in (1, problems):
        raise EvaluationError(f"Labels {y.shape} and weights {weights.shape} do not fit {n} rows.")
    weights = np.broadcast_to(weights, (problems, n))
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise EvaluationError("Sample weights must be finite and not negative.")
    grid = np.asarray(C, dtype=np.float64)
    grid = np.broadcast_to(
        grid[:, None] if grid.ndim == 1 else np.atleast_2d(grid), (grid.shape[0] if grid.ndim else 1, problems)
    )
    if not (np.isfinite(grid).all() and (grid > 0).all()):
        raise EvaluationError("C must be positive and finite.")
    present = _present(y, weights, count)
    if (present.sum(axis=1) < 2).any():
        raise EvaluationError(
            f"Problem {int(np.argmin(present.sum(axis=1)))} has a single class among its training rows.",
            expected="at least two classes in every training fold",
            fix="use fewer or stratified folds, or leave out the rarest class",
        )
    columns = 1 if count == 2 else count
    with _threads(n * d * problems * columns):
        return _solve(X, y, grid, weights, present, count, tol, _place(device))


def _solve(
    X: np.ndarray,
    y: np.ndarray,
    grid: np.ndarray,
    weights: np.ndarray,
    present: np.ndarray,
    count: int,
    tol: float,
    place: torch.device,
) -> LogisticFit:
    """All problems for all values of C, the checked arguments of :func:`fit_logistic`."""
    problems, d, columns = len(weights), X.shape[1], 1 if count == 2 else count
    used = (weights > 0).any(axis=0)
    basis = whiten(X[used], place)
    y, weights = y[:, used], weights[:, used]
    block = max(1, _MOST_LOGITS // max(1, int(used.sum()) * columns))
    coef = np.empty((len(grid), problems, columns, d))
    intercept = np.empty((len(grid), problems, columns))
    objective, gap = np.empty(grid.shape), np.empty(grid.shape)
    for start in range(0, problems, block):
        part = slice(start, min(start + block, problems))
        hot = _one_hot(y if len(y) == 1 else y[part], count, place)
        sample = torch.from_numpy(np.ascontiguousarray(weights[part].T)).to(place)
        size = sample.shape[1]
        allowed = torch.ones(size, 1, dtype=torch.bool, device=place)
        if columns > 1:
            allowed = torch.from_numpy(present[part]).to(place)
        w = torch.zeros(basis.exact.shape[1], size, columns, dtype=torch.float64, device=place)
        # From strong to weak regularisation: each solution starts the next.
        for g in np.argsort(grid[:, part].mean(axis=1), kind="stable"):
            ridge = torch.from_numpy(1.0 / grid[g, part]).to(place)
            state = State(w, logits_of(basis, w, allowed), hot, sample, ridge, allowed)
            value, promised = minimise(basis, state, tol=tol, max_newton=_MOST_NEWTON)
            w = state.weights
            raw = torch.einsum("dr,rpk->pkd", basis.back, w[:-1])
            shift = torch.where(allowed, w[-1] - raw @ basis.mean, -torch.inf)
            coef[g, part], intercept[g, part] = raw.cpu().numpy(), shift.cpu().numpy()
            objective[g, part], gap[g, part] = value.cpu().numpy() * grid[g, part], promised.cpu().numpy()
    return LogisticFit(coef, intercept, objective, gap, grid.copy())


def fit_sklearn(
    X: np.ndarray, y: np.ndarray, C: float, weights: np.ndarray | None = None, *, max_iter: int, tol: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """One problem by scikit-learn's L-BFGS, as the papers ran it (float64, default tolerance).

    Args:
        X: (n, d) features of the training rows.
        y: int (n,) classes; those present are modelled.
        C: Inverse regularisation strength.
        weights: float (n,) sample weights.
        max_iter: Most iterations.
        tol: scikit-learn's tolerance; its default 1e-4 when ``None``.

    Returns:
        Coefficients (K or 1, d), intercepts, the classes present (K,), and whether it converged.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, max_iter=max_iter, tol=1e-4 if tol is None else tol)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(np.asarray(X, dtype=np.float64), y, sample_weight=weights)
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return model.coef_, model.intercept_, model.classes_, converged


def objective(
    X: np.ndarray, y: np.ndarray, C: float, coef: np.ndarray, intercept: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """scikit-learn's objective of a solution, in float64: C sum_i s_i loss_i + 1/2 ||W||^2."""
    logits = np.asarray(X, dtype=np.float64) @ coef.T + intercept
    if logits.shape[1] == 1:
        loss = np.logaddexp(0, logits[:, 0]) - y * logits[:, 0]
    else:
        top = logits.max(axis=1)
        loss = top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(len(y)), y]
    s = np.ones(len(y)) if weights is None else weights
    used = s > 0
    return float(C * (s[used] * loss[used]).sum() + 0.5 * np.square(coef).sum())


def _present(y: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """bool (P, K): classes with a positive weight in each problem."""
    found = np.zeros((len(weights), classes), dtype=bool)
    for p, row in enumerate(weights):
        found[p, np.unique((y[p] if len(y) > 1 else y[0])[row > 0])] = True
    return found


def _one_hot(y: np.ndarray, classes: int, device: torch.device) -> torch.Tensor:
    """float64 (n, P or 1, K or 1)."""
    labels = torch.from_numpy(np.ascontiguousarray(y.T)).to(device)
    if classes == 2:
        return labels.to(torch.float64)[:, :, None]
    return torch.nn.functional.one_hot(labels, classes).to(torch.float64)


@contextlib.contextmanager
def _threads(work: int) -> Iterator[None]:
    """One torch thread within the block where `work` (multiplications) is small."""
    before = torch.get_num_threads()
    if work >= _ONE_THREAD_BELOW or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _place(device: str | None) -> torch.device:
    """The torch device; the CPU where a device lacks float64 (Apple's MPS)."""
    place = torch.device(device or "cpu")
    return torch.device("cpu") if place.type == "mps" else place
