"""Run the published results of a model card and compare: published, measured, tolerance, verdict.

Steps: the card's results -> their data (prepared by the adapter of that name) -> embeddings ->
the protocol each result names -> the figure, beside the published one. A published figure is
copied from a paper with its source; a measured one is computed here and never typed in.
"""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import CohortError, ConfigError, MedfmError, UnknownNameError
from medfm.core.progress import ProgressMaker
from medfm.reporting.reproduction import Claim, Outcome, Reproduction
from medfm.reporting.result import Result
from medfm.workflows.reproduce_verdict import judge, one_line, untrusted

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.encoder import Encoder

# Runs the evaluation behind a claim; claims that share cohort, target and protocol share one run.
Runner = Callable[[Claim], Result]


def reproduce(
    card: str | Path,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    *,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    allow: Sequence[str] = (),
    allow_partial: bool = False,
    device: str = "auto",
    cache: str | Path | None = None,
    prompt_file: str | Path | None = None,
    progress: ProgressMaker | None = None,
    runner: Runner | None = None,
) -> Reproduction:
    """Run every published result of a card whose data is there.

    Args:
        card: Encoder id or card file.
        data: Folder of the public data sets: ``DIR/ADAPTER`` in the official layout or as
            ``medfm data prepare`` wrote it, or the folder of a single set.
        weights: Checkpoint file; the card's own weights when ``None``.
        out: Folder for ``reproduce.json|html|md`` and the result folders.
        only: Run only results of these adapters (``"acevedo"``).
        allow: Codes of checks that may fail.
        allow_partial: Run on incomplete data sets; their figures then never count as reproduced.
        device: ``"auto"`` or a torch device.
        cache: Cache folder of the embeddings.
        prompt_file: The authors' prompts, for zero-shot results; figures of other prompts never count.
        progress: Makes the progress displays.
        runner: Runs one claim; the embed and probe workflows when ``None``.

    Returns:
        An outcome per published result; ``exit_code`` is 0, 1 or 2 as the command line's.

    Raises:
        UnknownNameError: No such card.
        ConfigError: `only` names a data set that the card has no result of.
        StoreError: `out` cannot be written to.
    """
    from medfm.encoders.registry import get_card

    found = get_card(card)
    claims = claims_of(found.spec.results, only, found.id)
    with tempfile.TemporaryDirectory(prefix="medfm-reproduce-") as work:
        site = Site(card, data, weights, allow, allow_partial, device, cache, progress, Path(work))
        site.prompt_file = prompt_file
        outcomes = run_claims(claims, runner or site.run, out=out, blockers=site.blockers)
    done = Reproduction(
        encoder=found.id,
        title=found.title,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        outcomes=tuple(outcomes),
        **site.about(),
    )
    if out is not None:
        done.save(out)
    return done


def run_claims(
    claims: Sequence[Claim],
    runner: Runner,
    *,
    out: str | Path | None = None,
    blockers: Callable[[Claim, Result], str] | None = None,
) -> list[Outcome]:
    """Run and judge each claim; one that cannot run does not stop the others.

    Args:
        claims: The published figures.
        runner: Runs the evaluation behind a claim. Called once per cohort, target and protocol.
        out: Where to save the result folders, if at all.
        blockers: Why a figure may not count as reproduced although it is near; empty if it may.
    """
    results: dict[str, Result | MedfmError] = {}

    def ran(claim: Claim) -> tuple[Result | MedfmError, str]:
        key = re.sub(r"[^A-Za-z0-9_-]+", "-", "-".join((claim.cohort, claim.target or "own", claim.protocol)))
        if key not in results:
            try:
                results[key] = done = runner(claim)
            except MedfmError as error:
                results[key] = error
            else:
                if out is not None:
                    done.save(Path(out) / "results" / key, overwrite=True)
        return results[key], key

    outcomes = []
    for claim in claims:
        made, name = ran(claim)
        if isinstance(made, MedfmError):
            outcomes.append(Outcome(claim=claim, verdict="could not run", reason=one_line(made)))
            continue
        outcome = judge(claim, made, blockers(claim, made) if blockers else untrusted(made))
        folder = "" if out is None else f"results/{name}"
        more: dict[str, Any] = {"result_folder": folder}
        twin = corrected_cohort(claim.cohort)
        if twin is not None:
            more |= on_corrected(claim, ran(claim.model_copy(update={"cohort": twin}))[0])
        outcomes.append(outcome.model_copy(update=more))
    return outcomes


def claims_of(results: Sequence[Any], only: Sequence[str], encoder: str) -> list[Claim]:
    """The published results of a card as claims, of the data sets `only` where that is given.

    Raises:
        ConfigError: `only` names a data set that the card has no result of.
    """
    claims = [Claim(**{name: getattr(result, name) for name in Claim.model_fields}) for result in results]
    known = sorted({claim.cohort for claim in claims})
    wrong = [name for name in only if not any(_is(claim, name) for claim in claims)]
    if wrong:
        raise ConfigError(
            f"The card of {encoder} has no result on '{wrong[0]}'.", where="--only", expected=" or ".join(known)
        )
    return [claim for claim in claims if not only or any(_is(claim, name) for name in only)]


def corrected_cohort(cohort: str) -> str | None:
    """The name of the same data set with corrected labels; ``None`` where `cohort` has no published errors."""
    from medfm.cohorts.adapters.registry import get_adapter

    name, _, labels = cohort.partition("@")
    if labels != "published":
        return None
    try:
        get_adapter(f"{name}@corrected")
    except UnknownNameError:
        return None
    return f"{name}@corrected"


def on_corrected(claim: Claim, made: Result | MedfmError) -> dict[str, Any]:
    """What an outcome holds of the same run on corrected labels: a figure, or why there is none."""
    if isinstance(made, MedfmError):
        return {"corrected_note": one_line(made)}
    found = judge(claim, made)
    if found.measured is None:
        return {"corrected_note": found.reason}
    return {"corrected": found.measured, "corrected_estimate": found.estimate}


def _is(claim: Claim, name: str) -> bool:
    """Whether `name` is the claim's data set, whichever labels it has."""
    return name in (claim.cohort, claim.cohort.partition("@")[0])


@dataclass
class Site:
    """This machine's data and weights, loaded when first needed and kept."""

    card: str | Path
    data: str | Path | None
    weights: str | Path | None
    allow: Sequence[str]
    allow_partial: bool
    device: str
    cache: str | Path | None
    progress: ProgressMaker | None
    work: Path
    prompt_file: str | Path | None = None
    partial: set[str] = field(default_factory=set)
    _encoders: dict[str | None, Encoder | MedfmError] = field(default_factory=dict)
    _cohorts: dict[str, Cohort] = field(default_factory=dict)
    _embeddings: dict[str, Embeddings] = field(default_factory=dict)

    def run(self, claim: Claim) -> Result:
        """Data, embeddings, evaluation."""
        from medfm.reporting.error_pictures import error_pictures
        from medfm.workflows.baseline import untrained
        from medfm.workflows.embed import embed
        from medfm.workflows.probe import probe
        from medfm.workflows.reproduce_drawing import draws, run_drawing
        from medfm.workflows.reproduce_zero_shot import is_zero_shot, run_zero_shot

        if is_zero_shot(claim):
            return run_zero_shot(self, claim)
        if draws(claim):
            return run_drawing(self, claim)
        cohort = self.cohort(claim.cohort)
        encoder = self.encoder(self.variant(claim.cohort))
        settings: dict[str, Any] = {} if self.cache is None else {"cache": self.cache}
        if claim.cohort not in self._embeddings:
            vectors = embed(encoder, cohort, progress=self.progress, **settings)
            about = {**vectors.provenance, "weights_note": encoder.weights_note}
            self._embeddings[claim.cohort] = replace(vectors, provenance=about)
        made = probe(
            self._embeddings[claim.cohort],
            cohort,
            claim.target,
            claim.protocol,
            allow=self.allow,
            device=None if self.device == "auto" else self.device,
            name=f"{encoder.id}: {claim.dataset}, {claim.protocol}",
            progress=self.progress,
            baseline=untrained(encoder, cohort, "auto", settings=settings, progress=self.progress),
        )
        # A bag of cells has no picture of its own.
        return made if made.kind == "mil" else replace(made, thumbnails=error_pictures(made, cohort, encoder))

    def variant(self, cohort: str) -> str | None:
        """The preprocessing that the card names after this data set, if any (MERL's ``cpsc2018``)."""
        from medfm.encoders.registry import get_card

        name = cohort.partition("@")[0]
        return name if name in get_card(self.card).spec.preprocessing_variants else None

    def encoder(self, variant: str | None = None) -> Encoder:
        """The encoder; the same error every time where it cannot be loaded."""
        from medfm.encoders.load import load_encoder

        if variant not in self._encoders:
            try:
                self._encoders[variant] = load_encoder(
                    self.card, weights=self.weights, device=self.device, variant=variant
                )
            except MedfmError as error:
                self._encoders[variant] = error
        found = self._encoders[variant]
        if isinstance(found, MedfmError):
            raise found
        return found

    def cohort(self, name: str) -> Cohort:
        """The data set `name`: as prepared before, or prepared now from its official layout."""
        from medfm.cohorts.load import load_cohort

        if name not in self._cohorts:
            self._cohorts[name] = load_cohort(self.table(name), name=name, allow=self.allow)
        return self._cohorts[name]

    def table(self, name: str) -> Path:
        """The cohort table of the data set `name`.

        Raises:
            CohortError: The data are not there.
        """
        from medfm.cohorts.adapters.registry import get_adapter, prepare
        from medfm.cohorts.info import load_info

        adapter = get_adapter(name)
        if self.data is None:
            raise CohortError("No data folder is given.", fix=f"--data DIR with {adapter.id}/ in it ({adapter.where})")
        root = Path(self.data)
        if not root.is_dir():
            raise CohortError("The data folder does not exist.", where=str(root), fix="check --data")
        named = [root / part for part in (name, adapter.name, adapter.id, *adapter.aliases) if (root / part).is_dir()]
        source = named[0] if named else root
        for table in (source / "labels.csv", root / f"{name}.csv"):
            info = load_info(table) if table.is_file() else None
            if info is not None and info.prepared_as == adapter.name:
                if any(note.startswith("incomplete") for note in info.notes):
                    self.partial.add(name)
                return table
        try:
            prepared = prepare(name, source, self.work / name, allow_partial=self.allow_partial)
        except MedfmError as error:
            if named:
                raise
            raise CohortError(
                f"The data set {name} is not in the data folder",
                fix=f"put it at DIR/{adapter.id}; from {adapter.where}",
            ) from error
        if not prepared.complete:
            self.partial.add(name)
        return prepared.table

    def blockers(self, claim: Claim, result: Result) -> str:
        """Why a figure of this run may not count as reproduced."""
        reason = untrusted(result)
        if not reason and claim.cohort in self.partial:
            reason = "the data set is incomplete"
        allowed = sorted({f.code for f in result.findings if f.allowed and f.severity == "error"})
        if not reason and allowed:
            reason = f"failed checks were allowed: {', '.join(allowed)}"
        return reason

    def about(self) -> dict[str, str]:
        """Which weights ran, for the table."""
        # The usual preprocessing first: its fingerprint is the one the card's users know.
        held = (self._encoders.get(None), *self._encoders.values())
        loaded = [e for e in held if e is not None and not isinstance(e, MedfmError)]
        if not loaded:
            return {}
        return {
            "fingerprint": loaded[0].fingerprint,
            "weights_kind": str(loaded[0].weights_kind),
            "weights_note": loaded[0].weights_note,
        }
