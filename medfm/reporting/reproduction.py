"""The table of a reproduction: published, measured, tolerance, verdict; as text, page and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from medfm.core.config import StrictConfig
from medfm.core.files import write_json, write_text
from medfm.evaluation.summary import Estimate
from medfm.reporting.card import markdown
from medfm.reporting.html import render_page
from medfm.reporting.tables import with_interval
from medfm.reporting.words import figure, word

Verdict = Literal["reproduced", "not reproduced", "not sourced", "could not run"]

HEADER = ("dataset", "protocol", "metric", "published", "measured", "pooled (95 % CI)", "tolerance", "verdict")
BRIEF = ("metric", "published", "measured", "interval", "verdict")
OFF_BY = "off by"
HOW_TO_READ = (
    "Measured: where the paper averages over folds, their mean ± standard deviation; this is what is compared. "
    "Pooled: the same metric on the tested records of all folds together, with its interval (patients as clusters "
    "where they are known); it need not equal the mean over folds."
)


class Claim(StrictConfig):
    """One published figure: what a model card says somebody else measured."""

    name: str
    dataset: str = Field(description="what people call it")
    cohort: str = Field(description="adapter that reads it")
    target: str | None = Field(description="cohort column; None: the cohort's own target or targets")
    protocol: str
    split: str = ""
    metric: str
    variant: str | None = None
    value: float | None = Field(None, description="as published; None: nobody here has read the paper's table")
    spread: float | None = None
    source: str = ""
    sourcing: str = ""
    tolerance: float = Field(gt=0, description="absolute difference still counted as reproduced")
    note: str = ""


class Outcome(StrictConfig):
    """What became of one claim.

    Attributes:
        claim: The published figure.
        verdict: ``reproduced`` (within the tolerance), ``not reproduced``, ``not sourced`` (ran, but
            no published value is known) or ``could not run``.
        reason: Why it could not run, or why a near figure does not count.
        measured: The figure that is compared: the mean over folds where the paper averages so.
        spread: Standard deviation over folds, where the paper averages so.
        estimate: The pooled figure with its confidence interval.
        result_id: Id of the result the figure comes from.
        result_folder: Where it was saved, relative to the output folder.
    """

    claim: Claim
    verdict: Verdict
    reason: str = ""
    measured: float | None = None
    spread: float | None = None
    estimate: Estimate | None = None
    result_id: str = ""
    result_folder: str = ""


class Reproduction(StrictConfig):
    """All outcomes of one model card."""

    encoder: str
    title: str = ""
    fingerprint: str = ""
    weights_kind: str = ""
    weights_note: str = ""
    created: str = ""
    outcomes: tuple[Outcome, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: every sourced figure that could run is reproduced; 1: one is not, or none is sourced; 2: nothing ran."""
        if self.count("could not run") == len(self.outcomes):
            return 2
        return 0 if self.count("reproduced") and not self.count("not reproduced") else 1

    def count(self, verdict: Verdict) -> int:
        """How many outcomes have this verdict."""
        return sum(outcome.verdict == verdict for outcome in self.outcomes)

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells in the order of :data:`HEADER`."""
        return [_row(outcome) for outcome in self.outcomes]

    def groups(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        """For a terminal of 80 columns: a heading per data set and procedure, and rows in the order of :data:`BRIEF`."""
        found: dict[str, list[tuple[str, ...]]] = {}
        for outcome in self.outcomes:
            claim, estimate = outcome.claim, outcome.estimate
            _, protocol, metric, published, measured, _, tolerance, _ = _row(outcome)
            ends = "–"
            if estimate is not None and estimate.low is not None and estimate.high is not None:
                ends = f"{figure(estimate.low)}–{figure(estimate.high)}"
            heading = f"{claim.cohort}: {protocol}, tolerance {tolerance}"
            found.setdefault(heading, []).append((metric, published, measured, ends, outcome.verdict))
        return list(found.items())

    def reasons(self) -> list[str]:
        """Each reason once, with the figures it is about."""
        found: dict[str, list[str]] = {}
        for outcome in self.outcomes:
            if outcome.reason:
                # A distance belongs to one figure, other reasons to the data set or the weights.
                name = outcome.claim.name if outcome.reason.startswith(OFF_BY) else outcome.claim.cohort
                found.setdefault(f"{outcome.verdict}: {outcome.reason}", []).append(name)
        return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in found.items()]

    def sentence(self) -> str:
        """The counts in one sentence."""
        if not self.outcomes:
            return f"The card of {self.encoder} holds no published result."
        verdicts: tuple[Verdict, ...] = ("reproduced", "not reproduced", "not sourced", "could not run")
        parts = [f"{self.count(v)} {v}" for v in verdicts if self.count(v)]
        return f"{len(self.outcomes)} published results of {self.encoder}: {', '.join(parts)}."

    def to_markdown(self) -> str:
        """The table as Markdown with the sources below it."""
        lines = [f"# Reproduction of {markdown(self.title or self.encoder)}", "", markdown(self.sentence()), ""]
        lines += [markdown(text) + "\n" for text in self.about()]
        lines += [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
        lines += [f"| {' | '.join(markdown(cell) for cell in row)} |" for row in self.rows()]
        lines += ["", HOW_TO_READ]
        if self.reasons():
            lines += ["", "## Reasons", "", *(f"- {markdown(text)}" for text in self.reasons())]
        lines += ["", "## Sources", ""]
        lines += [f"- {markdown(name)}: {markdown(text)}" for name, text in self.sources()]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """The table as one self-contained page."""
        return render_page(
            "reproduction.html.j2",
            title=f"Reproduction of {self.title or self.encoder}",
            sentence=self.sentence(),
            about=self.about(),
            header=HEADER,
            rows=[
                (row[0], list(zip(HEADER, row, strict=True))[1:], outcome)
                for row, outcome in zip(self.rows(), self.outcomes, strict=True)
            ],
            reasons=self.reasons(),
            sources=self.sources(),
            how_to_read=HOW_TO_READ,
        )

    def about(self) -> list[str]:
        """Which weights were used."""
        if not self.fingerprint:
            return ["The encoder was not loaded."]
        # The note begins with the kind where it says where a file comes from.
        said = self.weights_note.startswith(self.weights_kind)
        note = f": {self.weights_note}" if self.weights_note and not said else ""
        return [f"Weights: {self.weights_note if said else self.weights_kind + note}; fingerprint {self.fingerprint}."]

    def sources(self) -> list[tuple[str, str]]:
        """Where each published value was read from; figures with one source stand together."""
        found: dict[str, list[str]] = {}
        for outcome in self.outcomes:
            claim = outcome.claim
            sourcing = f"sourcing: {claim.sourcing}" if claim.sourcing else ""
            text = "; ".join(t for t in (claim.source, sourcing, f"tested on: {claim.split}", claim.note) if t)
            found.setdefault(text, []).append(claim.name)
        return [("; ".join(names), text) for text, names in found.items()]

    def save(self, folder: str | Path) -> Path:
        """Write ``reproduce.json``, ``reproduce.html`` and ``reproduce.md``, each whole or not at all.

        Raises:
            StoreError: The folder cannot be written to.
        """
        place = Path(folder)
        write_json(place / "reproduce.json", {**self.to_dict(), "exit_code": self.exit_code})
        write_text(place / "reproduce.html", self.to_html())
        write_text(place / "reproduce.md", self.to_markdown())
        return place


def _row(outcome: Outcome) -> tuple[str, ...]:
    claim, estimate = outcome.claim, outcome.estimate
    published = "not sourced" if claim.value is None else figure(claim.value)
    if claim.value is not None and claim.spread is not None:
        published += f" ± {figure(claim.spread)}"
    measured = figure(outcome.measured)
    if outcome.measured is not None and outcome.spread is not None:
        measured += f" ± {figure(outcome.spread)}"
    variant = f", {claim.variant}" if claim.variant else ""
    return (
        claim.dataset,
        claim.protocol + variant,
        word(claim.metric).title,
        published,
        measured,
        with_interval(estimate),
        f"±{claim.tolerance:g}",
        outcome.verdict,
    )
