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
from medfm.reporting.words import figure, interval, word

Verdict = Literal["reproduced", "not reproduced", "not sourced", "could not run"]

HEADER = ("dataset", "protocol", "metric", "published", "measured", "tolerance", "verdict")


class Claim(StrictConfig):
    """One published figure: what a model card says somebody else measured."""

    name: str
    dataset: str = Field(description="what people call it")
    cohort: str = Field(description="adapter that reads it")
    target: str
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

    def brief_rows(self) -> list[tuple[str, ...]]:
        """As :meth:`rows`, with the adapter's id for the data set and without reasons: for a terminal."""
        return [(o.claim.cohort, *_row(o)[1:-1], o.verdict) for o in self.outcomes]

    def reasons(self) -> list[str]:
        """Each reason once, with the figures it is about."""
        found: dict[str, list[str]] = {}
        for outcome in self.outcomes:
            if outcome.reason:
                found.setdefault(f"{outcome.verdict}: {outcome.reason}", []).append(outcome.claim.cohort)
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
            rows=list(zip(self.rows(), self.outcomes, strict=True)),
            sources=self.sources(),
        )

    def about(self) -> list[str]:
        """Which weights were used."""
        if not self.fingerprint:
            return ["The encoder was not loaded."]
        note = f" ({self.weights_note})" if self.weights_note else ""
        return [f"Weights: {self.weights_kind}{note}; fingerprint {self.fingerprint}."]

    def sources(self) -> list[tuple[str, str]]:
        """Where each published value was read from."""
        found = []
        for outcome in self.outcomes:
            claim = outcome.claim
            text = "; ".join(t for t in (claim.source, f"sourcing: {claim.sourcing}", claim.split, claim.note) if t)
            found.append((claim.name, text))
        return found

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
    if estimate is not None and outcome.measured is not None:
        measured += f" ({interval(estimate)})"
    variant = f", {claim.variant}" if claim.variant else ""
    verdict = f"{outcome.verdict}: {outcome.reason}" if outcome.reason else outcome.verdict
    return (
        claim.dataset,
        claim.protocol + variant,
        word(claim.metric).title,
        published,
        measured,
        f"±{figure(claim.tolerance)}",
        verdict,
    )
