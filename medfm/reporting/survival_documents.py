"""What documents say of a survival analysis: the outcome, how the model was built, events, events per component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfm.evaluation.survival_config import Survival
from medfm.reporting.result import Result
from medfm.reporting.words import count, figure

_CRITERIA = {
    "partial_likelihood": "the cross-validated partial likelihood",
    "c_index": "Harrell's C",
}


def survival_output(result: Result) -> str:
    """The outcome and what the model gives: log hazard, risk by the horizon, risk group."""
    found, method = _found(result), result.protocol.method
    if not isinstance(method, Survival) or not found:
        return f"{result.summary.target}: time to an event."
    time = result.config.get("time")
    others = [code for code in found["codes"] if code != method.cause]
    rivals = f"; competing: {', '.join(f'code {code}' for code in others)}" if others else ""
    absolute = found.get("absolute")
    risk = f", the probability of the event by {figure(absolute['horizon'])}{_unit(found)}" if absolute else ""
    names = " or ".join(f"“{group['name']}”" for group in found["groups"])
    return (
        f"{result.summary.target}: time{f' (column {time})' if time else ''} to the event of code {method.cause}"
        f"{rivals}; 0 is censored. Given: a log hazard (higher: sooner){risk}, and a risk group ({names})."
    )


def survival_building(result: Result) -> str | None:
    """How the regression was fitted and what inner folds chose; ``None`` for other results."""
    method, chosen = result.protocol.method, result.extras.get("chosen")
    if not isinstance(method, Survival) or not chosen:
        return None
    where = "" if len(chosen) == 1 else f"In each of {len(chosen)} outer folds, from its"
    return (
        f"{where or 'From the'} training patients alone: principal components "
        f"({_range([c['components'] for c in chosen])} chosen) and a ridge penalty ({_range([c['penalty'] for c in chosen])}) "
        f"by {_CRITERIA[method.criterion]} of {count(method.inner_folds, 'inner fold')}; Cox regression with Efron's ties. "
        f"No model of all patients is kept."
    )


def survival_events(result: Result) -> str | None:
    """Tested events by code, censored records, follow-up; ``None`` for other results."""
    found = _found(result)
    if not found:
        return None
    parts = []
    for entry in found["hazards"]:
        code = found["codes"][entry["event"] - 1] if entry["event"] <= len(found["codes"]) else entry["event"]
        kind = "events of interest" if entry["event"] == 1 else "competing events"
        parts.append(f"{entry['events']} {kind} (code {code})")
    follow_up = found.get("median_follow_up")
    followed = (
        "" if follow_up is None else f" Median follow-up (reverse Kaplan-Meier) {figure(follow_up)}{_unit(found)}."
    )
    return f"Tested: {', '.join(parts)}, {found['censored']} censored.{followed}"


def survival_size(result: Result) -> str | None:
    """Events per component, on which the number of patients bears; ``None`` for other results."""
    method, chosen = result.protocol.method, result.extras.get("chosen")
    if not isinstance(method, Survival) or not chosen:
        return None
    least = min(c["train_events"] / c["components"] for c in chosen)
    asked = (
        f"at least {method.events_per_component:g} were asked for"
        if method.events_per_component
        else "no least number was asked for"
    )
    events = _range([c["train_events"] for c in chosen])
    return (
        f"Training events per fold: {events}; at the fewest {least:.1f} for each component of the regression ({asked}). With "
        "fewer than about 100 tested events all intervals are wide."
    )


def _found(result: Result) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result.extras.get("survival") or {}
    return found


def _unit(found: Mapping[str, Any]) -> str:
    return f" {found['unit']}" if found.get("unit") else ""


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
