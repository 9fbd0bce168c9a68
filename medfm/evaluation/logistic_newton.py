"""Newton's method with conjugate gradients for many logistic regressions at once.

All problems share one matrix, so each Hessian product is two matrix products that serve every
problem. Gradients and objectives are in float64, Hessian products in float32 for large
problems: as in iterative refinement, the step may be rough, the end point is exact.
Hessian and step: Boyd and Vandenberghe, Convex Optimization, sections 9.5 and 7.1.1; inexact
inner solution: Nocedal and Wright, Numerical Optimization, section 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from medfm.evaluation.logistic_basis import Basis

_FORBIDDEN = -1e30  # logit of a class that a problem does not have; its probability is exactly 0
_FORCING = 0.3  # the inner residual falls to this share of the gradient (preconditioned norm)
_INNER = 300
_HALVINGS = 40
_TINY = 1e-30
_FINEST_SINGLE = 1e-11


@dataclass
class State:
    """The problems still being solved.

    Attributes:
        weights: float64 (r + 1, P, K) in the whitened basis, intercept last.
        logits: float64 (n, P, K) = exact @ weights (+ the mark of forbidden classes).
        hot: float64 (n, P or 1, K): the truth, one-hot, or 0/1 with K = 1.
        sample: float64 (n, P): weight of each row in each problem.
        ridge: float64 (P,): 1 / C.
        allowed: bool (P, K).
    """

    weights: torch.Tensor
    logits: torch.Tensor
    hot: torch.Tensor
    sample: torch.Tensor
    ridge: torch.Tensor
    allowed: torch.Tensor

    def keep(self, chosen: torch.Tensor) -> State:
        """The state of the chosen problems (positions)."""
        hot = self.hot if self.hot.shape[1] == 1 else self.hot[:, chosen]
        return State(
            self.weights[:, chosen],
            self.logits[:, chosen],
            hot,
            self.sample[:, chosen],
            self.ridge[chosen],
            self.allowed[chosen],
        )


def logits_of(basis: Basis, weights: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """float64 (n, P, K) logits of `weights`, forbidden classes marked."""
    logits = (basis.exact @ weights.flatten(1)).view(-1, *weights.shape[1:])
    return logits.masked_fill(~allowed, _FORBIDDEN)


def value_and_probability(basis: Basis, state: State) -> tuple[torch.Tensor, torch.Tensor]:
    """Objectives (P,) divided by C, and probabilities (n, P, K), in float64."""
    z = state.logits
    if z.shape[2] == 1:
        # log(1 + e^z) - y z without torch's softplus, which drops terms that matter near separation.
        loss = z.clamp_min(0) - state.hot * z + torch.log1p(torch.exp(-z.abs()))
        probability = torch.sigmoid(z)
    else:
        log = torch.log_softmax(z, dim=2)
        loss = -(log * state.hot)
        probability = log.exp_()
    data = (loss.sum(dim=2) * state.sample).sum(dim=0)
    size = (basis.penalty[:, None, None] * state.weights.square()).sum(dim=(0, 2))
    return data + 0.5 * state.ridge * size, probability


def newton_direction(basis: Basis, state: State, gradient: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
    """float64 (r + 1, P, K): inexact Newton step by preconditioned conjugate gradients."""
    X = basis.fast
    p = probability.to(X.dtype)
    p = torch.where(p < _TINY, torch.zeros((), dtype=p.dtype, device=p.device), p)
    sample = state.sample.to(X.dtype)[:, :, None]
    if p.shape[2] == 1:
        curvature = p * (1 - p) * sample
    else:
        curvature = p * sample
    # Whitened columns have unit mean square, so the diagonal is nearly this sum per class.
    diagonal = (p * (1 - p) * sample).sum(dim=0)[None]
    diagonal = diagonal + (state.ridge[:, None] * basis.penalty[:, None, None]).to(X.dtype)
    diagonal = diagonal.clamp_min(_TINY)
    ridge = (state.ridge[:, None] * basis.penalty[:, None, None]).to(X.dtype)

    step = torch.zeros_like(gradient, dtype=X.dtype)
    live = torch.arange(gradient.shape[1], device=gradient.device)
    # Scaling the right side to norm 1 keeps single precision away from underflow near the optimum.
    norm = gradient.square().sum(dim=(0, 2)).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    residual = (-gradient / norm[:, None]).to(X.dtype)
    solution = torch.zeros_like(residual)
    scaled = residual / diagonal
    direction = scaled
    inner = (residual * scaled).sum(dim=(0, 2))
    goal = _FORCING**2 * inner
    for _ in range(_INNER):
        image = (X @ direction.flatten(1)).view(len(X), *direction.shape[1:])
        if image.shape[2] == 1:
            image = curvature * image
        else:
            image = curvature * (image - (p * image).sum(dim=2, keepdim=True))
        product = (X.T @ image.flatten(1)).view_as(direction) + ridge * direction
        bend = (direction * product).sum(dim=(0, 2))
        length = torch.where(bend > 0, inner / bend.clamp_min(_TINY), torch.zeros_like(bend))
        solution = solution + length[:, None] * direction
        residual = residual - length[:, None] * product
        scaled = residual / diagonal
        fresh = (residual * scaled).sum(dim=(0, 2))
        going = (fresh > goal) & (bend > 0)
        share = torch.where(inner > 0, fresh / inner.clamp_min(_TINY), torch.zeros_like(inner))
        direction = scaled + share[:, None] * direction
        inner = fresh
        if not bool(going.all()):
            step[:, live] = solution
            if not bool(going.any()):
                break
            live, solution, residual, direction = (
                live[going],
                solution[:, going],
                residual[:, going],
                direction[:, going],
            )
            inner, goal, diagonal = inner[going], goal[going], diagonal[:, going]
            ridge = ridge[:, going]
            p, curvature = p[:, going], curvature[:, going]
    step[:, live] = solution
    return step.to(torch.float64) * norm[:, None]


def minimise(basis: Basis, state: State, *, tol: float, max_newton: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve all problems of `state`, whose `weights` and `logits` are updated in place.

    A problem is done when the decrease that its Newton step promises is below `tol` times its
    objective; that step is still taken.

    With float32 products the tolerance is at least 1e-11: below that, steps are rounding.

    Returns:
        Objectives (P,) divided by C and the last promised decreases (P,), relative; float64.
    """
    if basis.fast.dtype != torch.float64:
        tol = max(tol, _FINEST_SINGLE)
    value, probability = value_and_probability(basis, state)
    values = value.clone()
    gaps = torch.full_like(value, float("inf"))
    live = torch.arange(len(value), device=value.device)
    now = state.keep(live)
    for _ in range(max_newton):
        error = (probability - now.hot) * now.sample[:, :, None]
        gradient = (basis.exact.T @ error.flatten(1)).view_as(now.weights)
        gradient += now.ridge[:, None] * basis.penalty[:, None, None] * now.weights
        gradient = gradient.masked_fill(~now.allowed, 0.0)
        step = newton_direction(basis, now, gradient, probability)
        slope = -(gradient * step).sum(dim=(0, 2)).clamp_max(0)
        promised = 0.5 * slope / value.clamp_min(torch.finfo(torch.float64).tiny)
        value, probability, moved = _line_search(basis, now, step, slope, value, probability)
        values[live], gaps[live] = value, promised
        state.weights[:, live], state.logits[:, live] = now.weights, now.logits
        going = (promised > tol) & moved
        if not bool(going.any()):
            break
        if not bool(going.all()):
            kept = going.nonzero().squeeze(1)
            live, now, value, probability = live[kept], now.keep(kept), value[kept], probability[:, kept]
    return values, gaps


def _line_search(
    basis: Basis, now: State, step: torch.Tensor, slope: torch.Tensor, value: torch.Tensor, probability: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Halve the step of each problem until it decreases its objective enough; move `now`.

    Returns:
        Objectives, probabilities, and which problems moved (P,).
    """
    weights, logits = now.weights, now.logits
    change = (basis.exact @ step.flatten(1)).view_as(logits)
    length = torch.ones_like(value)
    for _ in range(_HALVINGS):
        now.weights = weights + length[:, None] * step
        now.logits = logits + length[:, None] * change
        fresh, moved_probability = value_and_probability(basis, now)
        # Rounding of the objective must not reject a step at the optimum.
        refused = ~(fresh <= value - 1e-4 * length * slope + 1e-13 * value)
        if not bool(refused.any()):
            return fresh, moved_probability, length > 0
        length = torch.where(refused, length / 2, length)
    length = torch.where(refused, torch.zeros_like(length), length)
    now.weights = weights + length[:, None] * step
    now.logits = logits + length[:, None] * change
    fresh, moved_probability = value_and_probability(basis, now)
    return fresh, moved_probability, length > 0
