"""What ``medfm reproduce --dry-run`` says: the evaluations a card asks for, and what stands in their way."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from medfm.cohorts.checks.run import resolve_target
from medfm.core.config import StrictConfig
from medfm.core.errors import MedfmError
from medfm.core.hashing import sha256_file
from medfm.encoders.card import Card
from medfm.encoders.registry import get_card
from medfm.encoders.weights import find_local, instructions, local_file
from medfm.evaluation.protocol import load_protocol
from medfm.workflows.reproduce import Site, claims_of, corrected_cohort
from medfm.workflows.reproduce_verdict import one_line


class PlannedWeights(StrictConfig):
    """The weights that would be used; ``why_not`` is empty when they are here."""

    kind: str = ""
    note: str = ""
    sha256: str = ""
    why_not: str = ""


class PlannedFigure(StrictConfig):
    """A figure that would be measured, and the published one it would be held against."""

    metric: str
    variant: str | None = None
    published: float | None = Field(None, description="None: not sourced, so there is nothing to reproduce")
    tolerance: float


class PlannedRun(StrictConfig):
    """One evaluation: its data, its protocol, the figures that are read off it."""

    cohort: str
    target: str | None
    protocol: str
    protocol_sha256: str = ""
    records: int = Field(0, description="rows of the cohort table; 0 when the data are not there")
    cohort_sha256: str = Field("", description="digest of the cohort table")
    complete: bool | None = Field(None, description="whether the published counts were found; None: no data")
    figures: tuple[PlannedFigure, ...]
    why_not: str = Field("", description="why it cannot run; empty when it can, the weights apart")


class ReproductionPlan(StrictConfig):
    """Everything that decides what ``medfm reproduce`` would compute; :meth:`digest` is its hash."""

    encoder: str
    card_sha256: str
    weights: PlannedWeights
    allow: tuple[str, ...] = ()
    allow_partial: bool = False
    runs: tuple[PlannedRun, ...]

    @property
    def can_run(self) -> bool:
        """Whether the weights and the data of at least one evaluation are here."""
        return not self.weights.why_not and any(not run.why_not for run in self.runs)


def plan_reproduction(
    card: str | Path,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    *,
    only: Sequence[str] = (),
    allow: Sequence[str] = (),
    allow_partial: bool = False,
) -> ReproductionPlan:
    """Look at card, weights and data as :func:`medfm.reproduce` would; embed and evaluate nothing.

    Args:
        card, data, weights, only, allow, allow_partial: As of :func:`medfm.reproduce`.

    Raises:
        UnknownNameError: No such card.
        ConfigError: `only` names a data set that the card has no result of.
    """
    found = get_card(card)
    claims = claims_of(found.spec.results, only, found.id)
    runs: dict[tuple[str, str | None, str], list[PlannedFigure]] = {}
    for claim in claims:
        figure = PlannedFigure(
            metric=claim.metric, variant=claim.variant, published=claim.value, tolerance=claim.tolerance
        )
        runs.setdefault((claim.cohort, claim.target, claim.protocol), []).append(figure)
    for cohort, target, protocol in list(runs):
        twin = corrected_cohort(cohort)
        if twin is not None:
            runs.setdefault((twin, target, protocol), [])  # for information: no figure is judged there
    with tempfile.TemporaryDirectory(prefix="medfm-reproduce-") as work:
        site = Site(card, data, weights, allow, allow_partial, "cpu", None, None, Path(work))
        planned = tuple(_run(site, *key, tuple(figures)) for key, figures in runs.items())
    return ReproductionPlan(
        encoder=found.id,
        card_sha256=found.sha256,
        weights=_weights(found, weights),
        allow=tuple(sorted(allow)),
        allow_partial=allow_partial,
        runs=planned,
    )


def _run(site: Site, cohort: str, target: str | None, protocol: str, figures: tuple[PlannedFigure, ...]) -> PlannedRun:
    run = PlannedRun(cohort=cohort, target=target, protocol=protocol, figures=figures)
    try:
        run = run.model_copy(update={"protocol_sha256": load_protocol(protocol).digest()})
        records = site.cohort(cohort)
        meant = resolve_target(records, target)
        for column in [meant] if isinstance(meant, str) else meant or ():
            records.column(column)
    except MedfmError as error:
        return run.model_copy(update={"why_not": one_line(error)})
    return run.model_copy(
        update={
            "records": len(records),
            "cohort_sha256": records.digest(),
            "complete": cohort not in site.partial,
        }
    )


def _weights(card: Card, given: str | Path | None) -> PlannedWeights:
    if not card.spec.weights.needed:
        return PlannedWeights(kind="no weights", note="a fixed formula")
    if str(given) == "random":
        return PlannedWeights(kind="random", note="untrained: no figure would count as reproduced")
    found = find_local(card) if given is None else local_file(card, given)
    if found is None:
        needed = instructions(card) if card.spec.weights.sources else "none were ever published; name a file"
        return PlannedWeights(why_not=f"not on this machine: {' '.join(needed.split())}")
    if not found.path.is_file():
        return PlannedWeights(why_not=f"there is no file {found.path}")
    return PlannedWeights(kind=found.kind, note=found.note, sha256=sha256_file(found.path))
