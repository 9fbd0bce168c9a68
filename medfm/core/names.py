"""Look-up by name with "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from medfm.core.errors import UnknownNameError

# Names of encoders and columns fit; ids of a cohort's records would fill the screen.
_MOST_LISTED = 50


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of the `known` names nearest to `name`, best first."""
    choices = list(known)
    lowered = {choice.lower(): choice for choice in choices}
    hits = difflib.get_close_matches(name.lower(), list(lowered), n=count, cutoff=0.5)
    return [lowered[hit] for hit in hits]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names near choices, or (up to fifty of) them all when none is near."""
    choices = sorted(known)
    near = nearest(name, choices)
    if near:
        return "did you mean " + " or ".join(f"'{n}'" for n in near) + "?"
    if not choices:
        return "none is known here"
    more = len(choices) - _MOST_LISTED
    return "known: " + ", ".join(choices[:_MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def unknown_name(kind: str, name: str, known: Iterable[str], where: str | None = None) -> UnknownNameError:
    """The error for a `name` of a `kind` that does not exist."""
    return UnknownNameError(f"There is no {kind} named '{name}'.", where=where, fix=did_you_mean(name, known))
